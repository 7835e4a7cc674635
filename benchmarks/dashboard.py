"""The page in a real Chromium: how soon it shows data, how it bears frames and long lists."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, expect

from benchmarks.rig import Result, scratch
from benchmarks.store import finished_task
from bot.store.repository import open_store
from tests.browsing import browser, go, opened
from tests.serving import Service

RUNNING, SECONDS, TICKS, ROWS = 2_000, 20, 600, 100_000
_PAINT, _LONGEST, _GROWTH = 1.0, 50.0, 1.1

#: Frames as the service sends them, through the code that takes them; what held up the page.
_FEED = """async ([running, ticks, pause]) => {
  const script = document.querySelector("script[type=module]").src;
  const { take } = await import(new URL("store.js", script));
  const at = () => new Date().toISOString();
  const task = (n) => ({ id: `t${n}`, state: "running", source: `https://example.org/${n}.iso`,
    to: "/srv", user: "admin", name: `file-${n}.iso`, size: 1e9, engine: "http", priority: 0,
    error: null, note: null, path: null, created_at: at(), updated_at: at(), started_at: at(),
    finished_at: null, start_at: null, version: 1, progress: progress(0), stage: null });
  const progress = (done) => ({ done, total: 1e9, speed: 1e6, eta: 99, is_estimate: false,
    connections: 4, uploaded: 0, peers: 0, seeds: 0 });
  const numbers = [...Array(running).keys()];
  const long = [];
  const watch = new PerformanceObserver((list) =>
    long.push(...list.getEntries().map((entry) => entry.duration)));
  take(JSON.parse(JSON.stringify({ type: "snapshot", seq: 1e9, at: Date.now() / 1000, metrics: {},
    counts: { running }, tasks: numbers.map(task) })));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  watch.observe({ type: "longtask" });
  for (let tick = 1; tick <= ticks; tick += 1) {
    const text = JSON.stringify({ type: "delta", since: 1e9 + tick - 1, seq: 1e9 + tick,
      tasks: numbers.map((n) => ({ id: `t${n}`, progress: progress(tick * 1e6 + n) })) });
    await new Promise((resolve) => setTimeout(resolve, pause));
    const began = performance.now();
    take(JSON.parse(text));
    take({ type: "tick", seq: 1e9 + tick, at: Date.now() / 1000,
      metrics: { tasks_running: running, bytes_in_per_second: 1e6 * (tick % 9) } });
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    long.push(performance.now() - began > 1000 ? Infinity : 0);
  }
  watch.disconnect();
  return Math.max(0, ...long);
}"""
_SCROLL = """async () => {
  const place = document.querySelector(".scroll");
  const long = [];
  const watch = new PerformanceObserver((list) =>
    long.push(...list.getEntries().map((entry) => entry.duration)));
  watch.observe({ type: "longtask" });
  for (let turn = 0; turn < 200; turn += 1) {
    place.scrollBy(0, 1500);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  watch.disconnect();
  return [Math.max(0, ...long), document.querySelectorAll(".space .row").length, place.scrollTop];
}"""


def measure() -> Iterator[Result]:
    """The figures."""
    with scratch() as place:
        service = Service(place, DASHBOARD_REFRESH="60")
        asyncio.run(_fill(service.data))
        with service, browser() as chromium, opened(chromium, service) as page:
            yield _paint(page)
            yield from _ticks(page)
            yield _rows(page)


async def _fill(data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    store = await open_store(f"sqlite:///{data / 'mltb.db'}")
    chance = random.Random(1)
    for start in range(0, ROWS, 10_000):
        await store.add([finished_task(number, chance) for number in range(start, start + 10_000)])
    await store.close()


def _paint(page: Page) -> Result:
    """From the request to figures on the screen; what is kept is taken from the cache."""
    taken = []
    for _ in range(5):
        page.reload()
        expect(page.locator("main[data-ready=yes]")).to_be_visible()
        taken.append(page.evaluate("performance.now()") / 1000)
    best = sorted(taken)[len(taken) // 2]
    return Result(
        "from the request to the first data",
        f"{best:.2f} s (median of 5)",
        f"under {_PAINT:.0f} s",
        best < _PAINT,
    )


def _ticks(page: Page) -> Iterator[Result]:
    longest = page.evaluate(_FEED, [RUNNING, SECONDS, 1000])
    yield Result(
        f"longest task of the main thread, {RUNNING:,} running tasks at 1 Hz for {SECONDS} s",
        f"{longest:.0f} ms" if longest else "none over 50 ms",
        "none over 50 ms",
        longest <= _LONGEST,
    )
    page.evaluate(_FEED, [RUNNING, 60, 0])
    before = _heap(page)
    page.evaluate(_FEED, [RUNNING, TICKS, 0])
    after = _heap(page)
    yield Result(
        f"heap before and after {TICKS} ticks of {RUNNING:,} tasks",
        f"{before / 1e6:.1f} and {after / 1e6:.1f} MB",
        "flat (10 % at most)",
        after <= before * _GROWTH,
    )


def _heap(page: Page) -> float:
    tools = page.context.new_cdp_session(page)
    tools.send("HeapProfiler.enable")
    tools.send("HeapProfiler.collectGarbage")
    used: float = tools.send("Runtime.getHeapUsage")["usedSize"]
    tools.detach()
    return used


def _rows(page: Page) -> Result:
    go(page, "tasks")
    expect(page.locator(".space .row").first).to_be_visible()
    longest, rows, down = page.evaluate(_SCROLL)
    return Result(
        f"scrolling {down / 52:,.0f} of {ROWS:,} rows: longest task of the main thread",
        f"{longest:.0f} ms, {rows} rows in the page"
        if longest
        else f"none over 50 ms, {rows} rows",
        "none over 50 ms",
        longest <= _LONGEST and rows < 100,
    )

"""Events to metrics, history, alerts, plugins and the log: what 5,000 a second cost on one core.

    python -m benchmarks events

The whole service in this process, bound to one core; its database and log on a disk. Each task is
ten events, one task in fifty fails twice, and for good.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rig import Result
from bot.app import running
from bot.app.service import App
from bot.cli.log_setup import start_logging
from bot.config import load
from bot.domain import events
from bot.domain.events import Event
from bot.domain.task import StageKind, TaskState
from bot.services import OWNER

_RATE, _SECONDS = 5_000, 20
_BEAT = 0.02  # seconds between two batches


def measure() -> Iterator[Result]:
    """The figures."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        with tempfile.TemporaryDirectory() as directory:
            yield from asyncio.run(_measure(Path(directory)))
    finally:
        os.sched_setaffinity(0, cores)


async def _measure(directory: Path) -> list[Result]:
    environ = {
        "DATA_DIR": str(directory / "data"),
        "DOWNLOAD_DIR": str(directory / "files"),
        "PLUGINS_DIR": str(directory / "plugins"),
        "LOG_TOTAL_SIZE": "1G",
    }
    settings = load(environ, directory).settings
    start_logging(settings, quiet=False)
    async with running(settings, restore=False, keep_log=True) as app:
        paced = await _paced(app)
        page, _ = await app.services.metrics.page(OWNER, "text/plain")
        summary = await app.services.alerts.summary(OWNER)
        failures = _count(page.decode(), "mltb_stage_failures_total")
        spent = time.process_time()
        batch = _batch(10_000_000, _RATE * 4)
        for event in batch:
            app.hub.publish(event)
        rate = len(batch) / (time.process_time() - spent)
    lines = sum(
        line.startswith(b"{") and b'"bot.events"' in line
        for path in sorted((directory / "data" / "logs").iterdir())
        for line in path.read_bytes().splitlines()
    )
    published = _RATE * _SECONDS
    wanted = 2 * published // 500  # two in one of fifty tasks, of ten events
    whole = lines >= published + len(batch) and failures == wanted and bool(summary.firing)
    worst, cpu = paced
    return [
        Result(
            f"{_RATE:,} events a second for {_SECONDS} s to metrics, history, alerts and log, "
            "on one core",
            f"{cpu:.0%} of the core; the latest batch {worst * 1000:.0f} ms",
            "under 100 %, not falling behind",
            cpu < 1 and worst < 1,
        ),
        Result(
            "all of them counted, alerted and logged",
            f"{failures:.0f} of {wanted} failures counted, {lines:,} lines, "
            f"{len(summary.firing)} alerts firing",
            "all",
            whole,
        ),
        Result("as quickly as they are taken", f"{rate:,.0f} a second of CPU"),
    ]


async def _paced(app: App) -> tuple[float, float]:
    """Publish at the rate; seconds that the latest batch was late, and the part of the core."""
    count = int(_RATE * _BEAT)
    worst, spent, began = 0.0, time.process_time(), time.monotonic()
    for number in range(_RATE * _SECONDS // count):
        due = began + number * _BEAT
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        worst = max(worst, time.monotonic() - due)
        for event in _batch(number * count, count):
            app.hub.publish(event)
    return worst, (time.process_time() - spent) / (time.monotonic() - began)


def _batch(first: int, count: int) -> list[Event]:
    """``count`` events (ten a task) of tasks that begin at that number."""
    found: list[Event] = []
    for number in range(first // 10, (first + count) // 10):
        found += _task(number)
    return found


def _task(number: int) -> list[Event]:
    now, task, user, state = time.time(), f"{number:016d}", "admin", TaskState
    source = f"https://user:secret@example.org/pub/{number}.iso?token=abcdef"
    fetch, deliver = StageKind.FETCH, StageKind.DELIVER
    head: list[Event] = [
        events.TaskSubmitted(now, task, user, source, "/srv/files"),
        events.TaskStarted(now, task, user, 0.1),
        events.TaskMoved(now, task, user, state.QUEUED, state.PROBING),
        events.TaskPlanned(now, task, user, "http", f"{number}.iso", 1 << 20),
        events.TaskMoved(now, task, user, state.PROBING, state.RUNNING, "http"),
        events.StageStarted(now, task, user, "fetch", 1, fetch, "http"),
    ]
    if number % 50 == 0:
        failed, code, say = events.StageFailed, "source_not_found", "404"
        return [
            *head,
            failed(now, task, user, "fetch", code, say, 1, now + 1, fetch, "http"),
            events.TaskMoved(now, task, user, state.RUNNING, state.RETRYING, "http"),
            failed(now, task, user, "fetch", code, say, 2, None, fetch, "http"),
            events.TaskMoved(now, task, user, state.RETRYING, state.FAILED, "http"),
        ]
    return [
        *head,
        events.StageFinished(now, task, user, "fetch", 1.5, 1 << 20, fetch, "http"),
        events.StageStarted(now, task, user, "deliver", 1, deliver, "local"),
        events.StageFinished(now, task, user, "deliver", 0.1, 1 << 20, deliver, "local"),
        events.TaskDone(now, task, user, "/srv/files/x.iso", 1 << 20, "0" * 64),
    ]


def _count(page: str, name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(
        float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(f"{name}{{")
    )

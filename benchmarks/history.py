"""The history of metrics: 30 days of 40 series, their size and how soon they answer.

    python -m benchmarks history

Every sample goes through the recorder, with a clock that runs ahead; the series are as jagged as
those of a busy service, and a quarter of them never moves.
"""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.rig import Result
from bot.operations.history import DAY, Recorder
from bot.operations.history_query import Answer, HistoryReader
from bot.store.repository import open_store
from bot.store.series import SeriesStore

_SERIES = 40
_DAYS = 30
_INTERVAL = 10
_BEGIN = 1_800_000_000 // DAY * DAY
_LIMIT = 50 * 10**6
_ROUNDS = 15


class _Clock:
    """Time that the benchmark moves."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def measure() -> Iterator[Result]:
    """The figures on a new SQLite database."""
    with tempfile.TemporaryDirectory(prefix="mltb-bench-") as directory:
        yield from asyncio.run(_measure(Path(directory, "store.db")))


async def _measure(path: Path) -> list[Result]:
    store = await open_store(f"sqlite:///{path}")
    series, clock = SeriesStore(store.database), _Clock(_BEGIN)
    values: dict[str, float] = {}
    recorder = Recorder(lambda: values, series, clock, interval=_INTERVAL, retention=_DAYS)
    ticks, cpu = await _record(recorder, clock, values)
    await recorder.stop()
    found = [
        Result(
            "a sample of 40 series, stores and buckets included",
            f"{cpu / ticks * 1e6:.0f} µs of CPU, {cpu / ticks / _INTERVAL:.4%} of a core",
            "under 0.1% of a core",
            cpu / ticks / _INTERVAL < 0.001,
        )
    ]
    reader = HistoryReader(recorder, series, clock, max_points=1000)
    names = ["noise_0", "walk_0", "count_0", "flat_0"]
    for claim, span, asked, points, limit in (
        ("an hour of one series", 3600, names[:1], 500, 20),
        ("two days of one series", 2 * DAY - 1, names[:1], 500, 20),
        ("a week of one series", 7 * DAY, names[:1], 500, 20),
        ("a week of one series, from minutes", 7 * DAY, names[:1], 1000, None),
        ("30 days of one series", 30 * DAY, names[:1], 500, 50),
        ("a week of four series", 7 * DAY, names, 500, 50),
    ):
        median, answer = await _asked(
            partial(reader.read, asked, clock.time - span, clock.time, points)
        )
        figure = f"{median:.1f} ms, {answer.size} points from {answer.resolution} s"
        target = "" if limit is None else f"at most {limit} ms"
        found.append(Result(claim, figure, target, None if limit is None else median <= limit))
    await store.close()
    found.append(_size(path))
    return found


async def _record(recorder: Recorder, clock: _Clock, values: dict[str, float]) -> tuple[int, float]:
    """How many samples that were, and their CPU seconds without those of making the values."""
    chance, cpu, ticks = random.Random(1), 0.0, _DAYS * DAY // _INTERVAL
    each = _SERIES // 4
    for tick in range(ticks):
        for number in range(each):
            values[f"noise_{number}"] = chance.lognormvariate(16, 2)
            walked = values.get(f"walk_{number}", 50.0) + chance.gauss(0, 1)
            values[f"walk_{number}"] = min(100.0, max(0.0, walked))
            values[f"count_{number}"] = round(4 + 4 * math.sin(tick / 800 + number))
            values[f"flat_{number}"] = 0.0
        began = time.process_time()
        await recorder.tick()
        cpu += time.process_time() - began
        clock.time += _INTERVAL
    return ticks, cpu


async def _asked(read: Callable[[], Awaitable[Answer]]) -> tuple[float, Answer]:
    """The median of the milliseconds that an answer takes, and the answer."""
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        answer = await read()
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken), answer


def _size(path: Path) -> Result:
    size = path.stat().st_size
    with sqlite3.connect(path) as database:
        rows = dict(
            database.execute("SELECT step, sum(length(body)) FROM series_blocks GROUP BY step")
        )
    parts = ", ".join(
        f"{name} {rows[step] / 1e6:.1f} MB"
        for step, name in ((0, "samples"), (60, "minutes"), (900, "quarters"))
    )
    figure = f"{size / 1e6:.1f} MB ({parts})"
    claim = f"{_DAYS} days of {_SERIES} series, the whole database"
    return Result(claim, figure, "under 50 MB", size < _LIMIT)

"""What timing an operation costs, and how much memory a million runs take.

python -m benchmarks profiler
"""

from __future__ import annotations

import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.rig import Result
from bot.app.parts import SystemClock
from bot.domain.ports import Profiler
from bot.domain.profiling import UNPROFILED
from bot.operations.profiler import OperationProfiler

_CALLS = 200_000
_ROUNDS = 5
_RUNS = 1_000_000


def measure() -> Iterator[Result]:
    """The figures."""
    on = OperationProfiler(SystemClock(), slow_threshold=1.0)
    empty = _each(partial(_loop, None))
    for claim, profiler, limit in (
        ("around an operation with two details, on", on, 5.0),
        ("the same, off", UNPROFILED, 1.0),
    ):
        taken = _each(partial(_loop, profiler)) - empty
        yield Result(claim, f"{taken:.2f} µs", f"under {limit:g} µs", taken < limit)
    yield _memory()


def _each(work: Callable[[], None]) -> float:
    """Microseconds of one of the calls, the median of some rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        rounds.append((time.perf_counter() - began) / _CALLS * 1e6)
    return statistics.median(rounds)


def _loop(profiler: Profiler | None) -> None:
    if profiler is None:
        for _ in range(_CALLS):
            pass
        return
    for _ in range(_CALLS):
        with profiler.measure("stage.fetch", task="0000000000000001", by="http"):
            pass


def _memory() -> Result:
    chance = random.Random(1)
    times = [chance.lognormvariate(-6, 2) for _ in range(10_007)]
    names = [f"operation.{number}" for number in range(100)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        profiler = OperationProfiler(SystemClock(), slow_threshold=1.0)
        for number in range(_RUNS):
            profiler.record(names[number % 100], times[number % 10_007], task=str(number))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = (after - before) / 2**20
    claim = f"memory of {_RUNS:,} runs of {len(names)} operations, 20 examples each"
    return Result(claim, f"{size:.1f} MiB", "at most 10 MiB", size <= 10)

"""The profiler of operations: right figures, in bounded memory, at little cost when off."""

from __future__ import annotations

import asyncio
import random
import threading
import tracemalloc
from typing import Any

import pytest

from bot.domain.profiling import UNPROFILED
from bot.operations.distribution import RELATIVE_ACCURACY, Distribution
from bot.operations.profiler import OTHER, OperationProfiler, profiled
from tests.rig import ManualClock


def new_profiler(**limits: Any) -> OperationProfiler:
    return OperationProfiler(ManualClock(), **({"slow_threshold": 1.0} | limits))


def filled(values: list[float]) -> Distribution:
    found = Distribution()
    for value in values:
        found.add(value)
    return found


def exact(values: list[float], part: float) -> float:
    """The value at that rank, as the sketch defines it."""
    return sorted(values)[int(part * (len(values) - 1))]


@pytest.mark.parametrize("shape", ["durations", "equal", "wide"])
def test_merged_sketches_are_within_one_percent_of_the_exact_quantiles(shape: str) -> None:
    chance = random.Random(shape)
    draw = {
        "durations": lambda: chance.lognormvariate(-6, 2),
        "equal": lambda: 0.25,
        "wide": lambda: 10 ** chance.uniform(-6, 4.4),
    }[shape]
    # Two workers that saw different amounts of different things.
    first = [draw() for _ in range(5000)]
    second = [draw() * 3 for _ in range(1700)]
    merged = filled(first)
    merged.merge(filled(second))
    together = first + second
    for part in (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0):
        assert merged.quantile(part) == pytest.approx(exact(together, part), rel=RELATIVE_ACCURACY)
    assert merged.count == len(together)
    assert merged.total == pytest.approx(sum(together))
    assert (merged.min, merged.max) == (min(together), max(together))


def test_merging_with_nothing_changes_nothing() -> None:
    found, empty = filled([1.0, 2.0]), Distribution()
    found.merge(empty)
    assert (found.count, found.min, found.max, found.mean) == (2, 1.0, 2.0, 1.5)
    empty.merge(found)
    assert (empty.count, empty.min, empty.max, empty.mean) == (2, 1.0, 2.0, 1.5)
    assert (Distribution().mean, Distribution().quantile(0.5)) == (0.0, 0.0)


def test_the_figures_of_an_operation() -> None:
    profiler = new_profiler(slow_threshold=4.0)
    for seconds in (1.0, 2.0, 3.0, 4.0, 5.0):
        profiler.record("stage.fetch", seconds, failed=seconds > 4)
    (found,) = profiler.stats()
    assert (found.operation, found.count, found.errors, found.slow) == ("stage.fetch", 5, 1, 2)
    assert (found.total, found.mean, found.min, found.max) == (15.0, 3.0, 1.0, 5.0)
    assert found.median == pytest.approx(3.0, rel=0.01)


def test_operations_are_found_by_name_and_by_area_and_merged_by_area() -> None:
    profiler = new_profiler()
    for name in ("stage.fetch", "stage.deliver", "stages", "store.read"):
        profiler.record(name, 1.0)
    profiler.record("stage.fetch", 3.0)
    assert [each.operation for each in profiler.stats("stage")] == ["stage.fetch", "stage.deliver"]
    assert [each.operation for each in profiler.stats("stage.fetch")] == ["stage.fetch"]
    assert profiler.stats("sta") == []
    areas = {each.operation: (each.count, each.total) for each in profiler.areas()}
    assert areas == {"stage": (3, 5.0), "stages": (1, 1.0), "store": (1, 1.0)}


def test_a_million_runs_take_bounded_memory() -> None:
    profiler = new_profiler(max_operations=64, max_examples=10)
    chance = random.Random(1)
    some = [chance.lognormvariate(-6, 2) for _ in range(1009)]
    add, detail = profiler.add, {"text": "x" * 5000}
    tracemalloc.start()
    try:
        for number in range(10_000):
            add(f"op.{number % 200}", some[number % 1009], False, detail)
        early, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        names = [f"op.{number}" for number in range(200)]
        for number in range(980_000):
            add(names[number % 200], some[number % 1009], False, detail)
        tracemalloc.start()
        for number in range(10_000):
            add(names[number % 200], some[number % 1009], False, detail)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    found = profiler.stats()
    assert sum(each.count for each in found) == 1_000_000
    assert len(found) == 65
    assert early < 4_000_000
    assert grown < 100_000
    assert len(profiler.slowest(0.0, 10_000)) <= 65 * 10


def test_too_many_names_share_one() -> None:
    profiler = new_profiler(max_operations=3)
    for number in range(10):
        profiler.record(f"op.{number}", 1.0)
    profiler.record("op.0", 1.0)
    counts = {each.operation: each.count for each in profiler.stats()}
    assert counts == {"op.0": 2, "op.1": 1, "op.2": 1, OTHER: 7}
    assert profiler.overflowed == 7
    assert {run.operation for run in profiler.slowest(0, 100)} == {f"op.{n}" for n in range(10)}


def test_the_slowest_are_kept_with_bounded_details() -> None:
    profiler = new_profiler(max_examples=3)
    for seconds in (5.0, 1.0, 4.0, 2.0, 3.0, 5.0):
        profiler.record("op", seconds, number=seconds, text="a\n" * 9999, nothing=None)
    runs = profiler.slowest(2.5, 10)
    assert [run.seconds for run in runs] == [5.0, 5.0, 4.0]
    assert runs[-1].detail["number"] == "4.0"
    assert len(runs[0].detail["text"]) == 300
    assert "nothing" not in runs[0].detail
    details: dict[str, Any] = {f"d{number}": number for number in range(50)}
    profiler.record("op", 9.0, **details)
    assert len(profiler.slowest(9.0, 1)[0].detail) == 8


def test_details_become_text_only_where_they_are_kept() -> None:
    asked = []

    class Costly:
        def __str__(self) -> str:
            asked.append(1)
            return "costly"

    profiler = new_profiler(max_examples=2)
    for seconds in (3.0, 2.0, 1.0, 1.0, 1.0):
        profiler.record("op", seconds, statement=Costly())
    assert len(asked) == 2


async def test_what_is_measured_and_what_counts_as_an_error() -> None:
    profiler = new_profiler()
    with profiler.measure("op", task="t1"):
        pass
    with pytest.raises(KeyError), profiler.measure("op"):
        raise KeyError
    with pytest.raises(asyncio.CancelledError), profiler.measure("op"):
        raise asyncio.CancelledError
    (found,) = profiler.stats()
    assert (found.count, found.errors) == (3, 1)
    assert [run.failed for run in profiler.slowest(0, 9)].count(True) == 1


async def test_functions_of_both_kinds_can_be_decorated() -> None:
    profiler = new_profiler()

    @profiled(profiler, "plain")
    def plain(value: int, *, more: int = 0) -> int:
        """Says what it does."""
        return value + more

    @profiled(profiler, "awaited")
    async def awaited(value: int) -> int:
        await asyncio.sleep(0)
        if value < 0:
            raise ZeroDivisionError
        return value

    assert plain(1, more=2) == 3
    assert plain.__doc__ == "Says what it does."
    assert await awaited(4) == 4
    assert asyncio.iscoroutinefunction(awaited)
    with pytest.raises(ZeroDivisionError):
        await awaited(-1)
    found = {each.operation: (each.count, each.errors) for each in profiler.stats()}
    assert found == {"plain": (1, 0), "awaited": (2, 1)}


def test_a_profiler_that_is_off_leaves_functions_as_they_are() -> None:
    def function() -> None: ...

    assert profiled(UNPROFILED, "op")(function) is function
    with UNPROFILED.measure("op", detail=1):
        UNPROFILED.record("op", 1.0)
    assert not UNPROFILED.enabled


def test_threads_lose_nothing() -> None:
    profiler = new_profiler()
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5000):
            with profiler.measure("op"):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert profiler.stats()[0].count == 20_000


def test_a_reset_begins_anew() -> None:
    clock = ManualClock()
    profiler = OperationProfiler(clock, slow_threshold=1.0, max_operations=1)
    profiler.record("a", 1.0)
    profiler.record("b", 1.0)
    clock.advance(5)
    profiler.reset()
    assert (profiler.stats(), profiler.slowest(0, 9), profiler.overflowed) == ([], [], 0)
    assert profiler.since == clock.now()

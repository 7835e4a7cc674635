"""The service with nothing to do, and how soon it is ready."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from benchmarks.rig import MIB, Result, Running, fill, nginx, scratch, service
from benchmarks.store import finished_task
from bot.lock import Doorplate
from bot.store.repository import open_store

SPAN, STARTS, TASKS = 20.0, 3, 100_000
_READY = 3.0
_MEGABYTES, _CHILDREN, _CORE = 120, 60, 0.005


def measure() -> Iterator[Result]:
    """The figures."""
    with scratch() as place:
        yield _starts(place, "an empty database")
        with scratch() as web, nginx(web) as base, service(place) as it:
            time.sleep(2)  # what the start leaves to do
            yield _quiet(it, "after the start")
            fill(web / "file.bin", 64 * MIB)
            it.mirror(f"{base}/file.bin")
            time.sleep(2)  # what the task leaves to do
            yield _quiet(it, "after a mirrored file")
    with scratch() as place:
        asyncio.run(_finished_tasks(place / "data"))
        yield _starts(place, f"{TASKS:,} finished tasks")


def _starts(place: Path, what: str) -> Result:
    taken = statistics.median(_until_ready(place) for _ in range(STARTS))
    return Result(
        f"from the start to 200 of /readyz, {what}",
        f"{taken:.2f} s (median of {STARTS})",
        f"at most {_READY:.0f} s",
        taken <= _READY,
    )


def _until_ready(place: Path) -> float:
    start = time.monotonic()
    with service(place):
        address = Doorplate(place / "data").address()
        assert address is not None
        with urlopen(f"{address.url}/readyz") as answer:
            assert answer.status == 200
        return time.monotonic() - start


def _quiet(it: Running, when: str) -> Result:
    load = it.load(SPAN)
    resident = it.resident / 1e6
    count, size = it.offspring
    return Result(
        f"idle {when}",
        f"{resident:.0f} MB resident; {count} children with {size / 1e6:.0f} MB; "
        f"{load:.2%} of a core",
        f"under {_MEGABYTES} MB, children under {_CHILDREN} MB, under {_CORE:.1%}",
        resident < _MEGABYTES and size < _CHILDREN * 1e6 and load < _CORE,
    )


async def _finished_tasks(data: Path) -> None:
    data.mkdir(parents=True)
    store = await open_store(f"sqlite:///{data / 'mltb.db'}")
    chance = random.Random(1)
    for first in range(0, TASKS, 10_000):
        await store.add([finished_task(first + number, chance) for number in range(10_000)])
    await store.close()

"""Many tasks in one call, all of them durable when it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.rig import Result, scratch, service

COUNT = 10_000
_RATE = 2000


def measure() -> Iterator[Result]:
    """The figure. The tasks are due at once: the scheduler is at work while the call is."""
    with scratch() as place:
        with service(place) as it:
            wanted = [{"source": f"http://127.0.0.1:9/{number}"} for number in range(COUNT)]
            start = time.monotonic()
            answer = it.client.post("/tasks/batch", {"tasks": wanted})
            rate = COUNT / (time.monotonic() - start)
            it.process.kill()
            it.process.wait(10)
        with service(place) as it:
            kept = sum(it.client.get("/tasks/counts").values())
    yield Result(
        f"{COUNT} tasks in one call, and kill -9 after its answer",
        f"{rate:,.0f} a second; {answer['accepted']} accepted, {kept} there after the kill",
        f"at least {_RATE:,} a second, all durable",
        rate >= _RATE and kept == answer["accepted"] == COUNT,
    )

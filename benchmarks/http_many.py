"""Many small files, each a durable task, against curl in parallel, which keeps no journal."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.rig import MIB, Result, fill, nginx, scratch, service, shell, timed

COUNT, ACTIVE, ROUNDS = 500, 16, 3
_TIMES = 0.4


def measure() -> Iterator[Result]:
    """The figure."""
    ratios, ours, peers, cpu = [], [], [], []
    with scratch() as web, nginx(web) as base:
        for number in range(COUNT):
            fill(web / f"{number}.bin", MIB)
        for _ in range(ROUNDS):
            taken, used = _through_the_service(base)
            peer = _through_curl(base)
            ratios.append(peer / taken)
            ours.append(taken)
            cpu.append(used)
            peers.append(peer)
    ratio = statistics.median(ratios)
    yield Result(
        f"{COUNT} files of 1 MiB as {COUNT} durable tasks, {ACTIVE} at a time",
        f"{ratio:.2f} times the throughput of `curl -Z` ({_list(ratios)}; medians: "
        f"{statistics.median(ours):.2f} s, of it CPU {statistics.median(cpu):.2f} s, against "
        f"{statistics.median(peers):.2f} s)",
        f"at least {_TIMES}",
        ratio >= _TIMES,
    )


def _through_the_service(base: str) -> tuple[float, float]:
    """Seconds and CPU seconds from the call until the last task is done."""
    with scratch() as place, service(place, MAX_ACTIVE=str(ACTIVE)) as it:
        wanted = [{"source": f"{base}/{number}.bin"} for number in range(COUNT)]
        it.client.get("/tasks/counts")
        before, start = it.cpu, time.monotonic()
        it.client.post("/tasks/batch", {"tasks": wanted})
        it.wait(COUNT)
        return time.monotonic() - start, it.cpu - before


def _through_curl(base: str) -> float:
    with scratch() as place:
        (place / "list").write_text(
            "".join(
                f'url="{base}/{number}.bin"\noutput="{place}/{number}"\n' for number in range(COUNT)
            )
        )
        command = f"curl -sS -Z --parallel-max {ACTIVE} -K {place}/list 2>{place}/progress"
        return timed(shell, command)[0]


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)

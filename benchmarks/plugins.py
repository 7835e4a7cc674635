"""What a call of a plugin costs, against a pool of one process and a call without any.

python -m benchmarks plugins
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.rig import Result
from bot.errors import PluginFailed
from bot.plugins import tiers
from bot.plugins.sandbox import Worker, Zygote
from bot.plugins.worker import Spec

_CALLS = 2_000
_ROUNDS = 5
_LANES = 8
_STARTS = 15
_MIB = 1024 * 1024
_DEADLINE = 0.2  # seconds
_CODE = """
from bot.core.plugin_manager import BasePlugin

class Echo(BasePlugin):
    async def execute(self, value):
        return value

    async def spin(self):
        while True:
            pass
"""

Call = Callable[[], Awaitable[Any]]


def measure() -> Iterator[Result]:
    """The figures, in the best tier of this machine."""
    yield from asyncio.run(_measure())


async def _measure() -> list[Result]:
    found: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="mltb-bench-") as directory:
        await _calls(Path(directory, "calls"), found)
        await _starts(Path(directory, "starts"), found)
    return found


class _Den:
    """A zygote, and workers that give back what they are given."""

    def __init__(self, directory: Path) -> None:
        tier = tiers.of_this_machine()
        code, state = directory / "code", directory / "state"
        (state / "echo").mkdir(parents=True)
        code.mkdir()
        (code / "echo.py").write_text(_CODE)
        self.zygote = Zygote(tier, code=[str(code)], state=[str(state)])
        self._spec = Spec(
            plugin="echo",
            module="echo",
            code=str(code / "echo.py"),
            directory=str(state / "echo"),
            memory=256 * _MIB,
            disk=_MIB,
            open_files=64,
            readable=[*tiers.readable(), str(code)],
            landlock=tier.landlock,
        )

    async def worker(self) -> Worker:
        """A new one that has answered once."""
        worker = Worker(self._spec, broker=_refuse, log=print, on_end=lambda _: None)
        await worker.start(self.zygote, 30)
        await worker.call("initialize", timeout=30)
        return worker


async def _refuse(method: str, _: dict[str, Any]) -> Any:
    raise PluginFailed(f"nobody does {method}")


@asynccontextmanager
async def _den(directory: Path) -> AsyncIterator[_Den]:
    den = _Den(directory)
    try:
        yield den
    finally:
        await den.zygote.close()


async def _calls(directory: Path, found: list[Result]) -> None:
    loop = asyncio.get_running_loop()
    async with _den(directory) as den:
        worker = await den.worker()
        with ProcessPoolExecutor(1) as pool:
            calls: dict[str, Call] = {
                "plugin": lambda: worker.call("execute", 1, timeout=30),
                "pool": lambda: loop.run_in_executor(pool, abs, 1),
                "none": lambda: _echo(1),
            }
            for call in calls.values():
                await _times(call, 500)
            # In turn: whatever else this machine does meanwhile disturbs all of them.
            rounds = [
                {name: sorted(await _times(call, _CALLS)) for name, call in calls.items()}
                for _ in range(_ROUNDS)
            ]
            rates = [await _rates(calls["plugin"]) for _ in range(_ROUNDS)]
            await _of_the_pool(calls["pool"], found, rounds)
        _of_calls(found, rounds, rates)
        await worker.stop()


def _of_calls(
    found: list[Result], rounds: list[dict[str, list[float]]], rates: list[tuple[float, float]]
) -> None:
    p50 = min(statistics.median(each["plugin"]) for each in rounds) * 1e6
    p99 = min(each["plugin"][int(_CALLS * 0.99)] for each in rounds) * 1e6
    bare = min(statistics.median(each["none"]) for each in rounds) * 1e6
    ratio = statistics.median(
        statistics.median(each["pool"]) / statistics.median(each["plugin"]) for each in rounds
    )
    figure = f"{p50:.0f} µs, p99 {p99:.0f} µs (in this process: {bare:.1f} µs)"
    found.append(Result("call, p50, the best round", figure, "at most 80 µs", p50 <= 80))
    figure = f"{ratio:.1f} times faster"
    found.append(Result("the same against the pool", figure, "at least 3 times", ratio >= 3))
    one, many = (max(each[place] for each in rates) for place in (0, 1))
    found.append(Result("calls one by one", f"{one:,.0f}/s", "at least 10,000/s", one >= 10_000))
    claim = f"calls with {_LANES} in flight"
    found.append(Result(claim, f"{many:,.0f}/s", "at least 30,000/s", many >= 30_000))


async def _of_the_pool(
    call: Call, found: list[Result], rounds: list[dict[str, list[float]]]
) -> None:
    p50 = min(statistics.median(each["pool"]) for each in rounds) * 1e6
    one, many = await _rates(call)
    figure = f"{p50:.0f} µs; {one:,.0f}/s, {many:,.0f}/s with {_LANES} in flight"
    found.append(Result("ProcessPoolExecutor(1): call, p50, the best round", figure))


async def _echo(value: int) -> int:
    return value


async def _times(call: Call, count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return times


async def _rates(call: Call) -> tuple[float, float]:
    """Calls a second, one by one and with some in flight."""

    async def lane() -> None:
        for _ in range(_CALLS):
            await call()

    began = time.perf_counter()
    await lane()
    alone = time.perf_counter() - began
    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(_LANES)))
    return _CALLS / alone, _CALLS * _LANES / (time.perf_counter() - began)


async def _starts(directory: Path, found: list[Result]) -> None:
    cold, warm, kills = [], [], []
    for number in range(_ROUNDS):
        async with _den(directory / str(number)) as den:
            began = time.perf_counter()
            first = await den.worker()
            cold.append(time.perf_counter() - began)
            for _ in range(_STARTS // _ROUNDS):
                began = time.perf_counter()
                worker = await den.worker()
                warm.append(time.perf_counter() - began)
                kills.append(await _killed(worker))
            if number == 0:
                alone = _share(first)
                others = [await den.worker() for _ in range(9)]
                among = _share(first)
                for each in others:
                    await each.stop()
            await first.stop()
    _timed(found, "start with its zygote, to the first answer, the best", cold, 60)
    _timed(found, "start from a zygote that is there, the best", warm, 10)
    figure = f"{alone:.1f} MB alone, {among:.1f} MB each of ten"
    found.append(Result("idle memory (PSS)", figure, "at most 4 MB", alone <= 4))
    late = statistics.median(kills) * 1e3
    figure = f"{late:.0f} ms after its deadline, at worst {max(kills) * 1e3:.0f} ms"
    found.append(Result("a runaway is gone", figure, "at most 100 ms", late <= 100))


async def _killed(worker: Worker) -> float:
    """Seconds from the deadline of a call to the end of the process."""
    began = time.perf_counter()
    try:
        await worker.call("spin", timeout=_DEADLINE)
    except PluginFailed:
        return time.perf_counter() - began - _DEADLINE
    raise RuntimeError("a loop without end ended")


def _share(worker: Worker) -> float:
    """MB of its memory, where what several processes share is divided among them."""
    (line,) = [
        line
        for line in Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    ]
    return int(line.split()[1]) / 1024


def _timed(found: list[Result], claim: str, times: list[float], limit: float) -> None:
    best, median = min(times) * 1e3, statistics.median(times) * 1e3
    figure = f"{best:.1f} ms (median {median:.1f} ms)"
    found.append(Result(claim, figure, f"at most {limit:g} ms", best <= limit))

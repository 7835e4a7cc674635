"""Looks after what runs: memory, CPU time and disk of every plugin, and what becomes of too much.

Too much memory ends the process. Too much CPU time stops it for a while (SIGSTOP), so that over
time it has its share; its deadlines go on meanwhile. Too much on the disk ends the plugin until the
operator makes room.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bot.domain.ports import Clock
from bot.errors import PluginFailed
from bot.plugins import usage
from bot.plugins.sandbox import Worker
from bot.plugins.supervisor import Supervisor
from bot.plugins.usage import Process, TooMuch, Usage

log = logging.getLogger(__name__)

_TICK = 1.0  # seconds
_BURST = 5.0  # seconds of its share that a plugin may have saved
_COUNTING = 50  # a directory is counted again after so many times as long as counting took
_LONGEST = 10.0  # seconds, and after this at the latest
_MB = 1024 * 1024


@dataclass(slots=True)
class _Meter:
    """One plugin. ``credit`` are CPU seconds that it may use at once, ``cpu`` those that ``worker``
    had used at the last look."""

    at: float
    credit: float
    worker: Worker | None = None
    cpu: float = 0.0
    is_stopped: bool = False
    held: int | str | None = None
    next_count: float = 0.0


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of one plugin; ``held`` are bytes in its directory, or why they are too many,
    and None where they were not counted this time."""

    process: Process | None
    held: int | str | None
    seconds: float


class Limiter:
    """``supervisors`` gives the plugins that there are; each may use ``share`` of one core."""

    def __init__(
        self, supervisors: Callable[[], Iterable[Supervisor]], clock: Clock, *, share: float
    ) -> None:
        self._supervisors = supervisors
        self._clock = clock
        self._share = share
        self._meters: dict[str, _Meter] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look now and then, until ``stop``."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_TICK)
            try:
                await self.look()
            except OSError:  # such as no descriptor left; the next look may fare better
                log.exception("the plugins could not be looked after")

    async def look(self) -> None:
        """Look at every plugin once, and do what has to be done."""
        now = self._clock.monotonic()
        found = {each.plugin.id: each for each in self._supervisors()}
        self._meters = {name: self._meter(name, now) for name in found}
        running = [
            (each, worker, pid)
            for each in found.values()
            if (worker := each.worker) is not None and (pid := worker.pid) is not None
        ]
        if not running:
            return
        asked = [
            (pid, Path(each.plugin.spec.directory), self._meters[each.plugin.id].next_count <= now)
            for each, _, pid in running
        ]
        seen = await asyncio.to_thread(lambda: [_look(*each) for each in asked])
        for (supervisor, worker, pid), look in zip(running, seen, strict=True):
            # Where it still has that number, nobody else had it meanwhile.
            if supervisor.worker is worker and worker.pid == pid:
                self._judge(supervisor, worker, look)

    def _meter(self, name: str, now: float) -> _Meter:
        meter = self._meters.get(name)
        if meter is None:
            return _Meter(now, _BURST * self._share)
        earned = (now - meter.at) * self._share
        meter.at, meter.credit = now, min(meter.credit + earned, _BURST * self._share)
        return meter

    def _judge(self, supervisor: Supervisor, worker: Worker, look: _Look) -> None:
        plugin, meter = supervisor.plugin, self._meters[supervisor.plugin.id]
        if look.held is not None:
            meter.held, meter.next_count = (
                look.held,
                meter.at + min(_COUNTING * look.seconds, _LONGEST),
            )
        held = meter.held if isinstance(meter.held, int) else None
        process = look.process
        if process is not None:
            plugin.usage = Usage(process.memory, held, process.open_files)
            self._bill(supervisor, worker, meter, process.cpu)
            if process.memory > plugin.spec.memory:
                worker.kill(f"it held {_mb(process.memory)}; {_mb(plugin.spec.memory)} are allowed")
            elif (held or 0) + (process.nameless or 0) > plugin.spec.disk > (held or 0):
                worker.kill(f"it kept {_mb(process.nameless or 0)} in files without a name")
        if reason := _too_much(look.held, plugin.spec.disk):
            supervisor.give_up(reason)

    def _bill(self, supervisor: Supervisor, worker: Worker, meter: _Meter, cpu: float) -> None:
        """Charge what it used since the last look; stop it where it owes, else let it go on."""
        if meter.worker is not worker:
            meter.worker, meter.cpu, meter.is_stopped = worker, 0.0, False
        used, meter.cpu = cpu - meter.cpu, cpu
        supervisor.plugin.counts.cpu += used
        meter.credit -= used
        if (meter.credit < 0) != meter.is_stopped:
            meter.is_stopped = not meter.is_stopped
            worker.signal(signal.SIGSTOP if meter.is_stopped else signal.SIGCONT)


def check_room(directory: Path, quota: int) -> None:
    """PluginFailed where a plugin holds more than ``quota`` bytes in its directory."""
    if reason := _too_much(_held(directory), quota):
        raise PluginFailed(
            reason, hint=f"make room in {directory}, or raise PLUGIN_THRESHOLDS__DISK_QUOTA"
        )


def _look(pid: int, directory: Path, is_counted: bool) -> _Look:
    began = time.perf_counter()
    held = _held(directory) if is_counted else None
    seconds = time.perf_counter() - began
    try:
        return _Look(usage.of_process(pid, directory.stat().st_dev), held, seconds)
    except OSError:
        return _Look(None, held, seconds)  # it went meanwhile


def _held(directory: Path) -> int | str:
    try:
        return usage.of_directory(directory)
    except TooMuch as error:
        return str(error)


def _too_much(held: int | str | None, quota: int) -> str | None:
    if isinstance(held, str):
        return f"its directory holds {held}"
    if held is not None and held > quota:
        return f"its directory holds {_mb(held)}; {_mb(quota)} are allowed"
    return None


def _mb(size: int) -> str:
    return f"{size / _MB:.1f} MB"

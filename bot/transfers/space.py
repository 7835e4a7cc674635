"""Room on the disks: who reserved how much, and whether one more fits."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.domain.ports import Clock

_FRESH = 1.0  # seconds that a reading of the free space is good for


@dataclass(frozen=True, slots=True)
class Room:
    """A filesystem, in bytes: its size, what is free, and what running tasks will still take."""

    device: int
    total: int
    free: int
    promised: int

    @property
    def available(self) -> int:
        """What one more task may take."""
        return max(0, self.free - self.promised)


@dataclass(slots=True)
class _Claim:
    device: int
    need: int


class DiskLedger:
    """Reservations of running tasks, by filesystem.

    ``reserve`` bytes always stay free. ``written`` tells how many bytes of their needs tasks have
    on the disk already: they are gone from the free space, and must not be counted twice.
    """

    def __init__(
        self, reserve: int, written: Callable[[], Mapping[str, int]], clock: Clock
    ) -> None:
        self._reserve = reserve
        self._written = written
        self._clock = clock
        self._claims: dict[str, _Claim] = {}
        self._promised: Counter[int] = Counter()
        self._readings: dict[Path, tuple[float, int, int, int]] = {}

    async def room(self, directory: Path, *, but: str | None = None) -> Room:
        """The room on the filesystem of ``directory``, without the claim of the task ``but``."""
        device, total, free = await self._read(directory)
        written = self._written()
        promised = sum(
            max(0, claim.need - written.get(task, 0))
            for task, claim in self._claims.items()
            if claim.device == device and task != but
        )
        return Room(device, total, max(0, free - self._reserve), promised)

    async def claim(self, task: str, directory: Path, need: int) -> Room | None:
        """Reserve ``need`` bytes for ``task``; None when done, the room there is when it does not
        fit. A second claim of one task replaces the first.
        """
        self.release(task)
        device, _, free = await self._read(directory)
        if need > free - self._reserve - self._promised[device]:
            # Too tight for the sum of all claims; what is written already may make the difference.
            room = await self.room(directory)
            if need > room.available:
                return room
        self._claims[task] = _Claim(device, need)
        self._promised[device] += need
        return None

    def release(self, task: str) -> None:
        """The task takes nothing any more."""
        claim = self._claims.pop(task, None)
        if claim is not None:
            self._promised[claim.device] -= claim.need

    async def _read(self, directory: Path) -> tuple[int, int, int]:
        known = self._readings.get(directory)
        now = self._clock.monotonic()
        if known is not None and now - known[0] < _FRESH and self._claims:
            return known[1:]
        # In a thread: a network filesystem that hangs must not hang the service.
        device, total, free = await asyncio.to_thread(_measure, directory)
        if len(self._readings) > 64:
            self._readings.clear()
        self._readings[directory] = (now, device, total, free)
        return device, total, free


def _measure(directory: Path) -> tuple[int, int, int]:
    """Device, size and free bytes of the filesystem on which ``directory`` will lie."""
    while True:
        try:
            figures, device = os.statvfs(directory), directory.stat().st_dev
        except (FileNotFoundError, NotADirectoryError):
            # Not there yet, or gone this moment with the last task that worked in it.
            directory = directory.parent
        else:
            unit = figures.f_frsize
            return device, figures.f_blocks * unit, figures.f_bavail * unit

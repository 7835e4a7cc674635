"""What the process and its machine need and have: memory, processor, disk, files.

Looking takes a millisecond and may wait for a filesystem that does not answer, so a thread does it
every few seconds and everybody else reads what it saw last. The same beat measures how late the
event loop wakes up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from bot.domain.ports import Clock

_BEAT = 1.0  # seconds between two looks at the lag of the event loop
_BEATS = 5  # how many of them one look at the machine comes after, and the worst lag is of


class Machine:
    """The figures of this process and its machine, five seconds old at most while no filesystem
    hangs.

    ``downloads`` and ``data`` are the directories whose filesystems are looked at; ``each_second``
    is called with the monotonic time about once a second, and must be quick.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        downloads: Path,
        data: Path,
        each_second: Callable[[float], None],
    ) -> None:
        self._clock = clock
        self._each_second = each_second
        self._downloads = downloads
        self._data = data
        self._process = psutil.Process()
        self._figures: dict[str, float] = {}
        self._lags: deque[float] = deque(maxlen=_BEATS)
        self._beating: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for the first time, then go on until ``stop``."""
        await asyncio.to_thread(self._look)
        self._beating = asyncio.ensure_future(self._beat())

    async def stop(self) -> None:
        """Look no more."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=_BEAT)

    def figures(self) -> Mapping[str, float]:
        """The readings of this part that are known."""
        return {**self._figures, "event_loop_lag_seconds": max(self._lags, default=0.0)}

    async def _beat(self) -> None:
        while True:
            for _ in range(_BEATS):
                asked = self._clock.monotonic()
                await self._clock.sleep(_BEAT)
                now = self._clock.monotonic()
                self._lags.append(max(0.0, now - asked - _BEAT))
                self._each_second(now)
            # Not waited for: a filesystem that hangs must stop nothing else.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.ensure_future(asyncio.to_thread(self._look))

    def _look(self) -> None:
        process = self._process
        found: dict[str, float] = {}
        with contextlib.suppress(OSError, psutil.Error), process.oneshot():
            found["process_cpu_percent"] = process.cpu_percent()
            found["process_memory_bytes"] = process.memory_info().rss
            found["children_memory_bytes"] = sum(map(_resident, _descendants(process)))
            found["open_files"] = process.num_fds()
        with contextlib.suppress(OSError):
            found["cpu_percent"] = psutil.cpu_percent()
            found["memory_available_bytes"] = psutil.virtual_memory().available
            found["load_1m"] = os.getloadavg()[0]
        with contextlib.suppress(OSError):
            disk = psutil.disk_usage(str(self._downloads))
            found["disk_free_bytes"] = disk.free
            found["disk_free_ratio"] = disk.free / disk.total if disk.total else 0.0
        with contextlib.suppress(OSError):
            found["data_free_bytes"] = psutil.disk_usage(str(self._data)).free
        self._figures = found


def _descendants(process: psutil.Process) -> Iterator[psutil.Process]:
    """All that it started and that still runs."""
    with contextlib.suppress(psutil.Error):
        yield from process.children(recursive=True)


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0

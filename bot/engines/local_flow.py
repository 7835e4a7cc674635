"""One job on the local disk while it runs: how far it is, how fast it may be, whether to stop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from bot.domain.task import Progress

_CHUNK = 8 * 1024 * 1024
_LOOK = 0.25  # seconds between two looks at a limit that may have changed
_SMOOTH = 0.3  # weight of the newest speed
_Result = TypeVar("_Result")


class Stopped(Exception):
    """The job was told to stop."""


class Flow:
    """Shared by the thread that moves bytes (``turn``, ``moved``) and the event loop.

    ``rate`` gives the bytes a second that are allowed now, None for no limit.
    """

    def __init__(self, total: int, rate: Callable[[], int | None]) -> None:
        self.total = total
        self.done = 0
        self._rate = rate
        self._stop = threading.Event()
        self._next = 0.0
        self._sampled = (time.monotonic(), 0, 0.0)

    def stop(self) -> None:
        """Make the next ``turn`` raise Stopped, also one that waits."""
        self._stop.set()

    def turn(self, wanted: int) -> int:
        """Wait until bytes may be moved; how many, at most ``wanted``. Raises Stopped."""
        while True:
            if self._stop.is_set():
                raise Stopped
            rate = self._rate()
            delay = self._next - time.monotonic()
            if rate is None or delay <= 0:
                return min(wanted, _CHUNK if rate is None else max(4096, min(_CHUNK, rate // 8)))
            self._stop.wait(min(delay, _LOOK))

    def moved(self, count: int) -> None:
        """``count`` bytes were moved."""
        self.done += count
        rate = self._rate()
        if rate is not None:
            now = time.monotonic()
            self._next = max(self._next, now - _LOOK) + count / rate

    def credit(self, count: int) -> None:
        """``count`` bytes are there without having been moved now."""
        self.done += count

    def progress(self) -> Progress:
        """A sample, with a smoothed speed."""
        then, before, speed = self._sampled
        now, done = time.monotonic(), self.done
        if now - then >= _LOOK:
            fresh = max(0, done - before) / (now - then)
            speed = fresh if before == 0 else speed + _SMOOTH * (fresh - speed)
            self._sampled = (now, done, speed)
        return Progress(done=done, total=self.total, speed=speed)


async def in_thread(flow: Flow, executor: Executor | None, work: Callable[[], _Result]) -> _Result:
    """The result of ``work``, done in a thread; when cancelled, stop ``flow`` and go on only after
    the thread has let go of the disk."""
    running = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        flow.stop()
        running.cancel()
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue
        if not running.cancelled():
            running.exception()
        raise

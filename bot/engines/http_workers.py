"""A few threads for disk and hash work, and the memory that carries bytes to them.

The thread that receives touches neither disk nor hash. Work on one file is in order (a ``Strand``),
work on several files side by side.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: What a busy connection collects before it goes to disk and hash in one piece.
BIG = 1024 * 1024
_MIDDLE = 64 * 1024
#: libcurl brings at most 16 KiB at once; less than half of that is a connection that waits.
_SLOW = 8 * 1024
_CAPACITY = 32 * 1024 * 1024
_KEPT = 4
_IN_A_ROW = 8


class Workers:
    """Threads that start with the first work and end with ``close``."""

    def __init__(self, count: int = 4) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._queue: queue.SimpleQueue[Strand | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False

    def schedule(self, strand: Strand) -> None:
        """Let a thread do what ``strand`` holds."""
        self._queue.put(strand)
        if len(self._threads) < self._count:
            with self._lock:
                if len(self._threads) < self._count and not self._closed:
                    thread = threading.Thread(
                        target=self._run, name=f"disk-{len(self._threads)}", daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def _run(self) -> None:
        while True:
            strand = self._queue.get()
            if strand is None:
                return
            strand.turn()

    async def close(self) -> None:
        """Finish what is queued, then end the threads."""
        with self._lock:
            # A thread that began from now on would take the end that is meant for another.
            self._closed = True
            threads = tuple(self._threads)
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        """Do what came after the ends of the threads."""
        while not self._queue.empty():
            strand = self._queue.get()
            if strand is not None:
                strand.turn()


class Strand:
    """Functions that run one after the other, in the order in which they were put."""

    __slots__ = ("_items", "_lock", "_scheduled", "_workers")

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._items: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._scheduled = False

    def put(self, function: Callable[[], None]) -> None:
        """Run ``function``, which must not raise, after what is queued already."""
        with self._lock:
            self._items.append(function)
            if self._scheduled:
                return
            self._scheduled = True
        self._workers.schedule(self)

    def turn(self) -> None:
        """Run some of the functions; other strands get their turn in between."""
        for _ in range(_IN_A_ROW):
            with self._lock:
                if not self._items:
                    self._scheduled = False
                    return
                function = self._items.popleft()
            function()
        self._workers.schedule(self)

    async def run(self, function: Callable[[], T]) -> T:
        """Run ``function`` in its turn and give its result or raise its error.

        Cancelling waits for it: when this ends, nothing of it goes on.
        """
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.put(lambda: answer(ended, function))
        return await settled(ended)


def answer(ended: asyncio.Future[T], function: Callable[[], T]) -> None:
    """Call ``function`` and hand its result or its error to who awaits ``ended``."""
    loop = ended.get_loop()
    try:
        result = function()
    except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who waits
        loop.call_soon_threadsafe(ended.set_exception, error)
    else:
        loop.call_soon_threadsafe(ended.set_result, result)


async def settled(future: asyncio.Future[T]) -> T:
    """The result of ``future``, which is waited for even when this is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()


class Buffers:
    """A bounded amount of memory for bytes between the network and the disk.

    The big ones are used again and again: fresh memory costs more than the copy into it. Where
    many connections want some, each gets less.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._used = 0
        self._free: list[bytearray] = []
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def take(self, count: int, wake: Callable[[], None]) -> bytearray | None:
        """A buffer for ``count`` bytes and, when those come fast, for what comes behind them.

        None when there is none; then ``wake`` is called, from any thread, as soon as it pays to
        ask again.
        """
        with self._lock:
            size = self._size(count)
            if self._used + size > self._capacity and self._used:
                self._waiting.append(wake)
                return None
            self._used += size
            if size == BIG and self._free:
                return self._free.pop()
        return bytearray(size)

    def _size(self, count: int) -> int:
        if count <= _SLOW or self._used > self._capacity * 3 // 4:
            return count
        return max(count, _MIDDLE) if self._used > self._capacity // 2 else max(count, BIG)

    def give(self, buffer: bytearray) -> None:
        """Hand a buffer back."""
        woken: list[Callable[[], None]] = []
        with self._lock:
            self._used -= len(buffer)
            if len(buffer) == BIG and (self._used or len(self._free) < _KEPT):
                self._free.append(buffer)
            if not self._used:
                del self._free[_KEPT:]
            if self._waiting and self._used <= self._capacity * 3 // 4:
                woken.extend(self._waiting)
                self._waiting.clear()
        for wake in woken:
            wake()

"""One connection that brings one piece of a file. Its callbacks run in libcurl's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

import pycurl

from bot.engines.curl import CurlLoop
from bot.engines.curl_handle import Handle
from bot.engines.http_exchange import Access, ask_range
from bot.engines.http_heads import Head, Version
from bot.engines.http_partfile import PartFile
from bot.engines.http_workers import Buffers

_IGNORED = 64 * 1024


class Verdict(Enum):
    """What an answer is good for."""

    TAKEN = "taken"
    #: A redirect or an error: what follows is not the file.
    OTHER = "other"
    #: Another version of the file than the bytes that are there.
    CHANGED = "changed"
    #: The same version, but all of it, where a part was asked for.
    WHOLE = "whole"


class Lane:
    """Fetches ``[start, end)``; ``end`` None is as far as it goes.

    ``pos`` is how far it is. ``end`` may be moved towards ``pos`` while it runs (another lane
    takes the rest), and back as far as ``reach``, where its answer ends.
    """

    def __init__(
        self,
        loop: CurlLoop,
        buffers: Buffers,
        start: int,
        end: int | None,
        *,
        known: Version,
        bounded: bool,
        judge: Callable[[Lane], tuple[Verdict, PartFile | None]],
    ) -> None:
        self.start = self.pos = start
        self.end = end
        self.reach = end
        self.allowed: int | None = None
        self.asked = start > 0 or bounded
        self.head = Head()
        self.access: Access | None = None
        self.verdict: Verdict | None = None
        self.handle: Handle | None = None
        self._bounded = bounded
        self._known = known
        self._loop = loop
        self._buffers = buffers
        self._judge = judge
        self._part: PartFile | None = None
        self._buffer: bytearray | None = None
        self._filled = 0
        self._at = start
        self._ignored = 0
        self._held: bytearray | None = None
        self._lock = threading.Lock()

    @property
    def excess(self) -> bool:
        """Whether more came than was announced."""
        return self.handle is not None and bool(self.handle.excess)

    @property
    def left(self) -> int:
        """Bytes to go; 0 where nobody knows."""
        return 0 if self.end is None else max(0, self.end - self.pos)

    def prepare(self, handle: Handle, head: Head, access: Access) -> None:
        """Set up the handle of one hop."""
        self.handle, self.head, self.access = handle, head, access
        self.verdict, self._ignored = None, 0
        handle.curl.setopt(pycurl.WRITEFUNCTION, self._write, use_memoryview=True)
        handle.excess = False
        end = self.end if self._bounded else None
        ask_range(handle, access.target, self.start, end, self._known)
        if self.allowed is not None:
            handle.set(pycurl.MAX_RECV_SPEED_LARGE, self.allowed)

    def decide(self) -> Verdict:
        """Judge the answer, once; where there was no body, after the end of it."""
        if self.verdict is None:
            self.verdict, self._part = self._judge(self)
        return self.verdict

    def flush(self) -> None:
        """Hand on what has been collected. From libcurl's thread, or after the end."""
        with self._lock:
            buffer, count, at = self._buffer, self._filled, self._at
            if buffer is None:
                return
            self._buffer, self._filled, self._at = None, 0, at + count
        if count and self._part is not None:
            self._part.put(at, buffer, count)
        else:
            self._buffers.give(buffer)

    def flush_idle(self) -> None:
        """Hand on what has been held since the last call: what is slow to become more is not to be
        lost with the process. From libcurl's thread."""
        if self._buffer is not None and self._buffer is self._held:
            self.flush()
        self._held = self._buffer

    def _write(self, data: memoryview) -> int | None:
        """CURLOPT_WRITEFUNCTION, a hundred thousand times a gigabyte: first what is usual."""
        buffer, count = self._buffer, len(data)
        if buffer is not None:
            filled = self._filled + count
            if filled < len(buffer) and (self.end is None or self.pos + count < self.end):
                buffer[self._filled : filled] = data
                self._filled = filled
                self.pos += count
                return None
        return self._write_checked(data)

    def _write_checked(self, data: memoryview) -> int | None:
        """Either takes all of ``data`` or pauses."""
        if self.decide() is not Verdict.TAKEN:
            return self._ignore(len(data))
        part = self._part
        if part is None or part.error is not None:
            return self._stop()
        count = len(data)
        if self.end is not None and self.pos + count > self.end:
            count = self.end - self.pos
            if count <= 0:
                return self._stop()
        buffer = self._room(count)
        if buffer is None:
            return int(pycurl.WRITEFUNC_PAUSE)
        whole, filled = count == len(data), self._filled
        buffer[filled : filled + count] = data if whole else data[:count]
        self._filled = filled + count
        self.pos += count
        if self._filled == len(buffer):
            self.flush()
        return None if whole else self._stop()

    def _room(self, count: int) -> bytearray | None:
        """A buffer with room for ``count`` bytes; None where memory is short."""
        if self._buffer is not None and self._filled + count > len(self._buffer):
            self.flush()
        if self._buffer is None:
            self._buffer = self._buffers.take(count, self._wake)
        return self._buffer

    def _wake(self) -> None:
        if self.handle is not None:
            self._loop.resume(self.handle)

    def _ignore(self, count: int) -> int | None:
        """Read a short body that nobody wants, so that the connection can be used again."""
        self._ignored += count
        small = self._ignored <= _IGNORED and self.verdict is Verdict.OTHER
        return None if small else self._stop()

    def _stop(self) -> int:
        return 0 if self.handle is None else self.handle.stop()

"""A source as it arrives, without a file in between."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import deque
from collections.abc import AsyncGenerator

import pycurl

from bot.engines.curl import CurlLoop
from bot.engines.curl_handle import Handle
from bot.engines.http_exchange import Access, Exchange
from bot.engines.http_heads import Head
from bot.engines.http_traffic import Traffic
from bot.engines.http_workers import settled
from bot.errors import Corrupt

_MOST = 4 * 1024 * 1024
_CHUNK = 512 * 1024
_IGNORED = 64 * 1024


class Pipe:
    """Holds some megabytes between libcurl's thread and whoever takes them."""

    def __init__(self, loop: CurlLoop) -> None:
        self.pos = 0
        self.allowed: int | None = None
        self.handle: Handle | None = None
        self.size: int | None = None
        self._loop = loop
        self._home = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._paused = False
        self._lock = threading.Lock()
        self.head = Head()
        self.access: Access | None = None
        self._ignored = 0

    def prepare(self, handle: Handle, head: Head, access: Access) -> None:
        """Set up the handle of one hop."""
        self.handle, self.head, self.access, self._ignored = handle, head, access, 0
        handle.set(pycurl.WRITEFUNCTION, self._write)
        handle.excess = False
        if self.allowed is not None:
            handle.set(pycurl.MAX_RECV_SPEED_LARGE, self.allowed)

    def flush_idle(self) -> None:
        """Nothing is held back here."""

    def wake(self) -> None:
        """Let ``take`` look again."""
        self._ready.set()

    async def take(self, ended: asyncio.Task[object]) -> bytes:
        """The next bytes; none when ``ended`` is done and everything is taken."""
        while not self._chunks and not ended.done():
            self._ready.clear()
            if not self._chunks and not ended.done():
                await self._ready.wait()
        with self._lock:
            taken: list[bytes] = []
            size = 0
            while self._chunks and size < _CHUNK:
                taken.append(self._chunks.popleft())
                size += len(taken[-1])
            self._held -= size
            resume = self._paused and self._held < _MOST // 2
            if resume:
                self._paused = False
        if resume and self.handle is not None:
            self._loop.resume(self.handle)
        return b"".join(taken)

    def _write(self, data: bytes) -> int | None:
        access, head = self.access, self.head
        web = access is not None and access.target.web
        if web and (head.redirects or head.error("") is not None):
            self._ignored += len(data)
            small = self._ignored <= _IGNORED or self.handle is None
            return None if small or self.handle is None else self.handle.stop()
        if web:
            self.size = head.size
        with self._lock:
            if self._held >= _MOST:
                self._paused = True
                return int(pycurl.WRITEFUNC_PAUSE)
            first = not self._chunks
            self._chunks.append(data)
            self._held += len(data)
        self.pos += len(data)
        if first and not self._home.is_closed():
            self._home.call_soon_threadsafe(self._ready.set)
        return None


async def stream(
    exchange: Exchange,
    traffic: Traffic,
    pipe: Pipe,
    access: Access,
    job: str,
    checksum: tuple[str, str] | None,
) -> AsyncGenerator[bytes, None]:
    """The bytes of ``access``, in order. Raises a TransferError, also after the last byte where
    they turn out wrong: what was made of them must not be kept then."""
    traffic.enter(pipe, job)
    digest = hashlib.new(checksum[0], usedforsecurity=False) if checksum else None
    ended: asyncio.Task[object] = asyncio.create_task(exchange.follow(access, pipe.prepare))
    ended.add_done_callback(lambda _: pipe.wake())
    try:
        while chunk := await pipe.take(ended):
            if digest is not None:
                await asyncio.to_thread(digest.update, chunk)
            yield chunk
        await ended
        _check_answer(pipe)
        if checksum is not None and digest is not None and digest.hexdigest() != checksum[1]:
            raise Corrupt(
                f"the {checksum[0]} of the source is {digest.hexdigest()}, but {checksum[1]} was "
                "asked for",
                expected=checksum[1],
                found=digest.hexdigest(),
            )
    finally:
        traffic.leave(pipe)
        ended.cancel()
        await settled(asyncio.gather(ended, return_exceptions=True))


def _check_answer(pipe: Pipe) -> None:
    access, head = pipe.access, pipe.head
    if access is None:
        return
    host = access.target.host
    error = head.error(host) if access.target.web else None
    if error is not None:
        raise error
    if pipe.handle is not None and pipe.handle.excess:
        raise Corrupt(f"{host} sent more than the {pipe.pos} bytes that it announced")

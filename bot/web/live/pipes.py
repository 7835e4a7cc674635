"""How messages get to one client, without ever waiting for it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from bot.web.live.messages import Message, Parcel

if TYPE_CHECKING:
    from bot.web.frames import FrameChannel


class Pipe(Protocol):
    """The way to one client."""

    def waiting(self) -> int:
        """Bytes that it has not taken yet."""

    def push(self, parcel: Parcel) -> int:
        """Hand it on; the bytes that this came to."""

    def abort(self) -> None:
        """Let go of what waits."""


class FramePipe:
    """Frames that are made already, past the server's own way."""

    def __init__(self, channel: FrameChannel) -> None:
        self._channel = channel
        self._bits = channel.bits
        #: Tells the bytes that the client has not taken yet.
        self.waiting = channel.waiting

    def push(self, parcel: Parcel) -> int:
        """Hand it on; the bytes that this came to."""
        frame = parcel.framed(self._bits)
        self._channel.write(frame)
        return len(frame)

    def abort(self) -> None:
        """End the connection at once."""
        self._channel.abort()


class QueuePipe:
    """Messages for somebody who waits for each to be sent: ``async for message in pipe``."""

    def __init__(self) -> None:
        self._queue: deque[Message] = deque()
        self._ready = asyncio.Event()
        self._over = False
        self._under_way = 0
        self._waiting = 0

    def waiting(self) -> int:
        """Bytes that were not taken yet."""
        return self._waiting

    def push(self, parcel: Parcel) -> int:
        """Hand it on; the bytes that this came to."""
        self._queue.extend(parcel.messages)
        size = sum(len(each.body) for each in parcel.messages)
        self._waiting += size
        self._ready.set()
        return size

    def abort(self) -> None:
        """No more comes, and what waits does not either."""
        self._queue.clear()
        self.end()

    def end(self) -> None:
        """No more comes."""
        self._over = True
        self._ready.set()

    def __aiter__(self) -> QueuePipe:
        return self

    async def __anext__(self) -> Message:
        # Whoever asks for the next has sent the one before.
        self._waiting -= self._under_way
        self._under_way = 0
        while not self._queue:
            if self._over:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        message = self._queue.popleft()
        self._under_way = len(message.body)
        return message

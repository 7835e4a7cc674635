"""One end of the connection between the host and a worker: frames, and descriptors beside them.

Standard library and msgspec only: both ends use it. Descriptors go one way, from the host to the
worker: the end that does not expect them never has them, the kernel closes what came.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from bot.plugins.wire import Message, Splitter, Violation

_READ = 256 * 1024
_MAX_FDS = 16
#: Bytes that wait for an end that does not read; more of them end the connection.
MAX_WAITING = 64 * 1024 * 1024
#: The reason of an end that the other side chose.
HUNG_UP = "the other end hung up"


class Channel:
    """``on_message`` gets each message and its descriptors, which are then its own to close.
    ``on_end`` is called once, with the reason, when nothing more will come.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        *,
        on_message: Callable[[Message, list[int]], None],
        on_end: Callable[[str], None],
        takes_fds: bool = False,
    ) -> None:
        self._socket = sock
        self._loop = loop
        self._on_message = on_message
        self._on_end = on_end
        self._takes_fds = takes_fds
        self._splitter = Splitter()
        self._outgoing: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._waiting = 0
        self._given: list[int] = []
        self._open = True
        sock.setblocking(False)
        loop.add_reader(sock, self._readable)

    def send(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Send a frame; it waits in memory where the other end does not read. The descriptors
        belong to this channel from now on."""
        if not self._open:
            _close_all(fds)
            return
        self._outgoing.append((memoryview(frame), fds))
        self._waiting += len(frame)
        if len(self._outgoing) == 1:
            self._writable()
        elif self._waiting > MAX_WAITING:
            self.close(f"{self._waiting} bytes wait for it, and it does not read")

    def close(self, reason: str = "closed") -> None:
        """Hang up."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for _, fds in self._outgoing:
            _close_all(fds)
        self._outgoing.clear()
        _close_all(self._given)
        self._on_end(reason)

    def _readable(self) -> None:
        try:
            if self._takes_fds:
                data, fds, _, _ = socket.recv_fds(self._socket, _READ, _MAX_FDS)
                self._given += fds
            else:
                data = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""  # it was reset: the other end died with something unread
        if not data:
            self.close(HUNG_UP)
            return
        try:
            for message in self._splitter.feed(data):
                count = getattr(message, "fds", 0) if self._takes_fds else 0
                fds, self._given = self._given[:count], self._given[count:]
                self._on_message(message, fds)
                if not self._open:
                    return
        except Violation as error:
            self.close(f"it broke the protocol: {error}")

    def _writable(self) -> None:
        while self._outgoing:
            frame, fds = self._outgoing[0]
            try:
                sent = (
                    socket.send_fds(self._socket, [frame], fds) if fds else self._socket.send(frame)
                )
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket, self._writable)
                return
            except OSError:
                self.close(HUNG_UP)
                return
            _close_all(fds)
            self._waiting -= sent
            if sent < len(frame):
                self._outgoing[0] = (frame[sent:], ())
            else:
                self._outgoing.popleft()
        self._loop.remove_writer(self._socket)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)

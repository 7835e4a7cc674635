"""One end of the connection between the host and a worker: frames, and descriptors beside them.

Standard library and msgspec only: both ends use it. Descriptors go one way, from the host to the
worker: the end that does not expect them never has them, the kernel closes what came.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from bot.plugins.wire import Answer, Call, Message, Splitter, Violation

_FDS_SIZE = socket.CMSG_SPACE(16 * array.array("i").itemsize)  # of ancillary data: 16 at once
_MAX_WAITING_FDS = 64  # that wait for an end that does not read
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
        self._is_held_up = False  # the other end does not read
        sock.setblocking(False)
        loop.add_reader(sock, self._readable)

    def send(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Send a frame; it waits in memory where the other end does not read. The descriptors
        belong to this channel from now on."""
        if not self._open:
            close_all(fds)
            return
        if fds and sum(len(each) for _, each in self._outgoing) >= _MAX_WAITING_FDS:
            close_all(fds)
            self.close(f"{_MAX_WAITING_FDS} files wait for it, and it does not read")
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
            close_all(fds)
        self._outgoing.clear()
        close_all(self._given)
        self._on_end(reason)

    def _readable(self) -> None:
        try:
            if self._takes_fds:
                count = self._receive_fds()
            else:
                count = self._socket.recv_into(self._splitter.room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0  # it was reset: the other end died with something unread
        if not count:
            self.close(HUNG_UP)
            return
        try:
            for message in self._splitter.took(count):
                self._on_message(message, self._fds_of(message))
                if not self._open:
                    return
        except Violation as error:
            self.close(f"it broke the protocol: {error}")

    def _receive_fds(self) -> int:
        """Read as ``recv_into`` does, and keep the descriptors that came along."""
        count, extra, _, _ = self._socket.recvmsg_into([self._splitter.room], _FDS_SIZE)
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
                self._given += found
        return count

    def _fds_of(self, message: Message) -> list[int]:
        count = message.fds if isinstance(message, Call | Answer) and self._takes_fds else 0
        if not count:
            return []
        fds, self._given = self._given[:count], self._given[count:]
        return fds

    def _writable(self) -> None:
        while self._outgoing:
            frame, fds = self._outgoing[0]
            try:
                sent = (
                    socket.send_fds(self._socket, [frame], fds) if fds else self._socket.send(frame)
                )
            except (BlockingIOError, InterruptedError):
                if not self._is_held_up:
                    self._is_held_up = True
                    self._loop.add_writer(self._socket, self._writable)
                return
            except OSError:
                self.close(HUNG_UP)
                return
            close_all(fds)
            self._waiting -= sent
            if sent < len(frame):
                self._outgoing[0] = (frame[sent:], ())
            else:
                self._outgoing.popleft()
        if self._is_held_up:
            self._is_held_up = False
            self._loop.remove_writer(self._socket)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)

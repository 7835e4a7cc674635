"""What a worker writes to its standard output and error, as lines for the log."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_READ = 64 * 1024  # bytes that are read at once
_LINE = 2000  # characters of a line; what is longer is cut


class Output:
    """``log`` gets each line that says something."""

    def __init__(self, sock: socket.socket, log: Callable[[str], None]) -> None:
        self._socket: socket.socket | None = sock
        self._log = log
        self._rest = ""
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._readable)

    def end(self) -> None:
        """Take what is there, and no more."""
        self._readable()
        if self._rest.strip():
            self._log(self._rest)
        self._rest = ""
        self.close()

    def close(self) -> None:
        """Listen no more."""
        sock, self._socket = self._socket, None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        self._rest = self._rest[-_LINE:]
        for line in lines:
            if line.strip():
                self._log(line[:_LINE])

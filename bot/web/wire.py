"""How answers leave for the network."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: What an application finds in its scope where it may write WebSocket frames itself.
EXTENSION = "mltb.frames"


class JoinedHttp(HttpToolsProtocol):
    """HTTP whose head and body leave together. The server writes them apart, which is two system
    calls and two packets: for a short answer a fifth of all that it takes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(JoinedWrites(transport, self.loop))

    def handle_websocket_upgrade(self) -> None:
        """It goes on as a WebSocket, whose frames are whole already."""
        if isinstance(self.transport, JoinedWrites):
            self.transport = self.transport.inner
        super().handle_websocket_upgrade()


class JoinedWrites(asyncio.Transport):
    """A transport that holds a piece until the next one, at most until the loop comes round."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.inner = inner
        self._loop = loop
        self._held = b""
        self._coming = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it, with the next one if that comes at once."""
        if self._held:
            self.inner.write(self._held + data)
            self._held = b""
            return
        self._held = bytes(data)
        if not self._coming:
            self._coming = True
            self._loop.call_soon(self._come_round)

    def _come_round(self) -> None:
        self._coming = False
        self._flush()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self.inner.write(held)

    def close(self) -> None:
        """Send what there is, then close."""
        self._flush()
        self.inner.close()

    def abort(self) -> None:
        """Close at once."""
        self.inner.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self.inner.is_closing()

    def pause_reading(self) -> None:
        """Take no more."""
        self.inner.pause_reading()

    def resume_reading(self) -> None:
        """Take more."""
        self.inner.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the connection is."""
        return self.inner.get_extra_info(name, default)


def websocket(**given: Any) -> asyncio.Protocol:
    """The protocol of a WebSocket. Its library is loaded with the first one (1.5 MB)."""
    from bot.web.frames import FramesProtocol

    return FramesProtocol(**given)

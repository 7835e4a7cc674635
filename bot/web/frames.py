"""uvicorn's WebSockets, with a way to send frames that are made already.

Where an application finds ``EXTENSION`` in the extensions of its scope, it may write frames (RFC
6455, with permessage-deflate where ``bits`` is not None) past ``send``. Other servers do not have
it, and get the same as text.
"""

from __future__ import annotations

import socket
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.http11 import Request

from bot.web.wire import EXTENSION

_LEAST_BITS = 9  # of a window that zlib can make without a header
_PING = 60.0  # seconds between two pings, where messages come all the time
_UNANSWERED = 30_000  # milliseconds for which a client's machine may not acknowledge what it got
_KERNEL_BUFFER = 128 * 1024  # bytes that the kernel keeps for a client that does not read


class FrameChannel:
    """The way to the client of one connection."""

    def __init__(self, protocol: FramesProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self.bits = _negotiated_bits(protocol)
        #: Tells the bytes that the client has not taken yet, beyond what the kernel keeps.
        self.waiting = self._transport.get_write_buffer_size
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
            if raw.family != socket.AF_UNIX:
                # Each message asks whether the client is there; a ping costs ten times as much.
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED)

    def write(self, frame: bytes) -> None:
        """Send a whole frame; nothing happens once the connection ends."""
        if not (self._protocol.close_sent or self._transport.is_closing()):
            self._transport.write(frame)

    def abort(self) -> None:
        """End the connection at once, whatever waits."""
        self._transport.abort()


class FramesProtocol(WebSocketsSansIOProtocol):
    """To be given to uvicorn as ``ws``."""

    #: Paths whose application sends such frames. Their connections compress each message by itself,
    #: so that frames of both kinds may follow each other, and keep no compressor in memory.
    framed = frozenset({"/api/v3/ws/live-metrics"})

    def handle_connect(self, event: Request) -> None:
        """A client asks for a connection."""
        framed = event.path.partition("?")[0] in self.framed
        # Answers are short, and go to many: to compress each of them for each client would take
        # longer than sending it, and a window of memory for each connection.
        self.conn.available_extensions = []
        if framed and self.config.ws_per_message_deflate:
            self.conn.available_extensions = [
                ServerPerMessageDeflateFactory(
                    server_no_context_takeover=True,
                    client_no_context_takeover=True,
                )
            ]
        if framed and self.ping_interval:
            self.ping_interval = max(self.ping_interval, _PING)
        super().handle_connect(event)
        if framed and self.response.status_code == 101:
            # The application runs from the next turn of the loop on.
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[EXTENSION] = {"channel": FrameChannel(self)}


def _negotiated_bits(protocol: FramesProtocol) -> int | None:
    for extension in protocol.conn.extensions:
        if isinstance(extension, PerMessageDeflate):
            bits = extension.local_max_window_bits
            return bits if bits >= _LEAST_BITS else None
    return None

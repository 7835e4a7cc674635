"""A message that is encoded, compressed and framed once, and goes to every client as it is."""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_TEXT, _FINAL, _COMPRESSED = 0x01, 0x80, 0x40
_SMALL = 128  # bytes below which compression costs more than it saves
_LEVEL = 6
_TAIL = b"\x00\x00\xff\xff"  # ends a flushed block; left off in a message (RFC 7692, 7.2.1)


class Message:
    """JSON text in each of the forms in which it leaves. ``seq`` is 0 where it has none."""

    def __init__(self, content: dict[str, Any], *, compresses: bool = True) -> None:
        self.seq: int = content.get("seq", 0)
        self.body: bytes = _encode(content)
        self._compresses = compresses and len(self.body) >= _SMALL
        self._deflated: dict[int, bytes] = {}

    @cached_property
    def text(self) -> str:
        """For a server that takes text."""
        return self.body.decode()

    @cached_property
    def plain(self) -> bytes:
        """A WebSocket frame."""
        return _frame(_FINAL | _TEXT, self.body)

    @cached_property
    def event(self) -> bytes:
        """A server-sent event."""
        number = b"id: %d\n" % self.seq if self.seq else b""
        return b"%sdata: %s\n\n" % (number, self.body)

    def framed(self, bits: int | None) -> bytes:
        """A WebSocket frame for a client whose window has so many bits; None: no compression.

        The block refers to nothing before it, so the state of the client's decompressor does not
        matter, and that of the connection's compressor is never used.
        """
        if bits is None or not self._compresses:
            return self.plain
        found = self._deflated.get(bits)
        if found is None:
            found = self._deflated[bits] = _frame(
                _FINAL | _COMPRESSED | _TEXT, _deflate(self.body, bits)
            )
        return found


class Parcel:
    """Messages that are sent together, joined once."""

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.messages = messages
        self._framed: dict[int | None, bytes] = {}

    def framed(self, bits: int | None) -> bytes:
        """Their frames, as of ``Message``."""
        found = self._framed.get(bits)
        if found is None:
            found = b"".join(each.framed(bits) for each in self.messages)
            self._framed[bits] = found
        return found


def _deflate(body: bytes, bits: int) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits)
    block = compressor.compress(body) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return block.removesuffix(_TAIL)


def _frame(first: int, payload: bytes) -> bytes:
    """RFC 6455, section 5.2, from a server: without a mask."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload

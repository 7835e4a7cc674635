"""The messages between the service and a child of ours: four bytes of length, then MessagePack.

Big-endian length, as in most protocols of the kind; the other end is our own code, so the cap only
guards against a child that writes something else to the pipe.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

_LENGTH = struct.Struct(">I")
#: The longest message, in bytes; the longest real one lists the files of a torrent.
MAX_MESSAGE = 256 * 1024 * 1024


def pack(message: dict[str, Any]) -> bytes:
    """One message, ready to be written."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Take more bytes; the messages that are whole now.

        ValueError where they are none of ours. Use up the iterator before the next call.
        """
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_MESSAGE:
                raise ValueError(f"a message of {length} bytes; at most {MAX_MESSAGE} are allowed")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            body = bytes(memoryview(self._buffer)[start + _LENGTH.size : end])
            start = end
            yield _decode(body)
        del self._buffer[:start]


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.msgpack.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"{len(body)} bytes that are no message: {error}") from None

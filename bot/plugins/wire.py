"""The messages between the host and a worker: four bytes of length (big endian), then MessagePack.

Both ends use it, and neither trusts the other: a frame has a cap, a shape and an id. What breaks
one of them is a ``Violation``, and ends the connection.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

_LENGTH = struct.Struct(">I")
#: The longest frame, in bytes.
MAX_FRAME = 16 * 1024 * 1024


class Violation(Exception):
    """The other end does not keep to the protocol."""


class Call(msgspec.Struct, tag="call", array_like=True, frozen=True):
    """Do ``method``. ``fds`` file descriptors came along with the frame."""

    id: int
    method: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    fds: int = 0


class Answer(msgspec.Struct, tag="answer", array_like=True, frozen=True):
    """What came of the call with that id."""

    id: int
    result: Any = None


class Failure(msgspec.Struct, tag="failure", array_like=True, frozen=True):
    """The call with that id failed: ``kind`` is the name of the exception."""

    id: int
    kind: str
    message: str


Message = Call | Answer | Failure

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def _plain(value: object) -> object:
    """What MessagePack has no word for but plugins hand over all the same."""
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"{type(value).__name__} can't be handed over: use JSON-like values or bytes")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


def pack(message: Message, cap: int = MAX_FRAME) -> bytes:
    """One frame. TypeError or ValueError where a value can't be sent or is too large."""
    try:
        body = _encoder.encode(message)
    except (MemoryError, RecursionError, OverflowError, msgspec.MsgspecError) as error:
        raise ValueError(f"it can't be sent: {type(error).__name__} {error}") from None
    if len(body) > cap:
        raise ValueError(f"it has {len(body)} bytes; at most {cap} can be sent")
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cuts a stream of bytes into messages."""

    def __init__(self, cap: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._cap = cap

    def feed(self, data: bytes) -> list[Message]:
        """Take more bytes; the messages that are whole now. Violation where they are none."""
        buffer = self._buffer
        buffer += data
        found: list[Message] = []
        start, held = 0, len(buffer)
        while held - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > self._cap:
                raise Violation(f"a frame of {length} bytes; at most {self._cap} are allowed")
            end = start + _LENGTH.size + length
            if held < end:
                break
            found.append(_decode(bytes(memoryview(buffer)[start + _LENGTH.size : end])))
            start = end
        del buffer[:start]
        return found


def _decode(body: bytes) -> Message:
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Violation(f"a frame that is no message: {error}") from None

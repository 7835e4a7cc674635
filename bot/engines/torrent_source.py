"""What a torrent is called, where it comes from, and where its files will lie.

Paths inside a torrent are hostile. libtorrent makes them relative when it reads them; here every
part becomes a safe name on top of that, no two files get one place, and libtorrent is told the
result, so that nothing it would have chosen is ever used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from bot.domain.ports import PlannedFile
from bot.domain.task import TaskOptions
from bot.engines.filenames import safe_name
from bot.engines.torrent_names import METADATA_SUFFIX, TORRENT_SUFFIX
from bot.errors import Corrupt, InvalidInput, SourceNotFound

#: A dropped torrent file as a source: this, then its bytes in base64.
DATA_PREFIX = "torrent:base64,"
#: The largest torrent file, in bytes; libtorrent's own limit.
MAX_TORRENT = 10_000_000
#: From this length on (bytes) a path is cut to its last part.
_MAX_PATH = 1500

#: Characters of a digest in hex.
_DIGESTS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
# BEP 9: v1 hashes in hex or base 32. BEP 52: v2 hashes as multihashes of SHA-256 (0x12, 0x20).
_HASHES = (
    re.compile(r"urn:btih:([0-9a-f]{40})", re.IGNORECASE),
    re.compile(r"urn:btih:([a-z2-7]{32})", re.IGNORECASE),
    re.compile(r"urn:btmh:1220([0-9a-f]{64})", re.IGNORECASE),
)


def hashes_of(magnet: str) -> list[str]:
    """The info hashes that a magnet link names, in lower-case hex; none where it names none."""
    try:
        topics = parse_qs(urlsplit(magnet).query).get("xt", [])
    except ValueError:
        return []
    found = set()
    for topic in topics:
        match = next((m for pattern in _HASHES if (m := pattern.fullmatch(topic))), None)
        if match is None:
            continue
        text = match[1].lower()
        short = len(text) == 32
        found.add(base64.b32decode(text.upper()).hex() if short else text)
    return sorted(found)


def kind_of(source: str) -> str | None:
    """``magnet``, ``data``, ``url`` (of a torrent file), or None where it is none of these."""
    scheme = source.partition(":")[0].lower()
    if scheme == "magnet":
        return "magnet" if hashes_of(source) else None
    if source.startswith(DATA_PREFIX):
        return "data"
    if scheme in {"http", "https"}:
        return "url"
    return None


def is_torrent_url(source: str) -> bool:
    """Whether a URL says by its path that it is a torrent file."""
    try:
        return urlsplit(source).path.lower().endswith(".torrent")
    except ValueError:
        return False


def plan_file(source: str, options: TaskOptions) -> str:
    """The name under which the plan of ``source`` is kept: the same for the same thing.

    What a URL gives depends on who asks, so the credentials are part of it.
    """
    if kind_of(source) == "magnet":
        return "-".join(hashes_of(source)) + METADATA_SUFFIX
    asked = [source, sorted(options.headers.items()), options.username, options.password]
    return hashlib.sha256(msgspec.json.encode(asked)).hexdigest() + TORRENT_SUFFIX


def data_of(source: str) -> bytes:
    """The torrent file inside a ``torrent:base64,`` source; InvalidInput where it is broken."""
    try:
        return base64.b64decode(source.removeprefix(DATA_PREFIX), validate=True)
    except binascii.Error as error:
        raise InvalidInput(
            f"the torrent file in the source is not base64: {error}",
            hint=f"expected {DATA_PREFIX} and the bytes of the file in base64",
        ) from None


class Contents(msgspec.Struct, frozen=True):
    """What the worker read in a torrent: info hashes (hex), addresses, files.

    Each of ``files`` is ``[path, size, kind]``, the kind ``file``, ``pad`` or ``link``.
    """

    v1: str | None
    v2: str | None
    trackers: list[str]
    web_seeds: list[str]
    peers: list[tuple[str, int]]
    name: str
    files: list[tuple[str, int, str]] = []
    piece: int = 0

    @property
    def identity(self) -> str:
        """The info hash, v1 where there is one, as in a magnet link."""
        return f"btih:{self.v1}" if self.v1 else f"btmh:1220{self.v2}"


class Layout:
    """The files of a torrent at their safe places, relative to the directory of the job.

    The folder that a torrent has for itself is left out: the whole gets ``name``.
    """

    def __init__(self, contents: Contents) -> None:
        self.name = safe_name(contents.name, fallback="torrent")
        self.count = len(contents.files)
        self._sizes = {
            i: size for i, (_, size, kind) in enumerate(contents.files) if kind == "file"
        }
        self.links = sum(kind == "link" for _, _, kind in contents.files)
        self.paths = _places(contents.files)

    @property
    def files(self) -> list[PlannedFile]:
        """What a user may select."""
        return [PlannedFile(i, self.paths[i], size) for i, size in self._sizes.items()]

    def wanted(self, select: Sequence[int] | None) -> list[PlannedFile]:
        """The selected files (all by default); SourceNotFound for an index that there is not."""
        if select is None:
            chosen = self.files
        else:
            unknown = sorted(set(select) - self._sizes.keys())
            if unknown:
                raise SourceNotFound(
                    f"the torrent has no file with the index {unknown[0]}",
                    hint=f"there are {len(self._sizes)} files, the indexes are in its plan",
                )
            chosen = [PlannedFile(i, self.paths[i], self._sizes[i]) for i in sorted(set(select))]
        if not chosen:
            raise Corrupt("nothing is left to fetch: no file of the torrent is selected")
        return chosen


def checksum_of(options: TaskOptions, files: Sequence[PlannedFile]) -> tuple[str, str] | None:
    """Algorithm and digest in lower case; InvalidInput where they are none, or for many files."""
    if options.checksum is None:
        return None
    kind, _, digest = options.checksum.strip().lower().partition(":")
    if not re.fullmatch(r"[0-9a-f]+", digest) or len(digest) != _DIGESTS.get(kind):
        raise InvalidInput(
            f"{options.checksum[:160]!r} is not a checksum",
            hint="sha256:HEX, sha512:HEX, sha1:HEX or md5:HEX is meant",
        )
    if len(files) != 1:
        raise InvalidInput(
            f"the torrent has {len(files)} files, and a checksum is of one",
            hint="select one file, or leave the checksum out: a torrent has its own for each piece",
        )
    return kind, digest


def total(files: Iterable[PlannedFile]) -> int:
    """Their bytes together."""
    return sum(file.size or 0 for file in files)


def _places(files: Sequence[tuple[Any, ...]]) -> list[str]:
    """A path for every index, none of which is, or lies below, another."""
    taken: set[str] = set()
    folders: set[str] = set()
    places = []
    for index, (raw, _, _) in enumerate(files):
        path = _first_free(index, _safe_parts(raw), taken, folders)
        key = PurePosixPath(path.casefold())
        taken.add(str(key))
        folders.update(str(parent) for parent in key.parents)
        places.append(path)
    return places


def _safe_parts(raw: str) -> list[str]:
    parts = raw.split("/")
    inner = parts[1:] if len(parts) > 1 else parts
    safe = [safe_name(part, fallback="_") for part in inner]
    return safe if len("/".join(safe).encode()) <= _MAX_PATH else safe[-1:]


def _first_free(index: int, parts: list[str], taken: set[str], folders: set[str]) -> str:
    *above, last = parts
    stem, dot, suffix = last.rpartition(".")
    tail = f" ({index}){dot}{suffix}" if stem else f" ({index})"
    numbered = safe_name(stem or last, room=len(tail.encode())) + tail
    for candidate in ([*above, last], [*above, numbered], [numbered]):
        path = "/".join(candidate)
        key = PurePosixPath(path.casefold())
        if str(key) in taken or str(key) in folders:
            continue
        if not any(str(parent) in taken for parent in key.parents):
            return path
    return f"_{index}"

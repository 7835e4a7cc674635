"""Which files are archives, of which kind, and which belong together as volumes of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bot.domain.task import FileEntry
from bot.errors import Corrupt
from bot.transfers.confined.tar import looks_like_tar
from bot.transfers.steps.files import source_path

#: Streams and tar, which the confined child reads; everything else is 7-Zip's.
STREAMS = frozenset({"tar", "gz", "bz2", "xz", "lzma", "zst", "Z"})
#: Magic bytes at an offset, and the name that 7-Zip has for the kind (of STREAMS: our own).
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"PK\x07\x08", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07\x01\x00", "Rar5"),
    (0, b"Rar!\x1a\x07\x00", "Rar"),
    (0, b"\x1f\x8b", "gz"),
    (0, b"BZh", "bz2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zst"),
    (0, b"\x1f\x9d", "Z"),
    (0, b"MSCF", "Cab"),
    (0, b"\x60\xea", "Arj"),
    (2, b"-lh", "Lzh"),
    (257, b"ustar", "tar"),
)
_SECTOR = 2048
_SUFFIXES = (
    ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lzma", ".tar.z", ".tgz", ".tbz2", ".tbz",
    ".txz", ".tzst", ".taz", ".tar", ".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".lzma",
    ".z", ".iso", ".cab", ".arj", ".lzh", ".lha",
)  # fmt: skip
_PART_RAR = re.compile(r"(?i)(?P<stem>.+)\.part(?P<number>\d{1,5})\.rar")
_OLD_RAR = re.compile(r"(?i)(?P<stem>.+)\.(?P<letter>[r-y])(?P<number>\d\d)")
_ZIP_DISK = re.compile(r"(?i)(?P<stem>.+)\.z(?P<number>\d\d)")
_NUMBERED = re.compile(r"(?P<stem>.+)\.(?P<number>\d{3,5})")


@dataclass(slots=True)
class Archive:
    """An archive and its volumes. ``split`` says that they are plain pieces of one file."""

    kind: str
    stem: str
    volumes: list[FileEntry] = field(default_factory=list)
    split: bool = False

    @property
    def first(self) -> FileEntry:
        """The volume that is opened."""
        return self.volumes[0]

    @property
    def folder(self) -> str:
        """The directory that it lies in, relative; empty for the top."""
        return self.first.path.rpartition("/")[0]

    @property
    def size(self) -> int:
        """Bytes of all volumes."""
        return sum(volume.size for volume in self.volumes)


def stem_of(name: str) -> str:
    """The name of an archive without the suffixes that make it one."""
    lower = name.lower()
    for suffix in _SUFFIXES:
        if lower.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def has_suffix(name: str) -> bool:
    """Whether the name is that of an archive (and not, say, of an office document, a zip too)."""
    return name.lower().endswith(_SUFFIXES)


def kind_of(path: Path) -> str | None:
    """What the file is by its first bytes; None when it is no archive that is known here."""
    with path.open("rb") as file:
        head = file.read(512)
        for offset, magic, kind in _MAGIC:
            if head[offset:].startswith(magic):
                return kind
        lower = path.name.lower()
        if lower.endswith(".tar") and looks_like_tar(head):
            return "tar"
        if lower.endswith(".lzma"):
            return "lzma"
        file.seek(16 * _SECTOR)
        return _disc(file.read(8 * _SECTOR))


def _disc(sectors: bytes) -> str | None:
    """ISO 9660 and UDF, by their volume descriptors (ECMA-119, 8.1; ECMA-167, 2/9)."""
    ids = {sectors[at + 1 : at + 6] for at in range(0, len(sectors), _SECTOR)}
    if ids & {b"NSR02", b"NSR03"}:
        return "Udf"
    return "Iso" if b"CD001" in ids else None


def archives_in(
    directory: Path, files: Sequence[FileEntry]
) -> tuple[list[Archive], list[FileEntry]]:
    """The archives among ``files``, and the files that belong to none.

    A lone file counts by its content; among several an archive has the suffix of one as well.
    Corrupt where a volume is missing.
    """
    groups = _volumes(files)
    taken = {volume.path for group in groups for volume in group.volumes}
    found, others = [], []
    for group in groups:
        kind = "zip" if group.kind == "zip" else kind_of(source_path(directory, group.first))
        if kind is None:
            others += group.volumes
        else:
            group.kind = kind
            found.append(group)
    for entry in files:
        if entry.path in taken:
            continue
        name = entry.path.rpartition("/")[2]
        kind = (
            kind_of(source_path(directory, entry)) if len(files) == 1 or has_suffix(name) else None
        )
        if kind is None:
            others.append(entry)
        else:
            found.append(Archive(kind, stem_of(name), [entry]))
    return found, others


def _volumes(files: Sequence[FileEntry]) -> list[Archive]:
    """The sets of volumes among ``files``, each in order; the kind is still to be found out."""
    by_path = {entry.path.lower(): entry for entry in files}
    numbered: dict[tuple[str, str], dict[int, FileEntry]] = {}
    for entry in files:
        key = _set_of(entry.path, by_path)
        if key is not None:
            style, stem, number = key
            numbered.setdefault((style, stem), {})[number] = entry
    found = []
    for (style, stem), volumes in sorted(numbered.items()):
        ordered = [volumes[number] for number in sorted(volumes)]
        base = stem.rpartition("/")[2]
        _complete(base, volumes, 0 if style == "rar" else 1)
        if style == "part":
            found.append(Archive("Rar", base, ordered))
        elif style == "split":
            found.append(Archive("", stem_of(base), ordered, split=True))
        else:
            last = by_path[f"{stem}.{style}".lower()]
            kind = "zip" if style == "zip" else ""
            found.append(Archive(kind, base, [last, *ordered]))
    return found


def _set_of(path: str, by_path: dict[str, FileEntry]) -> tuple[str, str, int] | None:
    """Style, stem and number of a volume; None for a file that is none."""
    if match := _PART_RAR.fullmatch(path):
        return "part", match["stem"], int(match["number"])
    if match := _NUMBERED.fullmatch(path):
        # A lone name.2024 is no piece of anything.
        first = f"{match['stem']}.{1:0{len(match['number'])}}".lower()
        return ("split", match["stem"], int(match["number"])) if first in by_path else None
    match = _OLD_RAR.fullmatch(path)
    if match and f"{match['stem']}.rar".lower() in by_path:
        hundreds = ord(match["letter"].lower()) - ord("r")
        return "rar", match["stem"], 100 * hundreds + int(match["number"])
    match = _ZIP_DISK.fullmatch(path)
    if match and f"{match['stem']}.zip".lower() in by_path:
        return "zip", match["stem"], int(match["number"])
    return None


def _complete(name: str, volumes: dict[int, FileEntry], first: int) -> None:
    missing = [number for number in range(first, max(volumes) + 1) if number not in volumes]
    if missing:
        shown = ", ".join(map(str, missing[:5]))
        raise Corrupt(
            f"of the archive {name!r} volume {shown} is missing",
            hint="all volumes belong to one task",
        )

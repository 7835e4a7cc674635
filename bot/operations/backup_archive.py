"""The archive: tar in zstd, its manifest first, read as if an enemy had written it.

Nothing but regular files goes in, and nothing else is taken out: each member has to be the next
that the manifest names, with the size, the mode and the SHA-256 that it says. Memory is bounded by
the manifest, which is bounded itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from bot.errors import Corrupt, MltbError, NoSpace, Unsupported
from bot.operations.backup_names import is_encrypted
from bot.operations.backup_seal import Keys, Lock, Sink, Source, opening, sealing

#: Says how far something is: a word for the step, the bytes done, and of how many.
Report = Callable[[str, int, int], None]

FORMAT = 1
MANIFEST = "manifest.json"
#: The first part of every path in an archive.
AREAS = frozenset({"database", "data", "config"})

_CHUNK = 256 * 1024
_BLOCK = tarfile.BLOCKSIZE
_LARGEST_MANIFEST = 32 * 1024 * 1024
_MOST_MEMBERS = 200_000
_LONGEST_PATH = 1024
_LEVEL = 6
_WINDOW = 25  # log2 of the bytes that reading may hold back: 32 MiB
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Member(msgspec.Struct, frozen=True):
    """A file of an archive: its path there, bytes, permission bits and SHA-256 (hex)."""

    path: str
    size: int
    mode: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds. ``database`` is ``sqlite`` or ``postgresql``, ``revision`` that of
    its schema; ``created_at`` is in UNIX seconds."""

    format: int
    program: str
    database: str
    revision: str
    created_at: float
    members: list[Member]

    @property
    def size(self) -> int:
        """Bytes of all members together."""
        return sum(member.size for member in self.members)


def members_of(root: Path) -> list[Member]:
    """The regular files below ``root`` by path, hashed."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return [_member(root, path) for path in paths]


def _member(root: Path, path: Path) -> Member:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        status = os.fstat(file.fileno())
    mode = stat.S_IMODE(status.st_mode) & 0o700
    return Member(path.relative_to(root).as_posix(), status.st_size, mode, digest)


# Writing


def write(root: Path, manifest: Manifest, target: Path, lock: Lock, report: Report) -> str:
    """Write the members below ``root`` to the new file ``target`` (mode 0600), durably; its
    SHA-256. OSError where that can't be done; then nothing is left."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            sink = _Hashing(file)
            with _sealed(sink, lock) as plain:
                _write_tar(root, manifest, plain, report)
            file.flush()
            os.fsync(file.fileno())
            return sink.digest.hexdigest()
    except BaseException:
        target.unlink(missing_ok=True)
        raise


@contextmanager
def _sealed(target: Sink, lock: Lock) -> Iterator[Sink]:
    if not lock:
        yield target
        return
    with sealing(target, lock) as plain:
        yield plain


def _write_tar(root: Path, manifest: Manifest, target: Sink, report: Report) -> None:
    from backports import zstd

    total, done = manifest.size, 0
    with zstd.ZstdFile(cast(BinaryIO, target), "w", level=_LEVEL) as packed:
        head = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        packed.write(_header(MANIFEST, len(head), 0o600, manifest.created_at))
        packed.write(head + bytes(-len(head) % _BLOCK))
        for member in manifest.members:
            packed.write(_header(member.path, member.size, member.mode, manifest.created_at))
            with (root / member.path).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    packed.write(chunk)
                    done += len(chunk)
                    report("packing", done, total)
            packed.write(bytes(-member.size % _BLOCK))
        packed.write(bytes(2 * _BLOCK))


def _header(path: str, size: int, mode: int, at: float) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = size, mode, int(at)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


# Reading


def unpack(archive: Path, scratch: Path, keys: Keys, report: Report) -> Manifest:
    """Take the archive apart into the empty directory ``scratch``, every byte checked.

    Corrupt says which member is wrong, NoSpace what is missing, Unsupported which format it has,
    InvalidInput that it can't be decrypted.
    """
    from backports import zstd

    options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW}
    at = ["the beginning"]
    try:
        with (
            archive.open("rb") as file,
            _opened(file, archive.name, keys) as plain,
            zstd.ZstdFile(plain, options=options) as packed,
        ):
            return _Reader(packed, scratch, at, report).run()
    except (zstd.ZstdError, EOFError, tarfile.TarError) as error:
        raise _wrong(at[0], f"it can't be read there ({error})") from None


@contextmanager
def _opened(file: BinaryIO, name: str, keys: Keys) -> Iterator[BinaryIO]:
    if not is_encrypted(name):
        yield file
        return
    with opening(file, keys) as plain:
        yield plain


class _Reader:
    """Reads one archive; ``at`` holds where it is, for the errors of others."""

    def __init__(self, source: Source, scratch: Path, at: list[str], report: Report) -> None:
        self._source = source
        self._scratch = scratch
        self._at = at
        self._report = report

    def run(self) -> Manifest:
        manifest = self._manifest()
        self._make_room(manifest)
        done, total = 0, manifest.size
        for member in manifest.members:
            self._at[0] = member.path
            self._expect(member.path, member.size)
            self._take(member)
            done += member.size
            self._report("unpacking", done, total)
        self._at[0] = "the end"
        if any(self._exactly(2 * _BLOCK)) or self._source.read(1):
            raise _wrong("the end", "more follows than the manifest names")
        return manifest

    def _manifest(self) -> Manifest:
        self._at[0] = MANIFEST
        size = self._expect(MANIFEST, None)
        if size > _LARGEST_MANIFEST:
            raise _wrong(MANIFEST, f"it says that it has {size} bytes")
        content = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return _decoded(content)

    def _expect(self, path: str, size: int | None) -> int:
        """Read a header, which must be that of a regular file with this path and size."""
        block = self._exactly(_BLOCK)
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        name = info.name
        if info.type == tarfile.GNUTYPE_LONGNAME:
            if not 0 < info.size <= _LONGEST_PATH + 1:
                raise _wrong(path, "its name is too long")
            raw = self._exactly(info.size)
            self._exactly(-info.size % _BLOCK)
            name = raw.rstrip(b"\0").decode("utf-8", "replace")
            info = tarfile.TarInfo.frombuf(self._exactly(_BLOCK), "utf-8", "strict")
        if info.type != tarfile.REGTYPE:
            raise _wrong(path, f"it is no regular file (type {info.type!r})")
        if name != path or info.size < 0 or size not in {None, info.size}:
            raise _wrong(path, f"{name[:100]!r} with {info.size} bytes is in its place")
        return info.size

    def _take(self, member: Member) -> None:
        target = self._scratch / member.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        digest, left = hashlib.sha256(), member.size
        with os.fdopen(os.open(target, flags, member.mode | 0o600), "wb") as file:
            while left:
                chunk = self._exactly(min(left, _CHUNK))
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != member.sha256:
            raise _wrong(member.path, "its SHA-256 is not the one of the manifest")
        self._exactly(-member.size % _BLOCK)

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = self._source.read(min(count, _CHUNK))
            if not part:
                raise _wrong(self._at[0], "it is cut off there")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _make_room(self, manifest: Manifest) -> None:
        free = free_bytes(self._scratch)
        if manifest.size > free:
            raise no_space(self._scratch, manifest.size)


def _decoded(content: bytes) -> Manifest:
    """The manifest, if it is one that this program would have written."""
    try:
        number = msgspec.json.decode(content, type=_Format).format
        if number != FORMAT:
            raise Unsupported(
                f"the backup has format {number}, and this program knows {FORMAT}",
                hint="a newer version of the program made it: restore it with that one",
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise _wrong(MANIFEST, f"it can't be read ({error})") from None
    if len(manifest.members) > _MOST_MEMBERS:
        raise _wrong(MANIFEST, f"it names {len(manifest.members)} members")
    seen: set[str] = set()
    for member in manifest.members:
        sound = (
            is_safe(member.path)
            and member.path not in seen
            and 0 <= member.size < 2**62
            and 0 <= member.mode <= 0o777
            and _SHA256.fullmatch(member.sha256) is not None
        )
        if not sound:
            raise _wrong(MANIFEST, f"{member.path[:100]!r} may not be in a backup like that")
        seen.add(member.path)
    if any(parent in seen for path in seen for parent in _parents(path)):
        raise _wrong(MANIFEST, "a member lies inside of another")
    return manifest


class _Format(msgspec.Struct):
    format: int


def is_safe(path: str) -> bool:
    """Whether a path of an archive is relative, plain, and in an area that is known."""
    parts = path.split("/")
    return (
        len(path.encode("utf-8", "replace")) <= _LONGEST_PATH
        and not _UNSAFE.search(path)
        and len(parts) > 1
        and parts[0] in AREAS
        and not {"", ".", ".."} & set(parts)
    )


def _parents(path: str) -> Iterator[str]:
    head, _, _ = path.rpartition("/")
    while head:
        yield head
        head, _, _ = head.rpartition("/")


def _wrong(where: str, why: str) -> MltbError:
    return Corrupt(f"the backup is damaged at {where}: {why}", hint="take another", member=where)


def free_bytes(place: Path) -> int:
    """The bytes that this user may still write where ``place`` lies."""
    figures = os.statvfs(place)
    return figures.f_bavail * figures.f_frsize


def no_space(place: Path, needed: int) -> NoSpace:
    """The error of something that does not fit, with its figures (bytes)."""
    available = free_bytes(place)
    return NoSpace(
        f"the backup needs {needed} bytes in {place}, and {available} are free",
        hint="free some room there; what was there before is untouched",
        needed=needed,
        available=available,
    )

"""The backups in BACKUP_DIR, and what is known of each: a small JSON file beside it.

It is known nowhere else, so that nothing is lost with the database; an archive without it is still
a backup, of which only name, time and size are known. Only names of backups are ever touched.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from bot.errors import NotFound
from bot.operations import backup_names as names

_NOTES = ".json"
_PART = ".part"
_LARGEST_NOTES = 1024 * 1024


class Verification(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of the last verification: what passed, what could not be checked and why."""

    at: float
    ok: bool
    passed: list[str] = []
    unchecked: list[str] = []
    counts: dict[str, int] = {}
    error: str | None = None
    seconds: float = 0.0


class Copy(msgspec.Struct, omit_defaults=True):
    """A copy at a remote, or one that a plugin took: that can't be asked back. ``token`` is what
    an interrupted upload goes on from."""

    done: bool = False
    at: float | None = None
    error: str | None = None
    token: dict[str, Any] | None = None
    by_plugin: bool = False


class Record(msgspec.Struct, omit_defaults=True):
    """What is known of a backup. ``size`` and ``content`` in bytes, packed and unpacked; ``local``
    whether it lies in BACKUP_DIR."""

    name: str
    created_at: float
    size: int | None = None
    sha256: str | None = None
    content: int | None = None
    members: int | None = None
    program: str | None = None
    database: str | None = None
    revision: str | None = None
    seconds: float | None = None
    copies: dict[str, Copy] = {}
    verification: Verification | None = None
    local: bool = False

    @property
    def encrypted(self) -> bool:
        """Whether it is encrypted."""
        return names.is_encrypted(self.name)

    @property
    def remote(self) -> bool:
        """Whether a remote is known to have it."""
        return any(copy.done and not copy.by_plugin for copy in self.copies.values())

    @property
    def good(self) -> bool | None:
        """Whether it passed its last verification; None where there was none."""
        return None if self.verification is None else self.verification.ok


class Catalog:
    """The directory of the archives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:
        """Make the directory, and remove what a crash left half written."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.directory.iterdir():
            name = path.name.removeprefix(".").removesuffix(_PART).removesuffix(_NOTES)
            if path.name.startswith(".") and path.name.endswith(_PART) and names.is_name(name):
                path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Where the archive of that name lies, or would. InvalidInput where it is no name."""
        return self.directory / names.checked(name)

    def part(self, name: str) -> Path:
        """Where it is written to before it has its name."""
        return self.directory / f".{names.checked(name)}{_PART}"

    def records(self) -> list[Record]:
        """Every backup that is here, or that is known to lie at a remote; newest first."""
        found: set[str] = set()
        with contextlib.suppress(FileNotFoundError):
            for path in self.directory.iterdir():
                name = path.name.removesuffix(_NOTES)
                if names.is_name(name):
                    found.add(name)
        records = [record for record in map(self.find, found) if record is not None]
        return sorted(records, key=lambda each: (each.created_at, each.name), reverse=True)

    def find(self, name: str) -> Record | None:
        """What is known of one; None where it is not here and at no remote that is known."""
        path = self.path(name)
        record = self._notes(name)
        size = _size(path)
        if size is None:
            if record is None or not record.remote:
                return None
            record.local = False
            return record
        if record is None or record.size not in {None, size}:
            # Another file than the one that was written: nothing that is known holds for it.
            return Record(name, names.made_at(name), size=size, local=True)
        record.size, record.local = size, True
        return record

    def get(self, name: str) -> Record:
        """What is known of one. NotFound."""
        record = self.find(name)
        if record is None:
            raise NotFound(
                f"there is no backup {name}", hint="mltb backup list --remotes shows all there are"
            )
        return record

    def note(self, record: Record) -> None:
        """Keep what is known, durably."""
        path = self._notes_path(record.name)
        part = self.directory / f".{path.name}{_PART}"
        content = msgspec.json.format(msgspec.json.encode(record), indent=1)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_directory(self.directory)

    def remove(self, name: str, *, notes: bool) -> None:
        """Remove an archive, and with ``notes`` what is known of it."""
        self.path(name).unlink(missing_ok=True)
        if notes:
            self._notes_path(name).unlink(missing_ok=True)

    def _notes_path(self, name: str) -> Path:
        return self.directory / f"{names.checked(name)}{_NOTES}"

    def _notes(self, name: str) -> Record | None:
        path = self._notes_path(name)
        try:
            if (_size(path) or 0) > _LARGEST_NOTES:
                return None
            record = msgspec.json.decode(path.read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError):
            return None
        record.created_at = names.made_at(name)
        return record if record.name == name else None


def _size(path: Path) -> int | None:
    """Bytes of a regular file; None of anything else."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(directories: Iterable[Path]) -> None:
    """Make the names in all of them durable."""
    for directory in set(directories):
        sync_directory(directory)

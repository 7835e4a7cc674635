"""One delivery to a local directory, as steps with a durable intent between them.

What is put under the final name is always one whole thing: the fetched file itself where it can be
moved, else a copy that was finished under a hidden name, or a hidden folder with everything in it.
The intent holds the inode of that thing before it is put there, so that whoever comes after a crash
can tell "done" from "not yet" and from "somebody else's file".
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from bot.domain.ports import Delivered, DeliverJob
from bot.domain.task import FileEntry
from bot.engines import local_disk as disk
from bot.engines.local_copy import Copier, digest, require_room
from bot.engines.local_flow import Flow
from bot.engines.local_names import Names, exists
from bot.engines.local_roots import (
    NO_SPACE,
    Roots,
    explained,
    opened_below,
    opened_directory,
    relative_parts,
)
from bot.errors import InternalFailure, NoSpace, PolicyRefused

_SLICE = 5.0  # seconds of copying between two durable positions
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Intent(msgspec.Struct):
    """What a delivery is about to do; its resume token.

    ``sources`` are inode and mtime (ns) of each fetched file; ``made`` is how many directories the
    delivery creates. ``staged`` is the inode of the finished copy or folder. ``position`` bytes of
    the copy of file ``index`` are on the disk for certain; while the machine was not started again
    (``boot``) the copy's own length counts.
    """

    path: str
    name: str
    sources: list[tuple[int, int]]
    made: int = 0
    staged: int | None = None
    index: int = 0
    position: int = 0
    boot: str = ""


class Delivery:
    """Call ``prepare``, make ``token`` durable, then call ``advance`` until it gives a result,
    making ``token`` durable after each call that gave None. All in threads; ``close`` ends it."""

    def __init__(self, job: DeliverJob, roots: Roots, names: Names, flow: Flow) -> None:
        if not job.files or not _ID.fullmatch(job.id):
            raise InternalFailure(f"the delivery {job.id[:80]!r} has no files or no proper id")
        self._job = job
        self._flow = flow
        self._names = names
        self._intent = msgspec.convert(job.token, Intent) if job.token else None
        self._place = roots.locate(self._intent.path if self._intent else job.destination)
        self._paths = [relative_parts(file.path) for file in job.files]
        self._hashes = [file.sha256 for file in job.files]
        self._copier = Copier()
        self._index = 0
        self._copying: int | None = None
        self._direct = True
        self._resumed = self._intent is not None
        self._wanted = job.files[0].path if job.name is None else job.name
        if job.name is None and len(job.files) > 1:
            raise InternalFailure(f"the delivery {job.id} has several files and no folder name")
        disk.check_name(self._wanted)

    @property
    def token(self) -> dict[str, Any]:
        """The intent, for the journal."""
        intent: dict[str, Any] = msgspec.to_builtins(self._ready)
        return intent

    @property
    def _ready(self) -> Intent:
        if self._intent is None:
            raise InternalFailure("a delivery was advanced before it was prepared")
        return self._intent

    @property
    def _folder(self) -> bool:
        return self._job.name is not None

    def close(self) -> None:
        """Let go of the chosen name."""
        if self._intent is not None:
            self._names.release(self._place.path, self._intent.name, self._job.id)

    # Before anything is changed

    def prepare(self) -> bool:
        """Look at everything and choose the names; whether ``token`` is new. Changes nothing."""
        if self._intent is not None:
            return False
        with self._explained():
            with self._source() as source:
                sources = [self._identity(source, parts) for parts in self._paths]
            intent = Intent(self._place.path, "", sources, boot=disk.boot())
            try:
                with self._place.opened() as target:
                    intent.name = self._choose(target)
            except FileNotFoundError:
                intent.made = self._place.missing()
                intent.name = self._choose(None)
            self._intent = intent
        return True

    def _choose(self, target: int | None) -> str:
        place, wanted, job = self._place.path, self._wanted, self._job
        if job.overwrite == "replace":
            return wanted
        if job.overwrite != "refuse":
            return self._names.choose(place, target, wanted, job.id, self._folder)
        if not self._names.take(place, target, wanted, job.id):
            raise PolicyRefused(
                f"{place} holds {wanted!r} already, and the task must not overwrite it",
                hint="overwrite 'rename' chooses a free name, 'replace' replaces it",
            )
        return wanted

    def _identity(self, source: int, parts: tuple[str, ...]) -> tuple[int, int]:
        with self._source_parent(source, parts) as parent:
            found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        return found.st_ino, found.st_mtime_ns

    # The work

    def advance(self) -> Delivered | None:
        """Go on; the result, or None when ``token`` must be made durable first."""
        with self._explained(), self._place.opened(make=True) as target:
            put = self._put_folder if self._folder else self._put_file
            if not self._committed(target) and not put(target):
                return None
            self._tidy(target)
            return self._result(target)

    def _committed(self, target: int) -> bool:
        intent = self._ready
        try:
            found = os.stat(intent.name, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if self._folder:
            return found.st_ino == intent.staged and stat.S_ISDIR(found.st_mode)
        same = (found.st_ino, found.st_mtime_ns) == intent.sources[0]
        return found.st_ino == intent.staged or (same and found.st_size == self._job.files[0].size)

    def _put_file(self, target: int) -> bool:
        """Put the file under its final name; False where the intent changed instead."""
        intent, job = self._ready, self._job
        copy = disk.copy_name(job.id)
        replace = job.overwrite == "replace"
        try:
            if intent.staged is not None:
                disk.put((target, copy), (target, intent.name), keep=False, replace=replace)
                return True
            if self._direct and self._bring(0, target, intent.name, replace=replace):
                return True
        except FileExistsError:
            intent.name = self._choose(target)
            return False
        self._direct = False
        if self._copy(0, target):
            intent.staged = os.stat(copy, dir_fd=target, follow_symlinks=False).st_ino
            disk.sync_directory(target)
        return False

    def _put_folder(self, target: int) -> bool:
        """Put the folder under its final name; False where the intent changed instead."""
        intent, job = self._ready, self._job
        hidden = disk.folder_name(job.id)
        if intent.staged is None:
            if not exists(target, hidden):
                os.mkdir(hidden, 0o700, dir_fd=target)
            with opened_below(target, (hidden,)) as staging:
                if self._fill(target, staging):
                    disk.sync_tree(staging, self._paths)
                    os.fchmod(staging, disk.directory_mode())
                    intent.staged = os.fstat(staging).st_ino
            return False
        if job.overwrite == "replace":
            disk.set_aside(target, intent.name, disk.old_name(job.id))
        elif exists(target, intent.name):
            intent.name = self._choose(target)
            return False
        os.rename(hidden, intent.name, src_dir_fd=target, dst_dir_fd=target)
        return True

    def _fill(self, target: int, staging: int) -> bool:
        """Bring every file into the hidden folder; False where it is time for a position."""
        keep = self._job.keep
        for index in range(self._index, len(self._paths)):
            parts = self._paths[index]
            with opened_below(staging, parts[:-1], make=True) as parent:
                if exists(parent, parts[-1]):
                    self._flow.credit(self._job.files[index].size)
                elif not (self._direct and self._bring(index, parent, parts[-1], replace=not keep)):
                    self._direct = False
                    if not self._copy(index, target):
                        return False
                    copy = disk.copy_name(self._job.id)
                    os.rename(copy, parts[-1], src_dir_fd=target, dst_dir_fd=parent)
                    self._ready.position = 0
            self._index = index + 1
            self._flow.turn(1)
        return True

    def _bring(self, index: int, parent: int, name: str, *, replace: bool) -> bool:
        """Move (or link) a fetched file; False where only a copy can get there."""
        entry, parts = self._job.files[index], self._paths[index]
        with self._source() as source, self._source_parent(source, parts) as directory:
            with disk.opened_file(directory, parts[-1], entry) as descriptor:
                self._hash(index, descriptor)
                disk.set_mode(descriptor)
                os.fdatasync(descriptor)
            try:
                self._move((directory, parts[-1]), (parent, name), replace)
            except OSError as error:
                if error.errno in disk.ONLY_COPY:
                    return False
                raise
        self._flow.credit(entry.size)
        return True

    def _move(self, source: tuple[int, str], target: tuple[int, str], replace: bool) -> None:
        if not (replace and self._job.keep):
            disk.put(source, target, keep=self._job.keep, replace=replace)
            return
        hidden = (target[0], disk.copy_name(self._job.id))
        disk.remove(*hidden)
        disk.put(source, hidden, keep=True, replace=False)
        disk.put(hidden, target, keep=False, replace=True)

    def _copy(self, index: int, target: int) -> bool:
        """Copy a fetched file under the hidden name; False where it is time for a position."""
        entry, parts, intent = self._job.files[index], self._paths[index], self._ready
        until = time.monotonic() + _SLICE
        with (
            self._source() as source,
            self._source_parent(source, parts) as directory,
            disk.opened_file(directory, parts[-1], entry) as original,
            disk.opened_copy(target, disk.copy_name(self._job.id)) as copy,
        ):
            self._hash(index, original)
            start = self._start(index, copy, entry)
            require_room(target, entry.size - start, self._place.path)
            span = (start, entry.size)
            intent.index = index
            intent.position = self._copier.copy(original, copy, span, self._flow, until)
            os.fdatasync(copy)
            disk.set_mode(copy)
        return intent.position == entry.size

    def _start(self, index: int, copy: int, entry: FileEntry) -> int:
        """Where to go on with the copy: what is behind is safe."""
        intent, length = self._ready, os.fstat(copy).st_size
        if intent.index != index:
            start = 0
        elif intent.boot == disk.boot():
            start = min(length, entry.size)
        else:
            start, intent.boot = min(intent.position, length), disk.boot()
        os.ftruncate(copy, start)
        if self._copying != index:
            self._flow.credit(start)
            self._copying = index
        return start

    def _hash(self, index: int, descriptor: int) -> None:
        if self._hashes[index] is None:
            self._hashes[index] = digest(descriptor, Flow(0, lambda: None))

    # The end

    def _tidy(self, target: int) -> None:
        """Finish what a crash right after the last rename may have left."""
        disk.sync_directory(target)
        if self._folder and self._job.overwrite == "replace":
            disk.remove(target, disk.old_name(self._job.id))
        if self._resumed:
            disk.remove(target, disk.copy_name(self._job.id))
        if self._resumed and not self._folder and not self._job.keep:
            disk.unlink_second(self._job.directory, self._paths[0], self._ready.sources[0][0])

    def _result(self, target: int) -> Delivered:
        intent, base = self._ready, (self._ready.name,)
        entries = []
        for index, parts in enumerate(self._paths):
            size = self._job.files[index].size
            where = (*base, *parts) if self._folder else base
            if self._hashes[index] is None:
                with (
                    opened_below(target, where[:-1]) as parent,
                    disk.opened_file(parent, where[-1], self._job.files[index]) as descriptor,
                ):
                    self._hash(index, descriptor)
            entries.append(FileEntry("/".join(where), size, self._hashes[index]))
        return Delivered(
            root=intent.path,
            path=f"{intent.path.rstrip('/')}/{intent.name}",
            files=entries,
            detail={"sources": [list(identity) for identity in intent.sources]},
        )

    # Ways in and out

    @contextmanager
    def _source(self) -> Iterator[int]:
        with self._fetched_there(), opened_directory(str(self._job.directory)) as descriptor:
            yield descriptor

    @contextmanager
    def _source_parent(self, source: int, parts: tuple[str, ...]) -> Iterator[int]:
        with opened_below(source, parts[:-1]) as parent:
            yield parent

    @contextmanager
    def _fetched_there(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise InternalFailure(
                f"a fetched file of task {self._job.id} is gone: {error.filename}",
                hint="retry the task from its beginning",
            ) from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise self._full(error) from error
            raise explained(error, self._place.path) from error

    def _full(self, error: OSError) -> NoSpace:
        """The figures; a half copy goes, so that it does not keep the disk full."""
        try:
            with self._place.opened() as target:
                disk.remove(target, disk.copy_name(self._job.id))
                figures = os.fstatvfs(target)
        except OSError:
            return NoSpace(f"{self._place.path} has no room: {error.strerror}")
        free, left = figures.f_bavail * figures.f_frsize, self._flow.total - self._flow.done
        return NoSpace(
            f"{self._place.path} has no room: {error.strerror}; {left} of {self._flow.total} bytes "
            f"were still to be copied, {free} are free",
            hint="free some room (or lift the quota) and retry the task",
            needed=left,
            available=free,
        )

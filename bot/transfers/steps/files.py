"""Files of a step: handed on without a copy, moved into place, hashed."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from bot.domain.task import FileEntry
from bot.errors import Corrupt, NoSpace
from bot.transfers.confined.names import FreeNames, parts_of

_T = TypeVar("_T")
_CHUNK = 1024 * 1024
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES})


class Stopped(Exception):
    """The work in a thread was asked to stop."""


class Stop:
    """Asks the work in a thread to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on ``check`` raises."""
        self._event.set()

    def check(self) -> None:
        """Raises Stopped once it was asked for."""
        if self._event.is_set():
            raise Stopped


async def in_thread(work: Callable[[Stop], _T]) -> _T:
    """The result of ``work`` in a thread. A cancelled call waits until the thread has stopped, so
    that nothing touches the disk afterwards; ``work`` calls ``check`` often."""
    stop = Stop()
    future = asyncio.ensure_future(asyncio.to_thread(work, stop))
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
            stop.set()
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()


def source_path(directory: Path, entry: FileEntry) -> Path:
    """Where the input ``entry`` lies; Corrupt where it is no regular file of the task."""
    path = directory / entry.path
    if ".." in Path(entry.path).parts or not path.is_relative_to(directory):
        raise Corrupt(f"the file {entry.path!r} lies outside of its task")
    try:
        found = path.lstat()
    except FileNotFoundError:
        raise Corrupt(f"the file {entry.path!r} of the stage before is gone") from None
    if not stat.S_ISREG(found.st_mode):
        raise Corrupt(f"{entry.path!r} is no regular file")
    return path


def hand_on(source: Path, target: Path, stop: Stop) -> None:
    """Make ``target`` the same file as ``source`` by a hard link; a copy where there are none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with source.open("rb") as reader, target.open("xb") as writer:
            while chunk := reader.read(_CHUNK):
                stop.check()
                writer.write(chunk)


def sha256(path: Path, stop: Stop, tick: Callable[[int], None] | None = None) -> str:
    """The hash of a file, in hex. ``tick`` gets the bytes of each chunk."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            stop.check()
            digest.update(buffer[:count])
            if tick is not None:
                tick(count)
    return digest.hexdigest()


class Output:
    """The output directory of a step while it fills. ``known`` hashes are not computed again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = FreeNames(lambda path: os.path.lexists(root / path))
        self._known: dict[str, str] = {}

    def place_for(self, path: str) -> Path:
        """A free place for ``path`` (relative, safe already), in a directory that exists."""
        target = self.root / self.names.free(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise Corrupt(f"{path!r} is both a file and a directory") from None
        return target

    def relative(self, path: Path) -> str:
        """``path`` relative to the output, with ``/``."""
        return path.relative_to(self.root).as_posix()

    def know(self, path: Path, digest: str | None) -> None:
        """Remember the SHA-256 of the file at ``path``."""
        if digest is not None:
            self._known[self.relative(path)] = digest

    def pass_on(
        self, directory: Path, entry: FileEntry, stop: Stop, path: str | None = None
    ) -> None:
        """Hand the input ``entry`` on unchanged, as ``path`` where that is given."""
        source = source_path(directory, entry)
        target = self.place_for(path or entry.path)
        hand_on(source, target, stop)
        self.know(target, entry.sha256)

    def forget(self, path: Path) -> None:
        """Remove the file at ``path``."""
        self._known.pop(self.relative(path), None)
        path.unlink()

    def entries(self, stop: Stop, tick: Callable[[int], None] | None = None) -> list[FileEntry]:
        """Every file of the output with its size and hash, in the order of the paths."""
        found = []
        for path in walk(self.root):
            name = self.relative(path)
            size = path.lstat().st_size
            digest = self._known.get(name) or sha256(path, stop, tick)
            found.append(FileEntry(name, size, digest))
        return sorted(found, key=lambda entry: entry.path)


def walk(root: Path) -> list[Path]:
    """Every regular file below ``root``; Corrupt where there is anything but those and
    directories, which no step makes."""
    found = []
    for place, directories, names in os.walk(root):
        for name in directories:
            if (Path(place) / name).is_symlink():
                raise Corrupt(f"there is a link in the output: {name!r}")
        for name in names:
            path = Path(place) / name
            if not stat.S_ISREG(path.lstat().st_mode):
                raise Corrupt(f"{name!r} in the output is no regular file")
            found.append(path)
    return found


def settle(source: Path, output: Output, folder: str, known: Mapping[str, str]) -> list[Path]:
    """Move what was unpacked to ``source`` below ``folder`` of the output, under safe names and
    with plain modes; where each file is now. Anything but a file with one name is refused.

    ``known`` are hashes by the path relative to ``source``.
    """
    moved = []
    for path in sorted(walk(source)):
        if path.lstat().st_nlink != 1:
            raise Corrupt(f"{path.name!r} was unpacked as a link to another file")
        raw = path.relative_to(source).as_posix()
        name = "/".join(parts_of(raw))
        target = output.place_for(f"{folder}/{name}" if folder else name)
        path.rename(target)
        target.chmod(0o644)
        output.know(target, known.get(raw))
        moved.append(target)
    return moved


def discard(directory: Path) -> None:
    """Remove ``directory`` and everything below it; nothing to do is fine."""
    shutil.rmtree(directory, ignore_errors=True)


def need_room(directory: Path, size: int) -> None:
    """NoSpace where fewer than ``size`` bytes are free on the disk of ``directory``."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise NoSpace(
            f"the result takes {size} bytes, and {free} are free",
            hint="free some room and retry the task",
            needed=size,
            available=free,
        )


def occupied(root: Path) -> tuple[int, int]:
    """Bytes and entries below ``root``, as far as it can be seen while it grows."""
    size = count = 0
    for place, directories, names in os.walk(root):
        count += len(directories) + len(names)
        for name in names:
            try:
                size += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return size, count

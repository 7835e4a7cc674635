"""Single moves on the local disk, each relative to an open directory and none through a link."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bot.domain.task import FileEntry
from bot.engines.local_copy import digest
from bot.engines.local_flow import Flow
from bot.engines.local_names import exists
from bot.engines.local_roots import WORK, opened_below, opened_directory
from bot.errors import InternalFailure, PolicyRefused

_LONGEST = 255
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
#: What link(2) and rename(2) say where only a copy gets the bytes there.
ONLY_COPY = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EPERM})
#: What fsync(2) says of a directory on filesystems that have no such thing.
_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF})


def copy_name(job: str) -> str:
    """The hidden name of a copy that is not finished."""
    return f"{WORK}-{job}.copy"


def folder_name(job: str) -> str:
    """The hidden name of a folder that is being filled."""
    return f"{WORK}-{job}.part"


def old_name(job: str) -> str:
    """The hidden name of what is being replaced."""
    return f"{WORK}-{job}.old"


def check_name(name: str) -> None:
    """PolicyRefused where ``name`` can't be the name of one thing in a directory."""
    if not name or name in {".", ".."} or name.startswith(WORK) or set(name) & {"/", "\0"}:
        raise PolicyRefused(
            f"{name[:80]!r} can't be the name of a delivered file or folder",
            hint=f"a name has no '/', is not '.' or '..' and does not begin with {WORK!r}",
        )
    if len(os.fsencode(name)) > _LONGEST:
        raise PolicyRefused(
            f"the name {name[:40]!r}... has {len(os.fsencode(name))} bytes",
            hint=f"a name has at most {_LONGEST}",
        )


@functools.cache
def boot() -> str:
    """Something that changes each time the machine starts; empty where nobody knows."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@functools.cache
def _umask() -> int:
    """The umask of this process, read where that does not change it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def directory_mode() -> int:
    """The mode of delivered folders."""
    return 0o777 & ~_umask()


def set_mode(descriptor: int) -> None:
    """Give a file the mode of a new one: as the umask says, never executable, no setuid."""
    wanted = 0o666 & ~_umask()
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != wanted:
        os.fchmod(descriptor, wanted)


@contextmanager
def opened_file(directory: int, name: str, entry: FileEntry) -> Iterator[int]:
    """A descriptor of a regular file of the size in ``entry``; InternalFailure if it is not."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InternalFailure(f"{entry.path!r} is not a regular file")
        if found.st_size != entry.size:
            raise InternalFailure(
                f"{entry.path!r} has {found.st_size} bytes, and had {entry.size} when it was "
                "fetched",
                hint="something else changed it; retry the task from its beginning",
            )
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_copy(directory: int, name: str) -> Iterator[int]:
    """A descriptor of our unfinished copy, made where there is none; a strange one is replaced."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    except FileExistsError:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        ours = found.st_uid == os.geteuid() and found.st_nlink == 1
        if stat.S_ISREG(found.st_mode) and ours:
            descriptor = os.open(name, flags, dir_fd=directory)
        else:
            remove(directory, name)
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def put(source: tuple[int, str], target: tuple[int, str], *, keep: bool, replace: bool) -> None:
    """Give the file ``source`` (directory, name) the name ``target``, all at once.

    Without ``replace`` a file that is there already stays, and FileExistsError says so: link(2)
    refuses it, which rename(2) does not. ``keep`` leaves the old name, and excludes ``replace``.
    """
    if replace:
        os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
        return
    try:
        os.link(
            *(source[1], target[1]),
            src_dir_fd=source[0],
            dst_dir_fd=target[0],
            follow_symlinks=False,
        )
    except OSError as error:
        if keep or error.errno not in _NO_LINKS:
            raise
        if exists(target[0], target[1]):
            raise FileExistsError(errno.EEXIST, "File exists", target[1]) from None
        os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
        return
    if not keep:
        os.unlink(source[1], dir_fd=source[0])


def set_aside(directory: int, name: str, aside: str) -> None:
    """Rename what has ``name``, if anything has, so that something else can take it."""
    with suppress(FileNotFoundError):
        os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)


def remove(directory: int, name: str) -> None:
    """Remove a file, a link or a whole folder; nothing there is fine."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
        shutil.rmtree(name, dir_fd=directory)


def unlink_second(directory: Path, parts: Sequence[str], inode: int) -> None:
    """Remove the old name of a file that has its final one too, as a crash may leave it."""
    with (
        suppress(FileNotFoundError),
        opened_directory(str(directory)) as top,
        opened_below(top, parts[:-1]) as parent,
    ):
        if os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_ino == inode:
            os.unlink(parts[-1], dir_fd=parent)


def sync_directory(descriptor: int) -> None:
    """Make the names in a directory durable, where its filesystem can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_tree(top: int, paths: Sequence[tuple[str, ...]]) -> None:
    """Make the names of all ``paths`` below ``top`` durable, each directory once."""
    directories = {parts[:depth] for parts in paths for depth in range(len(parts))}
    for parts in sorted(directories, key=len, reverse=True):
        with opened_below(top, parts) as descriptor:
            sync_directory(descriptor)


def compare(
    directory: int, name: str, entry: FileEntry, known: Sequence[int] | None, flow: Flow
) -> tuple[bool, str | None]:
    """Whether the file is the very one that was fetched (inode and mtime as ``known``), and what
    is wrong with it: None where nothing is. One that was copied is read back. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return False, f"{entry.path} is not a regular file"
        if found.st_size != entry.size:
            return False, f"{entry.path} has {found.st_size} bytes, not {entry.size}"
        if known is not None and [found.st_ino, found.st_mtime_ns] == list(known):
            flow.credit(entry.size)
            return True, None
        actual = digest(descriptor, flow, from_disk=True)
    finally:
        os.close(descriptor)
    if actual != entry.sha256:
        return False, f"{entry.path} has the SHA-256 {actual}, not {entry.sha256}"
    return False, None

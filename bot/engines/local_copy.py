"""Bytes of one file on this machine: copy them to another filesystem, hash them."""

from __future__ import annotations

import errno
import hashlib
import os
import time

from bot.engines.local_flow import Flow
from bot.errors import InternalFailure, NoSpace

_BUFFER = 1024 * 1024
#: What copy_file_range(2) says where it can't: other filesystems, old kernels, odd files.
_NO_KERNEL_COPY = frozenset(
    {
        errno.EXDEV,
        errno.ENOSYS,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.EBADF,
        errno.EPERM,
        errno.ETXTBSY,
    }
)


class Copier:
    """Copies inside the kernel where it can: that shares the blocks (a reflink) on filesystems
    that know how, since copy_file_range(2) tries that first."""

    def __init__(self) -> None:
        self._in_kernel = hasattr(os, "copy_file_range")

    def copy(
        self, source: int, target: int, span: tuple[int, int], flow: Flow, until: float
    ) -> int:
        """Copy the bytes from ``span[0]`` to ``span[1]``; the position reached.

        Goes on until done or until the monotonic time ``until``. Raises Stopped and OSError, and
        InternalFailure where the source is shorter.
        """
        position, end = span
        while position < end:
            count = self._some(source, target, position, flow.turn(end - position))
            if count == 0:
                raise InternalFailure(f"the fetched file has {position} bytes, not {end}")
            position += count
            flow.moved(count)
            if time.monotonic() >= until:
                break
        return position

    def _some(self, source: int, target: int, position: int, count: int) -> int:
        if self._in_kernel:
            try:
                # Some filesystems of old kernels answer 0 in the middle of a file.
                if copied := os.copy_file_range(source, target, count, position, position):
                    return copied
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
            self._in_kernel = False
        data = os.pread(source, min(count, _BUFFER), position)
        return os.pwrite(target, data, position) if data else 0


def digest(descriptor: int, flow: Flow, *, from_disk: bool = False) -> str:
    """The SHA-256 of an open file; ``from_disk`` drops what memory holds of it first.

    Raises Stopped and OSError.
    """
    if from_disk and hasattr(os, "posix_fadvise"):
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    state, position = hashlib.sha256(), 0
    while data := os.pread(descriptor, flow.turn(_BUFFER), position):
        state.update(data)
        position += len(data)
        flow.moved(len(data))
    return state.hexdigest()


def require_room(directory: int, needed: int, path: str) -> None:
    """NoSpace with the figures unless ``needed`` bytes are free on the disk of ``directory``."""
    figures = os.fstatvfs(directory)
    free = figures.f_bavail * figures.f_frsize
    if needed > free:
        raise NoSpace(
            f"{needed} bytes are to be copied to {path}, and {free} are free there",
            hint="free some room and retry the task",
            needed=needed,
            available=free,
        )

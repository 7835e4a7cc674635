"""A later look at delivered files of this machine: are they still what their receipt says?

No name is followed through a link, and nothing outside of the roots is opened. The reading yields
to everything else: one thread of the lowest priority, in pieces, at a limited rate.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import stat
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from bot.domain.integrity import Condition, Inspected, Inspection
from bot.domain.task import FileEntry
from bot.engines.local_copy import digest
from bot.engines.local_flow import Flow, in_thread
from bot.engines.local_roots import Roots, opened_below, relative_parts
from bot.errors import InternalFailure, PolicyRefused

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOWEST = 19  # of setpriority(2)


class Inspections:
    """Looks at files, one after the other."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, wanted: Inspection) -> AsyncIterator[Inspected]:
        """What each file is like now. When cancelled, the thread has let go of the disk."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "local-inspect", initializer=_yield_to_others)
        for entry in wanted.files:
            flow = Flow(entry.size, lambda: wanted.rate)
            work = functools.partial(_inspect, self._roots, wanted.root, entry, flow)
            yield await in_thread(flow, self._pool, work)

    async def close(self) -> None:
        """End the thread."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)


def _yield_to_others() -> None:
    """Lower the priority of this thread: on Linux each thread has one of its own."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


def _inspect(roots: Roots, directory: str, entry: FileEntry, flow: Flow) -> Inspected:
    try:
        parts = relative_parts(entry.path)
        with (
            roots.locate(directory).opened() as top,
            opened_below(top, parts[:-1]) as parent,
        ):
            return _look(parent, parts[-1], entry, flow)
    except FileNotFoundError:
        return Inspected(
            entry.path, condition=Condition.MISSING, expected=str(entry.size), found=None
        )
    except OSError as error:
        return _unreadable(entry, _reason(error))
    except (PolicyRefused, InternalFailure) as error:
        return _unreadable(entry, error.message)


def _look(directory: int, name: str, entry: FileEntry, flow: Flow) -> Inspected:
    descriptor = os.open(name, _FLAGS, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return _unreadable(entry, "it is not a regular file")
        if found.st_size != entry.size:
            return Inspected(
                entry.path,
                condition=Condition.SIZE_DIFFERS,
                expected=str(entry.size),
                found=str(found.st_size),
            )
        if entry.sha256 is None:
            return Inspected(entry.path, condition=Condition.NO_HASH)
        actual = digest(descriptor, flow, from_disk=True)
    finally:
        os.close(descriptor)
    if actual == entry.sha256:
        return Inspected(entry.path, entry.size)
    return Inspected(
        entry.path,
        entry.size,
        Condition.HASH_DIFFERS,
        expected=f"sha256:{entry.sha256}",
        found=f"sha256:{actual}",
    )


def _unreadable(entry: FileEntry, reason: str) -> Inspected:
    return Inspected(entry.path, condition=Condition.UNREADABLE, found=reason)


def _reason(error: OSError) -> str:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return "it, or a directory above it, is a link or not a directory"
    return error.strerror or str(error)

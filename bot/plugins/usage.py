"""What a worker takes of the machine, and what its directory holds, as the kernel tells it.

Nothing here asks the plugin, and nothing here follows what it put there: directories are walked
through descriptors, so that one that is moved while it is counted leads nowhere else.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_BLOCK = 512  # bytes of a block in ``st_blocks``, whatever the file system has
_KB = 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Files and directories that are counted, and how deep they lie; who has more has too much.
MAX_ENTRIES = 10_000
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Usage:
    """``memory`` and ``disk`` are bytes; None where it is not known."""

    memory: int | None = None
    disk: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment: CPU seconds since it began, bytes of its own that it holds in memory
    or in swap, how many files it has open, and bytes of open files that have no name any more.

    The last two are None where the kernel does not let us look.
    """

    cpu: float
    memory: int
    open_files: int | None
    nameless: int | None


def of_process(pid: int, device: int) -> Process:
    """That process; ``device`` is where files without a name count. OSError where it is gone."""
    # proc_pid_stat(5): the name may hold anything, so count from the last bracket.
    after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    fields = after[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    memory = 0
    for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
        # What its files take in memory is the kernel's to take back.
        if line.startswith(("RssAnon:", "RssShmem:", "VmSwap:")):
            memory += int(line.split()[1]) * _KB
    return Process(cpu, memory, *_open_files(pid, device))


def _open_files(pid: int, device: int) -> tuple[int, int] | tuple[None, None]:
    try:
        places = list(Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        return None, None
    nameless: dict[int, int] = {}
    for place in places:
        try:
            found = place.stat()  # looks, and opens nothing
        except OSError:
            continue  # closed meanwhile
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_dev == device:
            nameless[found.st_ino] = found.st_blocks * _BLOCK
    return len(places), sum(nameless.values())


class TooMuch(Exception):
    """More than is counted lies there; the message says what."""


def of_directory(path: str | Path) -> int:
    """Bytes on the disk of all that lies there and below. TooMuch, or OSError where it can't be
    read at all."""
    root = os.open(path, _DIRECTORY)
    try:
        return sum(_sizes(root, itertools.count(1), 0))
    finally:
        os.close(root)


def _sizes(fd: int, entries: Iterator[int], depth: int) -> Iterator[int]:
    """Of each entry; a few descriptors for each level are open at a time."""
    if depth > _MAX_DEPTH:
        raise TooMuch(f"directories within directories, more than {_MAX_DEPTH} deep")
    with os.scandir(fd) as found:
        for each in found:
            if next(entries) > MAX_ENTRIES:
                raise TooMuch(f"more than {MAX_ENTRIES} files")
            try:
                yield each.stat(follow_symlinks=False).st_blocks * _BLOCK
                if not each.is_dir(follow_symlinks=False):
                    continue
                below = os.open(each.name, _DIRECTORY, dir_fd=fd)
            except PermissionError:
                raise TooMuch("a directory that nobody may list") from None
            except OSError:
                continue  # it went meanwhile, or is something else now
            try:
                yield from _sizes(below, entries, depth + 1)
            finally:
                os.close(below)

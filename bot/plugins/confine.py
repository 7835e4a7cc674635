"""Confines this process for good, before it reads a line of a plugin.

Standard library only. The order matters: limits, then capabilities, then Landlock, then seccomp,
which forbids the calls that the others need.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.plugins import landlock, seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63


@dataclass(frozen=True, slots=True)
class Walls:
    """What a worker gets. ``memory`` is the address space in bytes beyond what it has at the start,
    ``file_size`` the largest file in bytes; ``readable`` and ``writable`` are paths. Without
    ``confined``, which only the operator's settings turn off, the memory alone is limited.
    """

    memory: int
    file_size: int
    open_files: int
    readable: Sequence[str]
    writable: Sequence[str]
    landlock: bool
    confined: bool = True


def die_with_parent(parent: int) -> None:
    """SIGKILL when the thread that started this process ends; at once where it has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(125)


def hide() -> None:
    """Let no process of the same user look into this one, or into those that it forks
    (``/proc/PID/mem``, ptrace(2)); see PR_SET_DUMPABLE(2const)."""
    _prctl(_PR_SET_DUMPABLE, 0)


def confine(walls: Walls) -> None:
    """All of it. OSError where the kernel refuses any of it.

    Landlock keeps other plugins from looking into this process, so the host may: it counts what is
    open here. Without it nobody may (``hide``).
    """
    _limit_memory(walls.memory)
    if not walls.confined:
        return
    _limit(walls)
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if walls.landlock:
        landlock.restrict(
            [(path, landlock.READ) for path in walls.readable]
            + [(path, landlock.OWN) for path in walls.writable]
        )
        _prctl(_PR_SET_DUMPABLE, 1)
    seccomp.install()


def _limit_memory(size: int) -> None:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    present = int(pages) * resource.getpagesize()
    _set(resource.RLIMIT_AS, present + size)
    _set(resource.RLIMIT_CORE, 0)


def _limit(walls: Walls) -> None:
    _set(resource.RLIMIT_FSIZE, walls.file_size)
    _set(resource.RLIMIT_NOFILE, walls.open_files)
    _set(resource.RLIMIT_MEMLOCK, 0)
    _set(resource.RLIMIT_MSGQUEUE, 0)


def _set(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (least, least))


def _drop_capabilities() -> None:
    """None are left, and none come back. Fails only where there were none to drop."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_LAST_CAPABILITY + 1):
        _try_prctl(_PR_CAPBSET_DROP, capability)
    _try_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def _prctl(option: int, value: int) -> None:
    if _try_prctl(option, value) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def _try_prctl(option: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))

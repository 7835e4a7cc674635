"""Runs a program as an ordinary user, where the tests run as root.

    python -m tests.ordinary PATH... -- PROGRAM ARGUMENT...

The paths (an interpreter, this repository) may lie in root's own home: in a mount namespace of its
own, the directories above them can be entered by everybody, and hold nothing else.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

#: ``nobody``, by custom.
USER = 65534
#: The exit status where this machine does not let us.
CAN_NOT = 77
_CLONE_NEWNS = 0x00020000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000


def main() -> None:
    """Become that user for good."""
    split = sys.argv.index("--")
    paths, program = sys.argv[1:split], sys.argv[split + 1 :]
    try:
        _check(_libc().unshare(_CLONE_NEWNS), "unshare")
        _mount("none", "/", _RECURSIVE | _PRIVATE)
        _open_up(paths)
    except OSError as error:
        sys.stderr.write(f"no mount namespace can be made here: {error}\n")
        sys.exit(CAN_NOT)
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    os.execv(program[0], program)


def _open_up(paths: Sequence[str]) -> None:
    """Let everybody reach these paths."""
    closed: dict[Path, list[Path]] = {}
    for path in map(Path, dict.fromkeys(paths)):
        shut = [each for each in path.parents if not each.stat().st_mode & 0o001]
        if shut:
            closed.setdefault(shut[-1], []).append(path)
    for top, wanted in closed.items():
        held = {path: os.open(path, os.O_PATH) for path in wanted}
        _mount("tmpfs", str(top), 0, "tmpfs")
        top.chmod(0o755)
        for path, fd in held.items():
            path.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{fd}", str(path), _BIND | _RECURSIVE)
            os.close(fd)


def _mount(source: str, target: str, flags: int, kind: str | None = None) -> None:
    name = None if kind is None else kind.encode()
    result = _libc().mount(source.encode(), target.encode(), name, ctypes.c_ulong(flags), None)
    _check(result, f"mount {target}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()

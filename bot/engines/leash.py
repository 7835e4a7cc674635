"""Becomes another program that can't outlive the one that started it.

Run as a script, with nothing but the standard library:
``leash.py PARENT FILE_SIZE OPEN_FILES PROGRAM ARG...`` asks the kernel for SIGKILL at the parent's
death (prctl(2), PR_SET_PDEATHSIG, which execve keeps), limits the size of the files that the
program may write and how many it may have open (setrlimit(2), RLIMIT_FSIZE and the soft limit of
RLIMIT_NOFILE; 0 leaves them as they are) and replaces itself. A launcher, because code between fork
and exec of a program with threads may deadlock. Systems without prctl only get the limits.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_ORPHANED = 125


def hold(parent: int) -> None:
    """Die by SIGKILL when ``parent`` does; at once where it is gone already."""
    if sys.platform == "linux":
        none = ctypes.c_ulong(0)
        number = ctypes.c_ulong(signal.SIGKILL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, none, none, none)
    if os.getppid() != parent:
        sys.exit(_ORPHANED)


def main(argv: list[str]) -> None:
    """Hold on to the parent, take the limits, become the program."""
    parent, file_size, open_files, program = int(argv[0]), int(argv[1]), int(argv[2]), argv[3:]
    hold(parent)
    if open_files:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    if file_size:
        # No more than we have ourselves: only the superuser may raise that.
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        least = file_size if most == resource.RLIM_INFINITY else min(file_size, most)
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, least))
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]} can't be started: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])

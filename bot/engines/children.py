"""Child processes: start one that dies with this process, end one and all that it started.

The death with the parent is ``leash``'s work; the rest is a process group for each child. A process
may open more files than it was given: its children are given what it was itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.engines import leash

_LEASH = str(Path(leash.__file__).resolve())
_PACKAGES = str(Path(leash.__file__).resolve().parents[2])


@functools.cache
def given_open_files() -> int:
    """How many files this process could have open when it started (RLIMIT_NOFILE, soft)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def allow_open_files() -> int:
    """Let this process, not its children, have as many files open as the hard limit allows; how
    many that is.

    1,024 is a usual soft limit, for the sake of programs that use select(2) or close every
    descriptor that there can be; a thousand tasks need twice as many.
    """
    given_open_files()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # A system may allow less than its own hard limit says: then everything stays as it is.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` (of this project) with this interpreter.

    The working directory is not searched for modules; ``spawn`` tells the child where ours are.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = DEVNULL,
    stdout: int = DEVNULL,
    stderr: int = DEVNULL,
    file_size: int | None = None,
) -> Process:
    """Start ``argv`` (a program and its arguments, no shell) as a child that dies with us.

    The kernel kills it when the thread that calls this ends: call it in the thread of the event
    loop. It leads a process group of its own, so Ctrl-C in a terminal does not reach it and
    ``stop`` reaches what it started. ``env`` is its whole environment (ours by default), and
    ``more`` is added to it. ``file_size`` caps every file that it writes, in bytes. A program that
    can't be started ends with status 1 and says so on its standard error.
    """
    environment = {**(os.environ if env is None else env), **(more or {})}
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{_PACKAGES}{os.pathsep}{known}" if known else _PACKAGES
    limits = str(file_size or 0), str(given_open_files())
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _LEASH, str(os.getpid()), *limits),
        *argv,
        env=environment,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


async def stop(process: Process, grace: float = 5.0) -> int:
    """End ``process`` and all of its group; its exit status (negative: the signal).

    Its standard input is closed and SIGTERM sent; after ``grace`` seconds, or when this call is
    cancelled, SIGKILL. A child that ended by itself is fine.
    """
    if process.stdin is not None:
        process.stdin.close()
    try:
        if process.returncode is None:
            signal_group(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await process.wait()
    finally:
        signal_group(process, signal.SIGKILL)
    return await process.wait()


def signal_group(process: Process, number: signal.Signals) -> None:
    """Send a signal to ``process`` and everything that it started; nothing where all are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)

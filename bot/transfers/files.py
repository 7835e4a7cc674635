"""The directories in which tasks work: one below ``.mltb`` of a root, one per stage inside."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bot.domain.task import FileEntry

T = TypeVar("T")

#: The directory in a root under which the workspaces lie.
WORK = ".mltb"


def stage_directory(workspace: str, index: int) -> Path:
    """The directory of the stage with that index."""
    return Path(workspace) / str(index)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``; a caller that is cancelled meanwhile goes on (cancelled) when it is over."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """Do ``work`` in a thread, to its end: a cancelled caller leaves no thread at work behind."""
    return await to_its_end(asyncio.to_thread(work, *arguments))


async def make(directory: Path, *, empty: bool = False) -> None:
    """Make ``directory`` (and those above it) for this user alone; ``empty`` clears it first."""
    await in_thread(_make, directory, empty)


def _make(directory: Path, empty: bool) -> None:
    if empty:
        shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        # One by one: the mode is for the last of a path alone.
        for above in reversed(directory.parents):
            above.mkdir(mode=0o777 if WORK not in above.parts else 0o700, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)


async def remove(directory: Path) -> None:
    """Remove ``directory`` and everything below it; nothing to do is fine."""
    await in_thread(_remove, directory)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if directory.parent.name == WORK:
        with contextlib.suppress(OSError):
            directory.parent.rmdir()  # The last task out; others keep it.


async def exists(directory: Path) -> bool:
    """Whether something is there."""
    return await in_thread(directory.exists)


async def complete(directory: Path, files: Sequence[FileEntry]) -> bool:
    """Whether every file lies in ``directory`` with its size."""
    return await in_thread(_complete, directory, files)


def _complete(directory: Path, files: Sequence[FileEntry]) -> bool:
    try:
        return all((directory / file.path).lstat().st_size == file.size for file in files)
    except OSError:
        return False


async def leftovers(roots: Iterable[Path]) -> list[Path]:
    """Every workspace that lies under ``roots``; the name of each is the id of its task."""
    return await in_thread(_leftovers, list(roots))


def _leftovers(roots: list[Path]) -> list[Path]:
    found: list[Path] = []
    for root in roots:
        try:
            found += [entry for entry in (root / WORK).iterdir() if entry.is_dir()]
        except OSError:
            continue
    return found

"""What a torrent left on the disk: nothing but the wanted files, regular, whole and hashed.

All of it blocks; it is called in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bot.domain.ports import PlannedFile
from bot.domain.task import FileEntry
from bot.engines.torrent_names import METADATA_SUFFIX, PARTS, RESUME_SUFFIX, TORRENT_SUFFIX
from bot.errors import Corrupt

_Result = TypeVar("_Result")
_CHUNK = 1024 * 1024


async def in_thread(work: Callable[[threading.Event], _Result]) -> _Result:
    """Run ``work`` in a thread; when this call is cancelled its event is set and it is awaited."""
    stop = threading.Event()
    future = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([future])
        raise


def settle(
    directory: Path, wanted: Sequence[PlannedFile], stop: threading.Event
) -> list[FileEntry]:
    """Remove everything that is not wanted, check and hash the rest; its entries.

    Corrupt where a file is missing, too short or too long, or not a regular file. Ends early, with
    the entries so far, when ``stop`` is set.
    """
    expected = {file.path: file.size or 0 for file in wanted}
    _sweep(directory, expected)
    entries = []
    for path, size in expected.items():
        if stop.is_set():
            break
        entries.append(FileEntry(path, size, _hash(directory / path, size, stop)))
    return entries


def _sweep(directory: Path, expected: dict[str, int]) -> None:
    """Links are never followed, so nothing outside of ``directory`` is touched."""
    for place, folders, names in os.walk(directory, topdown=False):
        for name in names:
            path = Path(place, name)
            if path.relative_to(directory).as_posix() not in expected:
                path.unlink()
        for name in folders:
            path = Path(place, name)
            if path.is_symlink():
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()


def _hash(path: Path, size: int, stop: threading.Event) -> str:
    """The SHA-256 of a file in hex. Its mode becomes that of a file of no special kind."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    if not size:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = flags | os.O_CREAT
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise Corrupt(f"{path.name} can't be read back: {error.strerror}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_size != size:
            raise Corrupt(f"{path.name} has {info.st_size} bytes on the disk instead of {size}")
        os.fchmod(descriptor, info.st_mode & 0o666)
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK))
        while not stop.is_set() and (count := file.readinto(buffer)):
            digest.update(buffer[:count])
    return digest.hexdigest()


def check(path: Path, checksum: tuple[str, str], stop: threading.Event) -> None:
    """Corrupt where the file does not have that checksum (algorithm and digest in hex)."""
    kind, wanted = checksum
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while not stop.is_set() and (chunk := file.read(_CHUNK)):
            digest.update(chunk)
    if not stop.is_set() and digest.hexdigest() != wanted:
        raise Corrupt(
            f"the {kind} of {path.name} is {digest.hexdigest()}, and {wanted} was expected"
        )


def keep(path: Path, data: bytes) -> None:
    """Put a plan in its place, whole or not at all."""
    half = path.with_name(f"{path.name}.new")
    half.write_bytes(data)
    half.replace(path)


def forget(state: Path, job: str) -> None:
    """Remove what was kept to go on with ``job`` (its name in the state directory)."""
    with contextlib.suppress(FileNotFoundError):
        (state / f"{job}{RESUME_SUFFIX}").unlink()
    forget_parts(state, job)


def forget_parts(state: Path, job: str) -> None:
    """Remove the pieces that its wanted files shared with others."""
    shutil.rmtree(state / PARTS / job, ignore_errors=True)


def clean(state: Path, older_than: float) -> int:
    """Remove plans of that age (seconds), and what was kept for jobs whose directory is gone."""
    before = time.time() - older_than
    removed = 0
    for path in sorted(state.glob("*")):
        if path.suffix in {TORRENT_SUFFIX, METADATA_SUFFIX, ".new"}:
            stale = _older(path, before)
        else:
            stale = path.suffix == RESUME_SUFFIX and _older(path, before) and _orphaned(path)
        if stale:
            path.unlink(missing_ok=True)
            removed += 1
    for path in sorted((state / PARTS).glob("*")):
        if _older(path, before) and not (state / f"{path.name}{RESUME_SUFFIX}").exists():
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed


def _older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _orphaned(path: Path) -> bool:
    """Whether the directory that a resume file speaks of is gone, or the file can't be read."""
    try:
        with path.open("rb") as file:
            return not Path(json.loads(file.readline())["directory"]).is_dir()
    except (OSError, ValueError, KeyError, TypeError):
        return True

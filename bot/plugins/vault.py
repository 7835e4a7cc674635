"""The code that runs: read-only copies by the hash of their content, so that nobody changes what
was checked between the check and the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from bot.errors import PluginFailed
from bot.plugins.manifest import Broken, Package, printable

log = logging.getLogger(__name__)

MAX_FILES = 2000
_MAX_SIZE = 64 * 1024 * 1024
_READ_ONLY, _EXECUTABLE, _ENTERABLE = 0o444, 0o555, 0o555
#: Folders of caches and of version control, which are no part of a plugin.
_IGNORED = frozenset({"__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache"})


@dataclass(frozen=True, slots=True)
class Content:
    """The files of a plugin: relative path to bytes, which of them are executable, and the hash
    over all of it."""

    files: dict[str, bytes]
    executables: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """SHA-256 in hex over names, sizes, modes and content."""
        total = hashlib.sha256()
        for name, data in sorted(self.files.items()):
            mode = "x" if name in self.executables else ""
            total.update(f"{len(name.encode())}:{name}:{len(data)}{mode}:".encode())
            total.update(data)
        return total.hexdigest()


def read_content(package: Package) -> Content:
    """Every file of a plugin. PluginFailed where it holds links, devices, compiled code, names
    that are no text, or more than a plugin has."""
    if package.root.is_file():
        return Content({package.root.name: _read(package.root)[0]})
    return read_files(package.root)


def read_files(root: Path) -> Content:
    """Every file under a folder, as ``read_content`` does."""
    files: dict[str, bytes] = {}
    executables = set()
    size = 0
    for directory, names, found in os.walk(root):
        names[:] = sorted(name for name in names if name not in _IGNORED)
        for name in [*names, *found]:
            if Path(directory, name).is_symlink():
                raise PluginFailed(
                    f"{printable(name)} is a link", hint="a plugin holds files alone"
                )
        for name in found:
            path = Path(directory, name)
            if path.suffix == ".pyc":
                raise PluginFailed(f"{name} is compiled", hint="a plugin holds its source")
            relative = _text(path.relative_to(root).as_posix())
            data, is_executable = _read(path)
            size += len(data)
            files[relative] = data
            if is_executable:
                executables.add(relative)
            if len(files) > MAX_FILES or size > _MAX_SIZE:
                raise PluginFailed(f"it has more than {MAX_FILES} files or {_MAX_SIZE} bytes")
    return Content(files, frozenset(executables))


async def fingerprint(found: Package | Broken) -> str:
    """What tells two states of a plugin on the disk apart: its content, or why it has none."""
    if isinstance(found, Broken):
        return found.reason
    try:
        return (await asyncio.to_thread(read_content, found)).digest
    except PluginFailed as error:
        return error.message


def _text(name: str) -> str:
    if printable(name) != name:
        raise PluginFailed(
            f"{printable(name)} is no name of a file in a plugin",
            hint="UTF-8 without control characters",
        )
    return name


def _read(path: Path) -> tuple[bytes, bool]:
    """What a file holds, and whether it is executable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise PluginFailed(f"{path.name} is no file")
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise PluginFailed(f"{path.name} can't be read: {error.strerror}") from None
    if len(data) > _MAX_SIZE:
        raise PluginFailed(f"{path.name} has more than {_MAX_SIZE} bytes")
    return data, bool(mode & stat.S_IXUSR)


class Vault:
    """``directory`` holds one folder for each content; it belongs to this service alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, content: Content, *, verify: bool) -> Path:
        """The folder with a read-only copy of that content; made where it is not there. One that
        is there is compared first (``verify``), and made anew where it was changed."""
        folder = self.directory / content.digest
        if folder.is_dir():
            if not verify or _is_copy(folder, content):
                return folder
            log.warning("%s was changed by somebody; it is made anew", folder)
            _remove(folder)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.directory / f".{content.digest}.{os.getpid()}"
        _remove(part)
        for name, data in content.files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(_EXECUTABLE if name in content.executables else _READ_ONLY)
        for directory, _, _ in os.walk(part):
            Path(directory).chmod(_ENTERABLE)
        part.rename(folder)
        return folder

    def prune(self, kept: set[str]) -> int:
        """Remove every copy that is not among those digests; how many."""
        removed = 0
        if self.directory.is_dir():
            for folder in self.directory.iterdir():
                if folder.name not in kept:
                    _remove(folder)
                    removed += 1
        return removed


def _is_copy(folder: Path, content: Content) -> bool:
    try:
        return read_files(folder) == content
    except PluginFailed:
        return False


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for directory, _, _ in os.walk(folder):
            Path(directory).chmod(0o700)
        shutil.rmtree(folder)

"""What the state of a service is: the database, and these files beside it.

Downloads, logs, caches and sockets are none of it. A part that is not there is left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Files and directories of DATA_DIR: the token of this machine, what torrents and uploads go on
#: from, and what plugins keep.
_DATA = ("token", "torrents", "rclone/rclone-uploads.json", "plugins")
#: Files of the working directory that the settings are read from. They hold secrets.
_CONFIG = (".env", "config.py")


@dataclass(frozen=True, slots=True)
class Part:
    """A file or a directory of the state: its path in an archive, and where it lives."""

    path: str
    live: Path

    @property
    def is_config(self) -> bool:
        """Whether it is what the operator wrote, which only a restore that says so puts back."""
        return self.path.startswith("config/")


def parts_of(data_dir: Path, working_dir: Path) -> list[Part]:
    """Every part but the database, there or not."""
    data = [Part(f"data/{name}", data_dir / name) for name in _DATA]
    return data + [Part(f"config/{name}", working_dir / name) for name in _CONFIG]


def size_of(parts: Sequence[Part]) -> int:
    """Bytes of all files of those parts."""
    total = 0
    for part in parts:
        for path, _ in _files(part):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
    return total


def gather(parts: Sequence[Part], directory: Path) -> None:
    """Copy the files of the parts below ``directory``, each to its path in the archive.

    Whoever writes them replaces them whole; one that goes meanwhile is left out.
    """
    for part in parts:
        for path, relative in _files(part):
            target = directory / part.path / relative if relative else directory / part.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                _copy(path, target)


def _copy(source: Path, target: Path) -> None:
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as reader:
        status = os.fstat(reader.fileno())
        if stat.S_ISREG(status.st_mode):
            with target.open("xb") as writer:
                target.chmod(stat.S_IMODE(status.st_mode) & 0o700)
                shutil.copyfileobj(reader, writer, 256 * 1024)


def _files(part: Part) -> Iterator[tuple[Path, str]]:
    """The regular files of a part, with their paths below it (empty for the part itself)."""
    try:
        mode = part.live.lstat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode):
        yield part.live, ""
    elif stat.S_ISDIR(mode):
        for root, _, names in os.walk(part.live):
            for name in sorted(names):
                path = Path(root, name)
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(path.lstat().st_mode):
                        yield path, path.relative_to(part.live).as_posix()

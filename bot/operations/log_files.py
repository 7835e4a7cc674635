"""The files of the log: ``mltb-NUMBER.jsonl``, of which the one with the highest number grows.

A file is never renamed. A new one begins when the present one is large or old enough, and the
oldest go when all together are too large; a crash at any moment leaves whole files, the last of
which may end in half a line. A line is handed to the kernel before the call that logs it returns,
so that it outlives the process however that ends (a queue would lose what waits in it); that takes
microseconds, for nothing is waited for but the page cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bot.domain.ports import Clock
from bot.errors import ConfigError
from bot.operations.log_lines import moment, parsed

_NAME = re.compile(r"mltb-(\d{8,18})\.jsonl")
_FIRST = 256 * 1024  # bytes in which the first line of a file ends
_LOOK = 1.0  # seconds between two looks whether the present file is still there


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A file of the log, in bytes; of two the later has the higher number."""

    number: int
    path: Path
    size: int


def found_files(directory: Path) -> list[Found]:
    """The files of the log in ``directory``, oldest first; what goes meanwhile is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name is not None and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    size = entry.stat(follow_symlinks=False).st_size
                    found.append(Found(int(name[1]), Path(entry.path), size))
    return sorted(found)


class LogFile:
    """Where lines go. One process at a time has a directory: ConfigError where another does.

    ``max_size`` and ``total_size`` in bytes (a file gets half of the total at most), ``max_age``
    in seconds. ``write`` and ``close`` are called by one thread at a time.
    """

    def __init__(
        self, directory: Path, clock: Clock, *, max_size: int, max_age: float, total_size: int
    ) -> None:
        self.directory = directory
        self.dropped = 0
        self._clock = clock
        self._max_size = min(max_size, total_size // 2)
        self._max_age = max_age
        self._total_size = total_size
        self._lock = -1
        self._handle = -1
        self._number = 0
        self._size = 0
        self._began = 0.0
        self._torn = False
        self._looked = 0.0
        self._inode: tuple[int, int] = (0, 0)
        self._own_directory()
        with contextlib.suppress(OSError):
            self._go_on()  # Else the first line tries again: a full disk may have room by then.

    # Writing

    def write(self, line: bytes) -> None:
        """Append ``line`` (without its end); OSError where it can't be, after which it is lost."""
        try:
            self._make_ready(len(line) + 1)
            data = (b"\n" if self._torn else b"") + line + b"\n"
            written = os.write(self._handle, data)
        except OSError:
            self.dropped += 1
            raise
        self._size += written
        self._torn = written < len(data)
        if self._torn:
            # Half a line; the next one begins behind an end of its own.
            self.dropped += 1
            raise OSError("there was room for a part of the line only")

    def close(self) -> None:
        """Close it; what was written is in the kernel already."""
        for handle in (self._handle, self._lock):
            if handle >= 0:
                os.close(handle)
        self._handle = self._lock = -1

    # Files

    def _own_directory(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"the log can't be kept in {self.directory}: {error.strerror}",
                hint="set another LOG_DIR, or LOG_TO_FILE=false",
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(
                f"another process keeps its log in {self.directory}", hint="set another LOG_DIR"
            ) from None

    def _make_ready(self, coming: int) -> None:
        """See to it that there is a file which the next bytes may go to."""
        now = self._clock.now()
        self._began = min(self._began, now)  # Where the clock went back, the age counts anew.
        if self._handle < 0 or not self._is_there():
            self._go_on()
        elif self._size and (
            self._size + coming > self._max_size or now - self._began >= self._max_age
        ):
            self._begin(self._number + 1)

    def _is_there(self) -> bool:
        """Whether the file still has its name: somebody may have cleared the directory."""
        now = self._clock.monotonic()
        if now - self._looked < _LOOK:
            return True
        self._looked = now
        try:
            status = self._path(self._number).stat(follow_symlinks=False)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def _go_on(self) -> None:
        """Open the newest file where there is room in it, else begin one."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = found_files(self.directory)
        if not files or files[-1].size >= self._max_size:
            self._begin(files[-1].number + 1 if files else self._number + 1)
            return
        last = files[-1]
        handle = os.open(last.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._take(handle, last.number)
        self._torn = last.size > 0 and os.pread(handle, 1, last.size - 1) != b"\n"
        first = parsed(os.pread(handle, _FIRST, 0).partition(b"\n")[0])
        self._began = self._clock.now() if first is None else moment(first.time)

    def _begin(self, number: int) -> None:
        self._remove_oldest()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            try:
                handle = os.open(self._path(number), flags, 0o600)
                break
            except FileExistsError:
                number += 1
        self._take(handle, number)
        self._began = self._clock.now()

    def _take(self, handle: int, number: int) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        status = os.fstat(handle)
        self._handle, self._number, self._torn = handle, number, False
        self._size, self._inode = status.st_size, (status.st_dev, status.st_ino)
        self._looked = self._clock.monotonic()

    def _remove_oldest(self) -> None:
        """Make room for the new file to grow to its full size within the total."""
        files = found_files(self.directory)
        total = sum(file.size for file in files) + self._max_size
        for file in files:
            if total <= self._total_size:
                return
            with contextlib.suppress(OSError):
                file.path.unlink()
                total -= file.size

    def _path(self, number: int) -> Path:
        return self.directory / f"mltb-{number:08}.jsonl"

"""Names of delivered files: which are free, and how the next one is called."""

from __future__ import annotations

import os
import threading
from pathlib import PurePosixPath

from bot.errors import PolicyRefused

_LONGEST = 255  # bytes in a name, on every common filesystem
_LONGEST_SUFFIX = 20
_HIGHEST = 10_000_000


def numbered(name: str, number: int, *, folder: bool) -> str:
    """``name`` itself for 0, then ``stem (1).suffix`` and so on, in at most 255 bytes."""
    if number == 0:
        return name
    suffix = "" if folder else PurePosixPath(name).suffix
    stem = name[: len(name) - len(suffix)]
    if stem.endswith(".tar") and len(stem) > 4:
        stem, suffix = stem[:-4], f".tar{suffix}"
    if len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
        stem, suffix = name, ""
    tail = f" ({number}){suffix}"
    room = _LONGEST - len(os.fsencode(tail))
    kept = stem
    while len(os.fsencode(kept)) > room:
        kept = kept[:-1]
    return kept + tail


def exists(directory: int, name: str) -> bool:
    """Whether something has that name in the directory, also a link that leads nowhere."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class Names:
    """Names that deliveries under way have chosen: a second one must not choose the same before
    the first one's file is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chosen: dict[tuple[str, str], str] = {}

    def choose(self, place: str, directory: int | None, wanted: str, job: str, folder: bool) -> str:
        """A free name like ``wanted`` in the directory, kept for ``job``."""
        with self._lock:
            taken, number = -1, 0
            while not self._free(place, directory, numbered(wanted, number, folder=folder), job):
                taken, number = number, number * 2 + 1
                if number > _HIGHEST:
                    raise PolicyRefused(f"{place} holds too many files named {wanted!r}")
            # Doubling found a free number; the lowest above the last taken one is looked for by
            # halves, since a thousand files of one name would need a thousand looks.
            while number - taken > 1:
                middle = (number + taken) // 2
                name = numbered(wanted, middle, folder=folder)
                if self._free(place, directory, name, job):
                    number = middle
                else:
                    taken = middle
            name = numbered(wanted, number, folder=folder)
            self._chosen[place, name] = job
            return name

    def take(self, place: str, directory: int | None, name: str, job: str) -> bool:
        """Keep ``name`` for ``job``; False where it exists or another job has it.

        ``directory`` is a descriptor of ``place``, None while that does not exist.
        """
        with self._lock:
            if not self._free(place, directory, name, job):
                return False
            self._chosen[place, name] = job
            return True

    def _free(self, place: str, directory: int | None, name: str, job: str) -> bool:
        if self._chosen.get((place, name), job) != job:
            return False
        return directory is None or not exists(directory, name)

    def release(self, place: str, name: str, job: str) -> None:
        """``job`` does not need ``name`` any more: its file is there, or will not come."""
        with self._lock:
            if self._chosen.get((place, name)) == job:
                del self._chosen[place, name]

"""The directories under which a local destination may lie, and a safe way into them.

A destination is resolved once, must then lie under a root, and is opened one name at a time from
the root down, each without following a link. Whoever swaps a directory for a link in between meets
a refusal, not a write outside.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.errors import (
    InternalFailure,
    NoSpace,
    PolicyRefused,
    Refused,
    TransferError,
    Unsupported,
)

#: The directory in a root that holds the work of unfinished tasks; nothing is delivered into it.
WORK = ".mltb"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What a full disk, a quota and a limit on the size of a file say.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NOT_A_DIRECTORY = frozenset({errno.ELOOP, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Place:
    """A directory under a root: the resolved ``root`` and the ``parts`` below it, no links."""

    root: str
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """Its absolute path."""
        return "/".join((self.root.rstrip("/"), *self.parts)) or "/"

    @contextmanager
    def opened(self, *, make: bool = False) -> Iterator[int]:
        """A descriptor of the directory; ``make`` creates what is missing. Raises OSError."""
        with opened_directory(self.root) as root, opened_below(root, self.parts, make=make) as fd:
            yield fd

    def missing(self) -> int:
        """How many of the last parts do not exist yet. Raises OSError."""
        with opened_directory(self.root) as root:
            for depth in range(len(self.parts), 0, -1):
                try:
                    with opened_below(root, self.parts[:depth]):
                        return len(self.parts) - depth
                except FileNotFoundError:
                    continue
        return len(self.parts)

    def shortened(self, count: int) -> Place:
        """The directory ``count`` levels up, never above the root."""
        return Place(self.root, self.parts[: max(0, len(self.parts) - count)])


class Roots:
    """The configured roots (absolute paths); they need not exist before they are used."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [str(root) for root in roots]
        self._real: dict[str, str] = {}

    def locate(self, destination: str) -> Place:
        """Where ``destination`` really lies. PolicyRefused unless that is under a root."""
        if "\0" in destination or ".." in destination.split("/"):
            raise PolicyRefused(
                f"the destination {destination[:200]!r} holds '..' or a NUL",
                hint="write the directory itself",
            )
        if not destination.startswith("/"):
            raise PolicyRefused(
                f"the destination {destination[:200]!r} is not absolute", hint=self._allowed()
            )
        real = os.path.realpath(destination)
        found: Place | None = None
        for root in self._roots:
            base = self._resolved(root)
            if real != base and not real.startswith(base.rstrip("/") + "/"):
                continue
            if found is None or len(base) > len(found.root):
                found = Place(base, tuple(part for part in real[len(base) :].split("/") if part))
        if found is None:
            raise PolicyRefused(
                f"the destination {destination[:200]!r} lies outside of the local roots",
                hint=self._allowed(),
            )
        if WORK in found.parts:
            raise PolicyRefused(
                f"the destination {destination[:200]!r} lies in a directory for unfinished work",
                hint=f"choose one without {WORK!r}",
            )
        return found

    def _resolved(self, root: str) -> str:
        """Where ``root`` really lies, as it was when it was first used: one that is led elsewhere
        later holds no destination any more."""
        if root not in self._real:
            self._real[root] = os.path.realpath(root)
        return self._real[root]

    def _allowed(self) -> str:
        return f"files go into {' or '.join(self._roots)} and below (LOCAL_ROOTS)"


@contextmanager
def opened_directory(path: str) -> Iterator[int]:
    """A descriptor of the directory ``path``, which is trusted up to its last name."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_below(directory: int, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the directory ``parts`` below ``directory``, opened name by name without
    following a link; ``make`` creates what is missing. Raises OSError."""
    current = directory
    try:
        for part in parts:
            following = _enter(current, part, make)
            if current != directory:
                os.close(current)
            current = following
        yield current
    finally:
        if current != directory:
            os.close(current)


def _enter(directory: int, name: str, make: bool) -> int:
    if make:
        try:
            os.mkdir(name, dir_fd=directory)
        except FileExistsError:
            pass
        else:
            os.fsync(directory)
    return os.open(name, _DIRECTORY, dir_fd=directory)


def relative_parts(path: str) -> tuple[str, ...]:
    """The names in a relative path of a file; InternalFailure where it could lead elsewhere."""
    parts = tuple(path.split("/"))
    if "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise InternalFailure(f"{path[:200]!r} is not a relative path of a file")
    return parts


def explained(error: OSError, path: str) -> TransferError:
    """What ``error``, met while working at ``path``, means to a user."""
    reason = error.strerror or str(error)
    if error.errno in NO_SPACE:
        return NoSpace(f"{path} has no room: {reason}", hint="free some room and retry the task")
    if error.errno in _FORBIDDEN:
        return PolicyRefused(
            f"the service may not write to {path}: {reason}",
            hint="give its user the right to, or choose another directory",
        )
    if error.errno in _NOT_A_DIRECTORY:
        return PolicyRefused(
            f"{path} is not a directory, or a part of it is a link: {reason}",
            hint="choose another directory",
        )
    if error.errno in {errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST}:
        return PolicyRefused(
            f"something in {path} has the wanted name already, and can't be replaced: {reason}",
            hint="give another name, or overwrite 'rename'",
        )
    if error.errno == errno.ENOENT:
        return PolicyRefused(
            f"{path} does not exist", hint="create the local root, or change LOCAL_ROOTS"
        )
    if error.errno in {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}:
        return Unsupported(f"{path} can't hold that name: {reason}", hint="give another name")
    return Refused(f"{path} can't be written: {reason}")

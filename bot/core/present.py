"""What of a service the code beside it finds, for as long as that service runs in this process.

Standard library only: ``plugin_manager`` is imported in the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Present(Generic[T]):
    """The parts of that kind that are there; the newest one counts."""

    def __init__(self) -> None:
        self._parts: list[T] = []

    @property
    def newest(self) -> T | None:
        """The one that counts, or None."""
        return self._parts[-1] if self._parts else None

    @contextmanager
    def attached(self, part: T) -> Iterator[None]:
        """It is there for as long as this is entered."""
        self._parts.append(part)
        try:
            yield
        finally:
            # By identity: two may look the same.
            self._parts[:] = [each for each in self._parts if each is not part]

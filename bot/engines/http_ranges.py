"""Which bytes of a file are there: half-open ranges, merged, in order. No input or output."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence


class Ranges:
    """A set of bytes as ranges ``[start, end)`` that neither touch nor overlap."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, pairs: Iterable[Sequence[int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in pairs:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(tuple(zip(self._starts, self._ends, strict=True)))

    def __len__(self) -> int:
        return len(self._starts)

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return sum(self._ends) - sum(self._starts)

    @property
    def head(self) -> int:
        """How many bytes there are from the very start without a gap."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def end(self) -> int:
        """The end of the last range."""
        return self._ends[-1] if self._ends else 0

    def add(self, start: int, end: int) -> None:
        """Add ``[start, end)``."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def missing(self, size: int) -> list[tuple[int, int]]:
        """The gaps up to ``size``."""
        gaps: list[tuple[int, int]] = []
        at = 0
        for start, end in self:
            if at < min(start, size):
                gaps.append((at, min(start, size)))
            at = max(at, end)
        if at < size:
            gaps.append((at, size))
        return gaps

    def within(self, size: int) -> Ranges:
        """What lies before ``size``."""
        return Ranges((start, min(end, size)) for start, end in self if start < size)

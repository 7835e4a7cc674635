"""A summary of many numbers that can be merged with others: DDSketch.

Quantiles are off by 1 % of their value at most, whatever the numbers are, and the size is bounded;
see Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", VLDB 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddsketch.ddsketch import LogCollapsingLowestDenseDDSketch

RELATIVE_ACCURACY = 0.01
#: From 1 µs to 24 hours there are 1,260 bins; past the limit the shortest times lose accuracy.
_BINS = 1280


class Distribution:
    """Numbers that are not negative, such as durations in seconds. Not safe between threads."""

    __slots__ = ("_sketch", "max", "min")

    def __init__(self) -> None:
        self._sketch = _new_sketch()
        self.min = 0.0
        self.max = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._sketch.count)

    @property
    def total(self) -> float:
        """Their sum."""
        return self._sketch.sum

    @property
    def mean(self) -> float:
        """Their mean; 0 without any."""
        return self._sketch.sum / self._sketch.count if self._sketch.count else 0.0

    def add(self, value: float) -> None:
        """Add one."""
        self.max = max(self.max, value)
        if value < self.min or not self._sketch.count:
            self.min = value
        self._sketch.add(value)

    def merge(self, other: Distribution) -> None:
        """Add all of another, as if each had been added here."""
        if not other.count:
            return
        self.min = min(self.min, other.min) if self.count else other.min
        self.max = max(self.max, other.max)
        self._sketch.merge(other._sketch)

    def quantile(self, part: float) -> float:
        """The number that the ``part`` (0 to 1) of all is not above; 0 without any."""
        found = self._sketch.get_quantile_value(part)
        # A bin reaches beyond the numbers in it.
        return 0.0 if found is None else min(max(found, self.min), self.max)


def _new_sketch() -> LogCollapsingLowestDenseDDSketch:
    # Only where something is measured is it worth the time to load it.
    from ddsketch.ddsketch import LogCollapsingLowestDenseDDSketch

    return LogCollapsingLowestDenseDDSketch(RELATIVE_ACCURACY, _BINS)

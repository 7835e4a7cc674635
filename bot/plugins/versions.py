"""Which of two versions is the newer one (semver.org, 11)."""

from __future__ import annotations

#: Compares as versions do. What a version says of its build has no part in it.
Order = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def order(version: str) -> Order:
    """A key to sort by: ``1.0.0-rc.2`` comes before ``1.0.0-rc.10``, and that before ``1.0.0``."""
    core, _, before = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    parts = before.split(".") if before else []
    return numbers, not before, tuple(map(_part, parts))


def _part(text: str) -> tuple[bool, int, str]:
    """Numbers come before words, and compare as numbers."""
    return (False, int(text), "") if text.isdecimal() else (True, 0, text)

"""The rules of alerts, and when a reading breaks one.

Pure: the time and the values are arguments, and so the same input gives the same alerts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bot.domain.alerts import Severity


class Missing(StrEnum):
    """What it means when a reading is not there: nothing changes, all is well, all is not."""

    KEEP = "keep"
    OK = "ok"
    FIRE = "fire"


COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class ReadingRule:
    """A reading that must not be so for ``hold`` seconds.

    Once it fires, it ends when ``reading comparison clear`` does not hold any more: with another
    value than ``threshold`` it does not flap between two sides of one number.
    """

    name: str
    severity: Severity
    title: str
    reading: str
    comparison: str
    threshold: float
    hold: float = 0.0
    clear: float | None = None
    missing: Missing = Missing.KEEP

    def broken(self, value: float, *, firing: bool) -> bool:
        """Whether ``value`` breaks it, for one that fires already or not."""
        limit = self.threshold if self.clear is None or not firing else self.clear
        return COMPARISONS[self.comparison](value, limit)


@dataclass(frozen=True, slots=True)
class EventRule:
    """An occasion (see ``operations.alert_occasions``) that is worth an alert.

    Without anything new the alert ends by itself after ``keep`` seconds.
    """

    name: str
    severity: Severity
    title: str
    event: str
    keep: float = 86400.0


Rule = ReadingRule | EventRule


class Verdict(StrEnum):
    """What one look at a reading says of its rule."""

    FINE = "fine"
    PENDING = "pending"
    FIRING = "firing"


@dataclass(slots=True)
class Watch:
    """One rule over one reading (of one set of labels), from look to look.

    ``now`` is a monotonic time, so that a clock that jumps makes no alert and ends none.
    """

    rule: ReadingRule
    firing: bool = False
    since: float | None = field(default=None)

    def look(self, value: float | None, now: float) -> Verdict:
        """The verdict with the present value; None where there is none."""
        if value is None and self.rule.missing is Missing.KEEP:
            if not self.firing:
                self.since = None  # What nobody saw did not last.
            return Verdict.FIRING if self.firing else Verdict.FINE
        if value is None:
            broken = self.rule.missing is Missing.FIRE
        else:
            broken = self.rule.broken(value, firing=self.firing)
        if not broken:
            self.firing, self.since = False, None
            return Verdict.FINE
        if self.firing:
            return Verdict.FIRING
        self.since = now if self.since is None else self.since
        self.firing = now - self.since >= self.rule.hold
        return Verdict.FIRING if self.firing else Verdict.PENDING

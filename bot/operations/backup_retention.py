"""Which backups stay: the last ones, and the newest of each day, week and month, as far back as the
policy says. A period without a backup does not count, as in restic and borg.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """How many stay of each kind; days, weeks (ISO 8601) and months are those of UTC."""

    last: int
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup that may go. ``good`` is False where a verification failed, True where one passed,
    None where nobody looked."""

    name: str
    made_at: float
    good: bool | None = None


def surplus(backups: Sequence[Candidate], policy: Policy) -> list[str]:
    """The names that may go, oldest first.

    A backup that failed its verification takes no place of another, and goes as soon as one that
    passed is there. The newest that passed, and the newest of all that did not fail, always stay.
    """
    ordered = sorted(backups, key=lambda each: (each.made_at, each.name), reverse=True)
    sound = [each for each in ordered if each.good is not False]
    passed = [each for each in sound if each.good]
    kept = {each.name for each in (*sound[:1], *passed[:1], *sound[: policy.last])}
    for count, period in (
        (policy.daily, _day),
        (policy.weekly, _week),
        (policy.monthly, _month),
    ):
        kept |= _newest_of_each(sound, count, period)
    if not passed:
        kept |= {each.name for each in ordered if each.good is False}
    return [each.name for each in reversed(ordered) if each.name not in kept]


def _newest_of_each(
    ordered: Sequence[Candidate], count: int, period: Callable[[date], tuple[int, ...]]
) -> set[str]:
    found: dict[tuple[int, ...], str] = {}
    for each in ordered:
        if len(found) >= count:
            # The newest of a period comes first, so what follows belongs to older periods.
            break
        found.setdefault(period(datetime.fromtimestamp(each.made_at, UTC).date()), each.name)
    return set(found.values())


def _day(day: date) -> tuple[int, ...]:
    return (day.year, day.month, day.day)


def _week(day: date) -> tuple[int, ...]:
    return day.isocalendar()[:2]


def _month(day: date) -> tuple[int, ...]:
    return (day.year, day.month)

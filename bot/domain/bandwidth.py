"""How fast all transfers together may be, by the time of the week, and how engines share that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bot.errors import InvalidInput

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_RULE = re.compile(
    r"(?:(?P<days>[a-z,\-]+)\s+)?(?P<h1>\d\d?):(?P<m1>\d\d)-(?P<h2>\d\d?):(?P<m2>\d\d)"
    r"\s+(?P<rate>off|[\d.]+\s*(?:[kmgt](?:i?b)?|b)?(?:/s)?)",
    re.ASCII,
)
_NUMBER = re.compile(r"([\d.]+)\s*(?:([kmgt])(i?b)?)?.*", re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True)
class Rule:
    """On ``days`` (0 is Monday), from minute ``start`` to before ``end``: ``rate`` bytes a second.

    A rule whose end is not after its start goes over midnight and belongs to the day it began on.
    """

    days: frozenset[int]
    start: int
    end: int
    rate: int | None

    def fits(self, moment: datetime) -> bool:
        """Whether ``moment`` (local time) lies in it."""
        minute = moment.hour * 60 + moment.minute
        today = moment.weekday() in self.days
        if self.start < self.end:
            return today and self.start <= minute < self.end
        yesterday = (moment.weekday() - 1) % 7 in self.days
        return (today and minute >= self.start) or (yesterday and minute < self.end)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rules in order, the first that fits wins; ``default`` where none does (None: no limit)."""

    rules: tuple[Rule, ...] = ()
    default: int | None = None

    def limit(self, moment: datetime) -> int | None:
        """Bytes a second at that local time; None is no limit."""
        for rule in self.rules:
            if rule.fits(moment):
                return rule.rate
        return self.default

    @classmethod
    def parse(cls, text: str, default: int | None = None) -> Timetable:
        """Read ``Mon-Fri 08:00-18:00 2M; 22:00-06:00 off``; InvalidInput names the wrong part.

        ``2M`` and ``2MiB`` count in 1024, ``2MB`` in 1000, as in the settings.
        """
        parts = [part.strip() for part in text.split(";") if part.strip()]
        return cls(tuple(_rule(part) for part in parts), default)


def _rule(text: str) -> Rule:
    found = _RULE.fullmatch(text.lower())
    if found is None:
        raise InvalidInput(
            f"{text!r} is not a rule of a timetable",
            hint="write [days] HH:MM-HH:MM RATE, such as 'Mon-Fri 08:00-18:00 2M' "
            "or '22:00-06:00 off'",
        )
    start = _minute(text, found["h1"], found["m1"])
    end = _minute(text, found["h2"], found["m2"])
    return Rule(_days(text, found["days"]), start, end, _rate(text, found["rate"]))


def _minute(text: str, hours: str, minutes: str) -> int:
    value = int(hours) * 60 + int(minutes)
    if value > 24 * 60 or int(minutes) > 59:
        raise InvalidInput(f"{hours}:{minutes} in {text!r} is not a time of day")
    return value


def _days(text: str, names: str | None) -> frozenset[int]:
    if names is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in names.split(","):
        first, dash, last = part.partition("-")
        begin = _day(text, part, first)
        end = _day(text, part, last) if dash else begin
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(days)


def _day(text: str, part: str, name: str) -> int:
    for index, day in enumerate(_DAYS):
        if len(name) >= 3 and day.startswith(name):
            return index
    raise InvalidInput(
        f"{part!r} in {text!r} is not a day, or a span of days",
        hint=f"days are {', '.join(day[:3] for day in _DAYS)}",
    )


def _rate(text: str, value: str) -> int | None:
    if value == "off":
        return None
    number, unit, suffix = _NUMBER.fullmatch(value).groups()  # type: ignore[union-attr]
    factor = (1000 if suffix == "b" else 1024) ** _POWERS[unit or ""]
    try:
        rate = int(float(number) * factor)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{value!r} in {text!r} is not a rate") from None
    if rate < 1:
        raise InvalidInput(f"{value!r} in {text!r} is not a rate", hint="'off' lifts the limit")
    return rate


def share(limit: int, speeds: Mapping[str, float]) -> dict[str, int]:
    """Divide ``limit`` over the names in ``speeds`` (their present bytes a second).

    Who uses less than an equal part keeps a quarter above what it uses, so that it can grow; the
    others divide the rest equally. The parts never add up to more than ``limit``, except that
    each is at least one byte a second: to engines a limit of nothing means no limit.
    """
    parts: dict[str, int] = {}
    left, open_names = limit, sorted(speeds, key=lambda name: speeds[name])
    floor = max(1, limit // max(1, len(open_names) * 8))
    while open_names:
        equal = left // len(open_names)
        name = open_names.pop(0)
        wanted = max(floor, int(speeds[name] * 1.25))
        parts[name] = max(1, min(wanted, equal)) if open_names else max(1, left)
        left -= parts[name]
    return parts

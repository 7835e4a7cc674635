"""Timetables, the division of a limit, and the governor that applies both."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bot.config import Rate
from bot.domain.bandwidth import Timetable, share
from bot.domain.ports import Engine
from bot.engines.registry import Engines
from bot.errors import InvalidInput
from bot.transfers.bandwidth import Governor
from tests.rig import ManualClock, ScriptedSource

MONDAY = datetime(2026, 11, 23)  # noqa: DTZ001 - timetables are about local time
MIB = 1024 * 1024


def at(text: str, day: int, clock: str, default: int | None = None) -> int | None:
    """The limit of that timetable on that day (0 is Monday) at that time."""
    hours, minutes = clock.split(":")
    moment = MONDAY + timedelta(days=day, hours=int(hours), minutes=int(minutes))
    return Timetable.parse(text, default).limit(moment)


@pytest.mark.parametrize(
    ("day", "clock", "limit"),
    [
        (0, "07:59", 9),
        (0, "08:00", 2 * MIB),
        (4, "17:59", 2 * MIB),
        (4, "18:00", 9),
        (5, "12:00", None),
        (6, "23:59", None),
    ],
)
def test_the_rules_of_a_week(day: int, clock: str, limit: int | None) -> None:
    text = "Mon-Fri 08:00-18:00 2M; Sat,Sun 00:00-24:00 off"
    assert at(text, day, clock, default=9) == limit


@pytest.mark.parametrize(
    ("day", "clock", "limit"),
    [(4, "21:59", 9), (4, "22:00", 5), (5, "05:59", 5), (5, "06:00", 9), (5, "22:00", 9)],
)
def test_a_rule_over_midnight_belongs_to_the_day_it_began_on(
    day: int, clock: str, limit: int
) -> None:
    assert at("fri 22:00-06:00 5", day, clock, default=9) == limit


def test_a_rule_over_midnight_passes_the_end_of_the_week() -> None:
    assert at("sun 22:00-06:00 5", 0, "05:00", default=9) == 5
    assert at("22:00-06:00 5", 0, "05:00", default=9) == 5


def test_equal_times_are_a_whole_day() -> None:
    assert at("mon 08:00-08:00 5", 0, "07:59", default=9) == 9
    assert at("mon 08:00-08:00 5", 0, "08:00", default=9) == 5
    assert at("mon 08:00-08:00 5", 1, "07:59", default=9) == 5
    assert at("00:00-24:00 5", 3, "23:59", default=9) == 5


def test_the_first_rule_that_fits_wins() -> None:
    assert at("10:00-11:00 off; 00:00-24:00 5", 2, "10:30", default=9) is None
    assert at("00:00-24:00 5; 10:00-11:00 off", 2, "10:30", default=9) == 5


def test_days_may_wrap_and_be_written_out() -> None:
    for text in ("sat-mon", "Saturday-Monday", "sat,sunday,mon"):
        found = [at(f"{text} 00:00-24:00 5", day, "12:00") for day in range(7)]
        assert found == [5, None, None, None, None, 5, 5], text


def test_no_rule_is_the_default() -> None:
    assert Timetable.parse("", 7) == Timetable((), 7)
    assert Timetable.parse(" ; ;") == Timetable()


@given(
    st.floats(0.001, 9999).map("{:.3f}".format) | st.integers(1, 10**9).map(str),
    st.sampled_from(["", "K", "k", "KiB", "M", "MB", "MiB", "G", "gb", "T"]),
    st.sampled_from(["", "/s"]),
)
def test_rates_are_read_as_in_the_settings(number: str, unit: str, per: str) -> None:
    text = f"{number}{unit}{per}"
    expected = TypeAdapter(Rate).validate_python(text)
    if expected:
        assert at(f"00:00-24:00 {text}", 0, "00:00") == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("whenever 2M", "whenever 2M"),
        ("08:00-18:00 2M; 18:00 4M", "18:00 4M"),
        ("08:00-25:00 2M", "25:00"),
        ("08:60-18:00 2M", "08:60"),
        ("24:01-18:00 2M", "24:01"),
        ("monk 08:00-18:00 2M", "monk"),
        ("mo 08:00-18:00 2M", "mo"),
        ("mon- 08:00-18:00 2M", "mon-"),
        ("-fri 08:00-18:00 2M", "-fri"),
        ("mon-tue-wed 08:00-18:00 2M", "mon-tue-wed"),
        ("mon,,tue 08:00-18:00 2M", "''"),
        ("08:00-18:00 1.2.3M", "1.2.3m"),
        ("08:00-18:00 0", "'0'"),
        ("08:00-18:00 0.5", "'0.5'"),
        ("08:00-18:00 -5M", "-5M"),
        ("08:00-18:00 2X", "2X"),
        ("08:00-18:00 2ib", "2ib"),
        ("08:00-18:00", "08:00-18:00"),
        ("٠8:00-18:00 2M", "٠8:00"),
        ("08:00-18:00 " + "9" * 400, "is not a rate"),
    ],
)
def test_garbage_is_refused_and_the_part_named(text: str, part: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Timetable.parse(f"00:00-01:00 off; {text}")
    assert part in caught.value.message


@given(st.text("monfri0123456789:-;, .kMoff\n", max_size=40) | st.text(max_size=20))
def test_any_text_is_a_timetable_or_refused(text: str) -> None:
    try:
        timetable = Timetable.parse(text)
    except InvalidInput:
        return
    for hour in range(0, 168, 5):
        limit = timetable.limit(MONDAY + timedelta(hours=hour))
        assert limit is None or limit >= 1


speeds = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1e12), min_size=1)


@given(st.integers(8, 10**12), speeds)
def test_the_parts_never_exceed_the_limit_and_nobody_starves(
    limit: int, speeds: dict[str, float]
) -> None:
    parts = share(limit, speeds)
    assert set(parts) == set(speeds)
    assert sum(parts.values()) <= limit
    least = max(1, limit // (len(speeds) * 8))
    assert all(part >= least for part in parts.values())
    # The one who uses most is never worse off than with equal parts.
    most = max(speeds.values())
    assert max(parts[name] for name in parts if speeds[name] == most) >= limit // len(speeds)


@given(st.integers(1, 7), speeds)
def test_a_limit_of_next_to_nothing_is_one_byte_each_and_never_none(
    limit: int, speeds: dict[str, float]
) -> None:
    parts = share(limit, speeds)
    assert all(part >= 1 for part in parts.values())
    assert sum(parts.values()) <= max(limit, len(speeds))


def test_who_uses_little_leaves_the_rest_and_can_grow() -> None:
    assert share(1000, {"slow": 100, "fast": 5000}) == {"slow": 125, "fast": 875}
    assert share(1000, {"a": 5000, "b": 5000}) == {"a": 500, "b": 500}
    assert share(1000, {"idle": 0, "fast": 5000}) == {"idle": 62, "fast": 938}
    assert share(1000, {"only": 3}) == {"only": 1000}
    assert share(1000, {}) == {}


def test_parts_become_equal_when_both_want_more() -> None:
    parts = {"old": 1000, "new": 0}
    for _ in range(40):
        parts = share(1000, parts)
    assert abs(parts["old"] - parts["new"]) <= 1


# The governor


class Source(ScriptedSource):
    """An engine of another name, with jobs of that speed."""

    def __init__(self, name: str, *jobs: str) -> None:
        super().__init__()
        self.name = name
        self.under_way = set(jobs)
        self.limits: list[int | None] = []

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Remember them all."""
        self.limits.append(limit)


def governor(timetable: Timetable, clock: ManualClock, *engines: Engine) -> Governor:
    """A governor over those engines."""
    return Governor(Engines(engines), timetable, clock)


def test_busy_engines_share_and_idle_ones_may_begin_at_once() -> None:
    busy, other, idle, local = (
        Source("a", "1", "2", "3"),
        Source("b", "4"),
        Source("c"),
        Source("local", "5"),
    )
    made = governor(Timetable((), 80), ManualClock(), busy, other, idle, local)
    assert made.apply() == {"a": 68, "b": 12, "c": 80}
    assert (busy.limits, other.limits, idle.limits) == ([68], [12], [80])
    assert local.limits == []
    made.apply()
    assert busy.limits == [68]  # what is set already is not set again
    other.under_way.clear()
    assert made.apply() == {"a": 80, "b": 80, "c": 80}


async def test_the_limit_follows_the_time() -> None:
    clock, engine = ManualClock(), Source("a", "1")
    local = datetime.fromtimestamp(clock.now()).astimezone()
    later = local + timedelta(hours=1)
    text = f"{local:%H:%M}-{later:%H:%M} 50"
    made = governor(Timetable.parse(text), clock, engine)
    made.start()
    for _ in range(10):
        await asyncio.sleep(0)
    assert engine.limits == [50]
    clock.advance(3600)
    for _ in range(10):
        await asyncio.sleep(0)
    assert engine.limits == [50, None]
    await made.stop()
    clock.advance(23 * 3600)
    await asyncio.sleep(0)
    assert engine.limits == [50, None]


async def test_without_a_limit_no_engine_is_ever_touched() -> None:
    engine = Source("a", "1")
    made = governor(Timetable(), ManualClock(), engine)
    made.start()
    for _ in range(10):
        await asyncio.sleep(0)
    await made.stop()
    assert made.apply() == {"a": None}
    assert engine.limits == []

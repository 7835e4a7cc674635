"""Rules, states and the words of alerts: no clock, no store, no network."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bot.domain.alert_book import OTHERS, AlertBook, Occurrence, plain_labels
from bot.domain.alert_rules import Missing, ReadingRule, Verdict, Watch
from bot.domain.alerts import LIVE, MOVES, Alert, AlertState, Severity, Silence
from bot.domain.events import AlertRaised, AlertResolved, AlertSilenced
from bot.domain.plain import plain, plain_lines
from bot.errors import IllegalMove

LOW = ReadingRule("disk_low", Severity.HIGH, "Low", "free", "<", 10.0, hold=60.0, clear=20.0)


def occurrence(rule: str = "r", message: str = "m", **labels: str) -> Occurrence:
    return Occurrence(rule, Severity.MEDIUM, "Title", message, labels)


def new_book(most: int = 500) -> AlertBook:
    numbers = itertools.count()
    return AlertBook(lambda: f"a{next(numbers)}", most)


def silence(**given: object) -> Silence:
    return Silence("s", 100.0, "maintenance", "ann", 0.0, **given)  # type: ignore[arg-type]


# States


@pytest.mark.parametrize("before", AlertState)
@pytest.mark.parametrize("after", AlertState)
def test_an_alert_moves_by_the_table_alone(before: AlertState, after: AlertState) -> None:
    alert = Alert("a", "r", Severity.LOW, "t", "m", {}, 0.0, 0.0, state=before)
    if after in MOVES[before]:
        alert.move(after)
        assert alert.state is after
    else:
        with pytest.raises(IllegalMove):
            alert.move(after)
        assert alert.state is before


def test_what_is_over_stays_over_and_everything_can_end() -> None:
    assert not MOVES[AlertState.RESOLVED]
    assert all(AlertState.RESOLVED in MOVES[state] for state in {*LIVE, AlertState.PENDING})


# Watching a reading


def looks(of: ReadingRule, *values: tuple[float, float | None]) -> list[Verdict]:
    watch = Watch(of)
    return [watch.look(value, at) for at, value in values]


def test_it_fires_after_it_has_lasted_and_ends_at_the_other_threshold() -> None:
    assert looks(LOW, (0, 5), (59, 5), (60, 5), (61, 15), (62, 19), (63, 20), (64, 15)) == [
        Verdict.PENDING,
        Verdict.PENDING,
        Verdict.FIRING,
        Verdict.FIRING,
        Verdict.FIRING,
        Verdict.FINE,
        Verdict.FINE,
    ]


def test_a_moment_of_good_begins_the_time_anew() -> None:
    assert looks(LOW, (0, 5), (50, 11), (59, 5), (70, 5), (119, 5))[-2:] == [
        Verdict.PENDING,
        Verdict.FIRING,
    ]


@pytest.mark.parametrize(
    ("missing", "quiet", "loud"),
    [
        (Missing.KEEP, Verdict.FINE, Verdict.FIRING),
        (Missing.OK, Verdict.FINE, Verdict.FINE),
        (Missing.FIRE, Verdict.FIRING, Verdict.FIRING),
    ],
)
def test_what_a_reading_that_is_not_there_means(
    missing: Missing, quiet: Verdict, loud: Verdict
) -> None:
    of = ReadingRule("r", Severity.LOW, "t", "x", ">", 1.0, missing=missing)
    assert looks(of, (0, 0.0), (1, None))[-1] is quiet
    assert looks(of, (0, 2.0), (1, None))[-1] is loud


@given(
    st.lists(st.tuples(st.floats(0, 30), st.none() | st.floats(0, 30)), min_size=1, max_size=40),
    st.floats(0, 100),
    st.sampled_from(Missing),
)
def test_it_never_fires_before_its_time(
    steps: list[tuple[float, float | None]], hold: float, missing: Missing
) -> None:
    of = ReadingRule("r", Severity.LOW, "t", "x", "<", 10.0, hold, 20.0, missing)
    watch, now, broken_since = Watch(of), 0.0, None
    for passed, value in steps:
        now += passed
        before = watch.firing
        verdict = watch.look(value, now)
        bad = missing is Missing.FIRE if value is None else value < (20.0 if before else 10.0)
        if value is None and missing is Missing.KEEP:
            assert (verdict is Verdict.FIRING) is before
            broken_since = broken_since if before else None
            continue
        broken_since = (now if broken_since is None else broken_since) if bad else None
        expected = broken_since is not None and (before or now - broken_since >= hold)
        assert (verdict is Verdict.FIRING) is expected


# The book


def test_the_same_is_one_alert_with_a_count() -> None:
    book = new_book()
    first = book.happened(occurrence(task="1"), 10.0)
    assert book.happened(occurrence(task="1", message="again"), 20.0) is first
    other = book.happened(occurrence(task="2"), 30.0)
    assert (first.count, first.last_at, first.started_at) == (2, 20.0, 10.0)
    assert first.message == "again"
    assert len(book) == 2
    taken = book.take()
    assert set(taken.new) == {first.id, other.id}
    assert [type(event) for event in taken.said] == [AlertRaised, AlertRaised]
    assert not book.take()


def test_what_is_over_and_comes_back_is_a_new_alert() -> None:
    book = new_book()
    first = book.happened(occurrence(), 1.0)
    book.resolve(first, 2.0)
    assert book.happened(occurrence(), 3.0) is not first
    with pytest.raises(IllegalMove, match="it is over"):
        book.resolve(first, 4.0)


def test_a_rule_has_so_many_live_alerts_and_counts_the_others_together() -> None:
    book = new_book(most=3)
    for number in range(10):
        book.happened(occurrence(task=str(number)), float(number))
    book.happened(occurrence("other", task="0"), 10.0)
    assert len(book) == 5
    others = book.find("r", OTHERS)
    assert others is not None
    assert (others.count, others.title) == (7, "Title, and others")
    book.resolve(others, 11.0)
    first = book.find("r", {"task": "0"})
    assert first is not None
    book.resolve(first, 11.0)
    assert book.happened(occurrence(task="new"), 12.0).labels == {"task": "new"}


def test_a_silence_keeps_quiet_what_fits_until_its_end() -> None:
    book = new_book()
    before = book.happened(occurrence(task="1"), 1.0)
    book.add_silence(silence(rule="r", labels={"task": "1"}), 2.0)
    assert (before.state, before.silence) == (AlertState.SILENCED, "s")
    assert book.happened(occurrence(task="2"), 3.0).state is AlertState.FIRING
    assert isinstance(book.take().said[-1], AlertRaised)
    assert book.review(99.0) == []
    assert book.review(100.0) == [before]
    assert before.state is AlertState.FIRING
    assert isinstance(book.take().said[-1], AlertRaised)


def test_an_alert_that_begins_in_a_silence_is_never_raised() -> None:
    book = new_book()
    book.add_silence(silence(severity=Severity.MEDIUM), 1.0)
    alert = book.happened(occurrence(), 2.0)
    book.resolve(alert, 3.0)
    assert [type(event) for event in book.take().said] == [AlertSilenced, AlertResolved]


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({"rule": "r"}, True),
        ({"rule": "x"}, False),
        ({"severity": Severity.MEDIUM}, True),
        ({"severity": Severity.LOW}, False),
        ({"labels": {"task": "1"}}, True),
        ({"labels": {"task": "2"}}, False),
        ({"labels": {"user": "ann"}}, False),
        ({"rule": "r", "labels": {"task": "2"}}, False),
    ],
)
def test_all_that_a_silence_names_has_to_fit(given: dict[str, object], fits: bool) -> None:
    alert = new_book().happened(occurrence(task="1"), 1.0)
    assert silence(**given).matches(alert, 5.0) is fits
    assert not silence(**given).matches(alert, 100.0)


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order, the book and what it says fit together."""

    def __init__(self) -> None:
        super().__init__()
        self.book = new_book(most=4)
        self.now = 0.0
        self.seen = 0
        self.counted = 0
        self.stored: dict[str, Alert] = {}

    @rule(name=st.sampled_from("xy"), label=st.integers(0, 6), passed=st.floats(0, 20))
    def happen(self, name: str, label: int, passed: float) -> None:
        self.now += passed
        self.book.happened(occurrence(name, task=str(label)), self.now)
        self.seen += 1

    @rule(number=st.integers(0, 9))
    def resolve(self, number: int) -> None:
        alive = list(self.book)
        if alive:
            self.book.resolve(alive[number % len(alive)], self.now)

    @rule(number=st.integers(0, 9))
    def acknowledge(self, number: int) -> None:
        alive = [a for a in self.book if a.state is not AlertState.ACKNOWLEDGED]
        if alive:
            self.book.acknowledge(alive[number % len(alive)], self.now, by="ann")

    @rule(name=st.sampled_from("xy"), lasting=st.floats(1, 50))
    def silence(self, name: str, lasting: float) -> None:
        made = Silence(name, self.now + lasting, "", "ann", self.now, rule=name)
        self.book.add_silence(made, self.now)

    @rule(passed=st.floats(0, 30))
    def review(self, passed: float) -> None:
        self.now += passed
        self.book.review(self.now)

    @rule(fails=st.booleans())
    def store(self, fails: bool) -> None:
        taken = self.book.take()
        if fails:
            self.book.give_back(taken)
        else:
            self.stored |= taken.new | taken.changed

    @invariant()
    def nothing_is_lost(self) -> None:
        waiting = self.book.take()
        self.book.give_back(waiting)
        known = {**self.stored, **waiting.new, **waiting.changed}
        assert sum(alert.count for alert in known.values()) == self.seen
        assert {alert.id for alert in self.book} == {
            alert.id for alert in known.values() if alert.state in LIVE
        }
        keys = [alert.key for alert in self.book]
        assert len(keys) == len(set(keys))
        assert all(sum(a.rule == name for a in self.book) <= 5 for name in "xy")


TestLife = Life.TestCase


# Foreign text


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("@everyone look", "@\u200beveryone look"),
        ("<!channel> <@U123> <b>bold</b>", "‹!channel› ‹@\u200bU123› ‹b›bold‹/b›"),
        ("[bank](http://evil)", "[bank]\u200b(http:/\u200b/evil)"),
        ("a\x1b[31mred\r\nb\x00c", "a [31mred b c"),
        ("gnp.\u202eexe", "gnp. exe"),
        ("```x```", "'''x'''"),
        ("[Group] A_Show - 01 [1080p].mkv", "[Group] A_Show - 01 [1080p].mkv"),
    ],
)
def test_foreign_text_does_not_act(text: str, harmless: str) -> None:
    assert plain(text, 100) == harmless


@given(st.text(), st.integers(10, 200))
def test_plain_text_is_short_on_one_line_and_stays_what_it_is(text: str, limit: int) -> None:
    line = plain(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert not {"<", ">", "`"} & set(line)
    assert "](" not in line
    assert all(c == "\u200b" or unicodedata.category(c)[0] != "C" for c in line)
    assert not re.search("@(?![\u200b…])", line)
    assert len(plain_lines(text, limit)) <= limit
    if len(line) < limit // 2:
        assert plain(line, limit) == line


def test_ten_kilobytes_of_a_name_are_cut() -> None:
    assert plain("x" * 10_000, 200) == "x" * 199 + "…"
    assert plain_labels({"user": "@here" + "x" * 10_000})["user"].startswith("@\u200bhere")

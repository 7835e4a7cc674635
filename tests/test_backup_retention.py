"""Which backups go."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from bot.operations.backup_retention import Candidate, Policy, surplus

DAY = 86400.0
counts = st.integers(0, 6)
policies = st.builds(Policy, st.integers(1, 6), counts, counts, counts)
backups = st.lists(
    st.builds(
        Candidate,
        st.uuids().map(str),
        st.floats(0, 4e9).map(round).map(float),
        st.sampled_from([True, False, None]),
    ),
    max_size=40,
    unique_by=lambda each: each.name,
)


@given(backups, policies)
def test_a_good_backup_always_stays(found: list[Candidate], policy: Policy) -> None:
    gone = set(surplus(found, policy))
    kept = [each for each in found if each.name not in gone]
    for fits in (
        lambda each: each.good is True,
        lambda each: each.good is not False,
    ):
        possible = [each for each in found if fits(each)]
        if possible:
            newest = max(possible, key=lambda each: (each.made_at, each.name))
            assert newest in kept
    assert gone <= {each.name for each in found}
    sound = sum(each.good is not False for each in kept)
    assert sound <= policy.last + policy.daily + policy.weekly + policy.monthly + 2


@given(backups, policies)
def test_what_stays_does_not_depend_on_order_and_stays_again(
    found: list[Candidate], policy: Policy
) -> None:
    gone = surplus(found, policy)
    assert surplus(list(reversed(found)), policy) == gone
    left = [each for each in found if each.name not in gone]
    assert surplus(left, policy) == []


@given(backups, policies)
def test_the_last_ones_and_the_newest_of_each_day_stay(
    found: list[Candidate], policy: Policy
) -> None:
    gone = set(surplus(found, policy))
    sound = sorted(
        (each for each in found if each.good is not False),
        key=lambda each: (each.made_at, each.name),
        reverse=True,
    )
    assert not gone & {each.name for each in sound[: policy.last]}
    newest: dict[object, str] = {}
    for each in sound:
        newest.setdefault(datetime.fromtimestamp(each.made_at, UTC).date(), each.name)
    assert not gone & set(list(newest.values())[: policy.daily])


def test_a_year_of_days() -> None:
    made = [Candidate(f"{day:03}", 1_700_000_000 + day * DAY, good=True) for day in range(365)]
    gone = surplus(made, Policy(last=3, daily=7, weekly=4, monthly=6))
    left = [int(each.name) for each in made if each.name not in gone]
    assert left[-7:] == list(range(358, 365))
    # Those days are of two weeks and one month: two more weeks, and five more months.
    assert len(left) == 7 + 2 + 5


def test_bad_ones_go_as_soon_as_a_good_one_is_there() -> None:
    bad = Candidate("bad", 3.0, good=False)
    assert surplus([bad], Policy(1)) == []
    assert surplus([bad, Candidate("unknown", 1.0)], Policy(1)) == []
    assert surplus([bad, Candidate("good", 1.0, good=True)], Policy(1)) == ["bad"]

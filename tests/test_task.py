"""The table of moves, identifiers, progress and failures."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ids import IdSource
from bot.domain.task import (
    ACTIVE,
    FINAL,
    MOVES,
    STATE_OF_STAGE,
    WAITING,
    Failure,
    FileEntry,
    Progress,
    Stage,
    StageKind,
    StageState,
    Task,
    TaskState,
)
from bot.errors import Corrupt, IllegalMove, NetworkFailed, TransferError

S = TaskState


def task(state: TaskState = S.QUEUED, **more: object) -> Task:
    """A task in that state."""
    given = {"id": "t1", "user": "me", "source": "http://a/b", "destination": "/d", **more}
    return msgspec.convert({**given, "created_at": 1.0, "state": state}, Task)


@pytest.mark.parametrize("before", S)
@pytest.mark.parametrize("after", S)
def test_every_move_is_in_the_table_or_an_error(before: TaskState, after: TaskState) -> None:
    moved = task(before, updated_at=1.0)
    if after in MOVES[before]:
        moved.move(after, at=5.0)
        assert (moved.state, moved.updated_at) == (after, 5.0)
        return
    with pytest.raises(IllegalMove) as caught:
        moved.move(after, at=5.0)
    assert (moved.state, moved.updated_at) == (before, 1.0)
    assert f"from {before} to {after}" in caught.value.message
    assert caught.value.details == {"task": "t1", "state": before}
    for allowed in MOVES[before]:
        assert allowed in str(caught.value)


def test_every_state_has_a_row_and_a_kind() -> None:
    assert set(MOVES) == set(S)
    still = {S.PAUSED, S.AWAITING_SELECTION}
    assert set(S) == FINAL | ACTIVE | WAITING | still
    assert len(FINAL) + len(ACTIVE) + len(WAITING) + len(still) == len(S)


def test_what_a_restart_and_a_user_may_do_is_possible_everywhere() -> None:
    for state in ACTIVE:
        assert MOVES[state] >= {S.QUEUED, S.FAILED, S.RETRYING, S.CANCELLED, S.PAUSED}
    for state in set(S) - FINAL:
        assert S.CANCELLED in MOVES[state]
    for state in WAITING:
        assert MOVES[state] >= {S.PAUSED, S.FAILED, *STATE_OF_STAGE.values()}


def test_final_states_end_everything_but_a_retry() -> None:
    assert MOVES[S.DONE] == frozenset()
    assert MOVES[S.FAILED] == MOVES[S.CANCELLED] == {S.QUEUED}


def test_done_is_reached_through_a_delivery_only() -> None:
    ways = {state for state in S if S.DONE in MOVES[state]}
    assert ways == {S.DELIVERING, S.VERIFYING, S.SEEDING}


@pytest.mark.parametrize("end", sorted(FINAL))
def test_the_end_is_stamped_and_a_retry_lifts_the_stamp(end: TaskState) -> None:
    moved = task(S.DELIVERING)
    moved.move(end, at=7.0)
    assert moved.finished_at == 7.0
    if end is not S.DONE:
        moved.move(S.QUEUED, at=8.0)
        assert moved.finished_at is None


def test_every_kind_of_stage_has_a_state() -> None:
    assert set(STATE_OF_STAGE) == set(StageKind)
    assert set(STATE_OF_STAGE.values()) < ACTIVE


def test_the_current_stage_is_the_first_that_is_not_done() -> None:
    stages = [Stage(StageKind.FETCH, "http"), Stage(StageKind.STEP, "zip")]
    assert task().current is None
    planned = task()
    planned.stages = stages
    assert planned.current is stages[0]
    stages[0].state = StageState.DONE
    stages[1].state = StageState.FAILED
    assert planned.current is stages[1]
    assert [stage.label for stage in stages] == ["fetch", "zip"]


def test_there_is_no_current_stage_when_all_are_done() -> None:
    planned = task()
    planned.stages = [Stage(StageKind.FETCH, "http", state=StageState.DONE)]
    assert planned.current is None


def test_stages_share_nothing() -> None:
    first, second = Stage(StageKind.FETCH, "http"), Stage(StageKind.FETCH, "http")
    first.params["a"] = 1
    first.result["b"] = 2
    first.files.append(FileEntry("x", 1))
    assert (second.params, second.result, second.files) == ({}, {}, [])


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(NetworkFailed("gone", hint="wait"), True), (Corrupt("bad"), False)],
)
def test_a_failure_keeps_what_the_doors_show(error: TransferError, *, retryable: bool) -> None:
    failure = Failure.of(error, stage="fetch", at=3.0, attempt=2)
    assert (failure.code, failure.message, failure.hint) == (error.code, error.message, error.hint)
    assert (failure.stage, failure.at, failure.attempt) == ("fetch", 3.0, 2)
    assert failure.retryable is retryable


def test_the_time_left_is_told_only_where_it_can_be() -> None:
    assert Progress(50, 100, 10.0).eta == 5.0
    assert Progress(150, 100, 10.0).eta == 0.0
    assert Progress(50, None, 10.0).eta is None
    assert Progress(50, 100, 0.0).eta is None


@given(st.sampled_from(S), st.integers(), st.none() | st.floats(0, 1e12))
def test_a_task_survives_being_stored(state: TaskState, priority: int, start: float | None) -> None:
    stage = Stage(StageKind.DELIVER, "local", token={"at": 5}, state=StageState.RUNNING)
    original = task(state, priority=priority % 100, start_at=start)
    original.stages = [stage]
    assert msgspec.json.decode(msgspec.json.encode(original), type=Task) == original


# Identifiers


def test_identifiers_are_different_and_sorted_as_they_were_made() -> None:
    make = IdSource()
    made = [make() for _ in range(20_000)]
    assert len(set(made)) == len(made)
    assert sorted(made) == made
    assert {len(each) for each in made} == {16}
    assert set("".join(made)) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_identifiers_go_on_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5_000_000_000, 5_000_000_000, 1_000_000_000, 5_001_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    make = IdSource()
    made = [make() for _ in range(4)]
    assert sorted(set(made)) == made


def test_identifiers_of_two_sources_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    first = IdSource()()
    monkeypatch.setattr(time, "time_ns", lambda: 2_000_000)
    second = IdSource()()
    assert first < second
    assert first[:9] == second[:9]  # 48 bits of time need ten characters, of which one differs


def test_identifiers_from_many_threads_are_different() -> None:
    make, found = IdSource(), [[] for _ in range(4)]  # type: tuple[IdSource, list[list[str]]]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend(make() for _ in range(2000)))
        for mine in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for mine in found for each in mine}) == 8000
    assert all(sorted(mine) == mine for mine in found)

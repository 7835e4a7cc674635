"""The store keeps what it was told, whole, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.task import Stage, StageKind, Task, TaskOptions, TaskState
from bot.errors import (
    Duplicate,
    InternalFailure,
    InvalidInput,
)
from bot.store import rows
from bot.store.repository import Store, open_store
from tests.storing import full_task, new_task, receipt


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.close()


# Every field


async def test_every_field_comes_back(store: Store, store_url: str) -> None:
    task = full_task()
    bare = new_task(2)
    for name in Task.__struct_fields__:
        assert getattr(task, name) != getattr(bare, name) or name in {"user", "destination"}, name
    stored = msgspec.structs.replace(task, receipt=None)
    await store.add([stored, bare])
    stored.receipt = task.receipt
    await store.save(stored)
    expected = msgspec.structs.replace(task, version=5)
    assert await store.get(task.id) == expected
    assert await store.get(bare.id) == bare
    assert await store.get("nothing") is None
    again = await open_store(store_url)
    assert await again.get(task.id) == expected
    await again.close()


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_TIME = st.floats(0, 1e11)


@given(
    st.builds(
        Task,
        id=_TEXT,
        user=_TEXT,
        source=_TEXT,
        destination=_TEXT,
        created_at=_TIME,
        state=st.sampled_from(TaskState),
        options=st.builds(
            TaskOptions, name=st.none() | _TEXT, headers=st.dictionaries(_TEXT, _TEXT)
        ),
        stages=st.lists(
            st.builds(
                Stage,
                st.sampled_from(StageKind),
                _TEXT,
                token=st.none() | st.dictionaries(_TEXT, st.integers(0, 2**62) | _TEXT),
            ),
            max_size=3,
        ),
        priority=st.integers(-(2**63), 2**63 - 1),
        size=st.none() | st.integers(0, 2**63 - 1),
        name=st.none() | _TEXT,
        engine=st.none() | _TEXT,
        key=st.none() | _TEXT,
        start_at=st.none() | _TIME,
        updated_at=_TIME,
    )
)
def test_a_row_gives_the_same_task_back(task: Task) -> None:
    row = rows.task_row(task, None) | {"receipt_task": None}
    assert rows.task_of(row) == task


# Adding


async def test_a_submission_is_stored_whole_or_not_at_all(store: Store) -> None:
    await store.add([new_task(1)])
    with pytest.raises(InternalFailure, match="id"):
        await store.add([new_task(2), new_task(1)])
    assert await store.get(new_task(2).id) is None
    await store.add([])


async def test_an_idempotency_key_counts_once_for_each_user(store: Store) -> None:
    first = [new_task(number, key="k") for number in (1, 2, 3)]
    await store.add(first)
    with pytest.raises(Duplicate) as caught:
        await store.add([new_task(4), new_task(5, key="k")])
    assert caught.value.details["task"] == first[0].id
    assert await store.get(new_task(4).id) is None
    await store.add([new_task(6, key="k", user="bob"), new_task(7, key="other")])
    assert await store.by_key("ann", "k") == first
    assert [task.id for task in await store.by_key("bob", "k")] == [new_task(6).id]
    assert await store.by_key("ann", "never") == []


async def test_of_two_submissions_with_one_key_at_once_one_wins(store: Store) -> None:
    done = await asyncio.gather(
        *(store.add([new_task(number, key="k")]) for number in range(5)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in done) == ["Duplicate"] * 4 + ["NoneType"]
    assert len(await store.by_key("ann", "k")) == 1


UNSTORABLE: list[dict[str, Any]] = [
    {"source": "https://example.org/\0"},
    {"destination": "/srv/\udcff"},
    {"name": "\0"},
    {"size": 2**63},
    {"priority": -(2**63) - 1},
    {"key": "k" * 256},
    {"user": "u" * 256},
    {"options": TaskOptions(engine_options={"x": object()})},
    {"options": TaskOptions(headers={"x": "\udcff"})},
]


async def test_what_no_database_can_hold_is_refused(store: Store) -> None:
    for wrong in UNSTORABLE:
        with pytest.raises(InvalidInput):
            await store.add([new_task(1), new_task(2, **wrong)])
        assert await store.get(new_task(1).id) is None


# Saving


async def test_a_save_stores_the_state_at_its_call(store: Store, store_url: str) -> None:
    task = new_task()
    await store.add([task])
    task.note = "before"
    saving = asyncio.ensure_future(store.save(task))
    await asyncio.sleep(0)
    task.note = "after"
    task.stages.append(Stage(StageKind.FETCH, "http"))
    await saving
    found = await store.get(task.id)
    assert found is not None
    assert (found.note, found.stages, found.version) == ("before", [], 1)


async def test_saves_of_many_tasks_and_many_saves_of_one(store: Store) -> None:
    everyone = [new_task(number) for number in range(50)]
    await store.add(everyone)

    async def several(task: Task) -> None:
        for step in range(4):
            task.state = list(TaskState)[step]
            task.name = f"name {step}"
            task.size = step
            await store.save(task)

    async def at_once(task: Task) -> None:
        saves = []
        for step in range(30):
            task.note = f"note {step}"
            saves.append(asyncio.ensure_future(store.save(task)))
            await asyncio.sleep(0)
        await asyncio.gather(*saves)

    await asyncio.gather(*map(several, everyone[1:]), at_once(everyone[0]))
    assert everyone[0].version == 30
    assert everyone[1].version == 4
    for task in everyone:
        assert await store.get(task.id) == task


async def test_a_lost_update_is_an_error_and_harms_nobody_else(store: Store) -> None:
    task, other, gone = new_task(1), new_task(2), new_task(3)
    await store.add([task, other])
    stale = await store.get(task.id)
    assert stale is not None
    task.note = "first"
    await store.save(task)
    stale.note = "second"
    other.note = "mine"
    done = await asyncio.gather(
        store.save(stale), store.save(other), store.save(gone), return_exceptions=True
    )
    assert isinstance(done[0], InternalFailure)
    assert "changed by another" in str(done[0])
    assert done[1] is None
    assert isinstance(done[2], InternalFailure)
    assert (await store.get(task.id)) == task
    assert (await store.get(other.id)) == other
    assert stale.version == 0, "a save that failed does not count"


@pytest.mark.parametrize("field", ["note", "priority", "name"])
async def test_two_processes_may_change_a_task_in_turns(
    store: Store, store_url: str, field: str
) -> None:
    """What one of them remembers of a row must not stand in the way of the other."""
    other = await open_store(store_url)
    value: dict[str, Any] = {"note": "a", "priority": 1, "name": "a"}
    task = new_task(state=TaskState.QUEUED)
    await store.add([task])
    for _ in range(2):
        setattr(task, field, value[field])
        await store.save(task)

    async def set_all(by: Store, priority: int, name: str | None, state: TaskState) -> Task:
        found = await by.get(task.id)
        assert found is not None
        found.priority, found.name, found.state = priority, name, state
        await by.save(found)
        return found

    await set_all(other, 7, "theirs", TaskState.RUNNING)
    with pytest.raises(InternalFailure, match="changed by another"):
        await store.save(task)
    for _ in range(2):
        mine = await set_all(store, task.priority, task.name, task.state)
        assert await other.get(task.id) == mine
        theirs = await set_all(other, 7, "theirs", TaskState.RUNNING)
        assert await store.get(task.id) == theirs
    await other.close()


async def test_two_holders_that_save_in_one_batch_do_not_both_win(store: Store) -> None:
    await store.add([new_task()])
    one, two = await store.get(new_task().id), await store.get(new_task().id)
    assert one is not None
    assert two is not None
    done = await asyncio.gather(store.save(one), store.save(two), return_exceptions=True)
    assert [type(result) for result in done] == [type(None), InternalFailure]


async def test_what_cannot_be_stored_fails_alone_and_can_be_mended(store: Store) -> None:
    task, other = new_task(1), new_task(2)
    await store.add([task, other])
    task.name = "from a peer \udcff"
    done = await asyncio.gather(store.save(task), store.save(other), return_exceptions=True)
    assert isinstance(done[0], InternalFailure)
    assert done[1] is None
    task.name = None
    task.created_at = task.updated_at = float("nan")
    task.receipt = receipt(path="/srv/\0")
    with pytest.raises(InternalFailure):
        await store.save(task)
    assert task.version == 0
    task.receipt, task.updated_at = None, 1.0
    task.note = "mended"
    await store.save(task)
    found = await store.get(task.id)
    assert found is not None
    assert found.note == "mended"


async def test_a_caller_that_is_cancelled_leaves_a_whole_save(store: Store) -> None:
    task = new_task()
    await store.add([task])
    task.note, task.name = "x" * 1000, "name"
    saving = asyncio.ensure_future(store.save(task))
    await asyncio.sleep(0)
    saving.cancel()
    await asyncio.wait([saving])
    assert saving.cancelled()
    await store.save(task)
    assert await store.get(task.id) == task


async def test_close_stores_what_waits_and_refuses_what_comes_after(store_url: str) -> None:
    store = await open_store(store_url)
    task = new_task()
    await store.add([task])
    task.note = "last"
    saving = asyncio.ensure_future(store.save(task))
    await asyncio.sleep(0)
    await store.close()
    await saving
    with pytest.raises(InternalFailure, match="closed"):
        await store.save(task)
    again = await open_store(store_url)
    assert await again.get(task.id) == task
    await again.close()


# Forgetting, counting


async def test_only_finished_tasks_are_deleted(store: Store) -> None:
    finished = [new_task(number, state=TaskState.DONE) for number in range(1200)]
    running = [new_task(number, state=TaskState.RUNNING) for number in range(2000, 2003)]
    await store.add([*finished, *running])
    ids = [task.id for task in (*finished, *running)]
    assert await store.delete([*ids, "nothing"]) == 1200
    assert await store.delete(ids) == 0
    assert await store.delete([]) == 0
    assert [task.id for task in await store.unfinished()] == [task.id for task in running]


async def test_counts_of_every_state_of_one_user_and_of_all(store: Store) -> None:
    await store.add(
        [
            new_task(number, user="ann" if number < 4 else "bob", state=state)
            for number, state in enumerate(
                [TaskState.DONE] * 3 + [TaskState.QUEUED] * 2 + [TaskState.FAILED]
            )
        ]
    )
    every = await store.count()
    assert set(every) == set(TaskState)
    assert {state: n for state, n in every.items() if n} == {
        TaskState.DONE: 3,
        TaskState.QUEUED: 2,
        TaskState.FAILED: 1,
    }
    assert {state: n for state, n in (await store.count("ann")).items() if n} == {
        TaskState.DONE: 3,
        TaskState.QUEUED: 1,
    }
    assert sum((await store.count("nobody")).values()) == 0


async def test_unfinished_tasks_come_oldest_first(store: Store) -> None:
    states = list(TaskState)
    made = [
        new_task(number, state=state, created_at=1000.0 - number)
        for number, state in enumerate(states)
    ]
    await store.add(made)
    final = {TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED}
    assert await store.unfinished() == [task for task in made[::-1] if task.state not in final]

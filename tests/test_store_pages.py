"""Pages of tasks: every filter, order and direction, compared with the same done by hand."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
import sqlalchemy as sa

from bot.domain.ports import TaskQuery
from bot.domain.task import Task, TaskState
from bot.errors import InternalFailure, InvalidInput
from bot.store.repository import Store, open_store
from bot.store.schema import tasks
from tests.storing import new_task

SORTS = ("created", "updated", "size", "name", "priority")


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.close()


def some_tasks(count: int) -> list[Task]:
    """Tasks with many equal values, so that the order among equals is seen."""
    chance = random.Random(7)
    names = ("Beta.bin", "alpha.bin", "ähnlich.bin", "Zulu_100%.bin", "文件.bin", None)
    return [
        new_task(
            number,
            user=chance.choice(["ann", "bob"]),
            state=chance.choice(list(TaskState)),
            engine=chance.choice(["http", "torrent", None]),
            name=chance.choice(names),
            size=chance.choice([None, 0, 5, 10**12]),
            priority=chance.choice([-1, 0, 3]),
            created_at=1000.0 + chance.randrange(10) / 4,
            updated_at=2000.0 + chance.randrange(5) / 3,
        )
        for number in range(count)
    ]


def by_hand(everyone: list[Task], query: TaskQuery) -> list[str]:
    """The ids that all pages of ``query`` have together."""

    def fits(task: Task) -> bool:
        text = f"{task.name or ''}\n{task.source}".casefold()
        return (
            (not query.states or task.state in query.states)
            and query.engine in {None, task.engine}
            and query.user in {None, task.user}
            and (query.text is None or query.text.casefold() in text)
            and (query.since is None or task.created_at >= query.since)
            and (query.until is None or task.created_at < query.until)
        )

    keys = {
        "created": lambda task: task.created_at,
        "updated": lambda task: task.updated_at,
        "size": lambda task: -1 if task.size is None else task.size,
        "name": lambda task: (task.name or "").casefold(),
        "priority": lambda task: task.priority,
    }
    numbered = [(keys[query.sort](task), place, task) for place, task in enumerate(everyone)]
    numbered.sort(key=lambda entry: entry[:2], reverse=query.descending)
    return [task.id for _, _, task in numbered if fits(task)]


async def all_pages(store: Store, query: TaskQuery) -> list[str]:
    """The ids of the pages of ``query``, one page after the other."""
    found: list[str] = []
    for _ in range(1000):
        page = await store.page(query)
        assert len(page.items) <= query.limit
        found += [task.id for task in page.items]
        if page.cursor is None:
            return found
        assert len(page.items) == query.limit, "only the last page is short"
        query = msgspec.structs.replace(query, cursor=page.cursor)
    raise AssertionError("the pages do not end")


FILTERS: list[dict[str, object]] = [
    {},
    {"states": (TaskState.DONE,)},
    {"states": (TaskState.RUNNING, TaskState.QUEUED)},
    {"states": (TaskState.RUNNING, TaskState.FAILED), "user": "ann"},
    {"engine": "torrent", "user": "bob"},
    {"user": "nobody"},
    {"since": 1000.5, "until": 1001.5},
    {"text": "BETA"},
    {"text": "ÄHN"},
    {"text": "文"},
    {"text": "文件"},
    {"text": "0%"},
    {"text": "_1"},
    {"text": "_"},
    {"text": "a_b"},
    {"text": "files/1"},
    {"text": "7.bin"},
    {"text": ".BIN", "states": (TaskState.DONE, TaskState.QUEUED), "since": 1000.25},
    {"text": '"'},
    {"text": "\\"},
    {"text": "' OR 1=1 --"},
    {"text": '" AND "'},
    {"text": "example.org/files/ and much more than there is in any of the names" * 4},
]


async def test_pages_are_what_one_would_pick_by_hand(store: Store) -> None:
    everyone = some_tasks(60)
    await store.add(everyone)
    for wanted, sort, descending in itertools.product(FILTERS, SORTS, (True, False)):
        query = msgspec.convert(
            {**wanted, "sort": sort, "descending": descending, "limit": 9}, TaskQuery
        )
        assert await all_pages(store, query) == by_hand(everyone, query), query


async def test_items_of_a_page_are_whole_tasks(store: Store) -> None:
    everyone = some_tasks(5)
    await store.add(everyone)
    page = await store.page(TaskQuery(descending=False, sort="created"))
    assert sorted(page.items, key=lambda task: task.id) == everyone
    assert page.cursor is None


async def test_a_task_in_memory_is_taken_from_there_without_its_row(store: Store) -> None:
    everyone = [new_task(number) for number in range(6)]
    await store.add(everyone)
    held = {task.id: task for task in everyone[1:5:2]}
    # What can't be decoded shows that it was not.
    spoilt = sa.update(tasks).where(tasks.c.id.in_(list(held))).values(body="?")
    assert await store.database.write(spoilt) == 2
    query, found = TaskQuery(limit=4, descending=False), []
    while True:
        page = await store.page(query, held.get)
        found += page.items
        if page.cursor is None:
            break
        query = msgspec.structs.replace(query, cursor=page.cursor)
    assert found == everyone
    assert all(task is held.get(task.id, task) for task in found)
    with pytest.raises(InternalFailure, match="can't be read"):
        await store.page(TaskQuery())


async def test_pages_go_on_where_they_were_while_tasks_come_and_go(store: Store) -> None:
    everyone = [new_task(number, state=TaskState.DONE) for number in range(30)]
    await store.add(everyone)
    first = await store.page(TaskQuery(limit=10))
    assert [task.id for task in first.items] == [task.id for task in everyone[:19:-1]]
    await store.add([new_task(number) for number in range(100, 120)])
    await store.delete([first.items[-1].id, everyone[19].id])
    second = await store.page(TaskQuery(limit=10, cursor=first.cursor))
    assert [task.id for task in second.items] == [task.id for task in everyone[18:8:-1]]


async def test_a_text_is_found_under_its_new_name_alone(store: Store) -> None:
    task, other = new_task(1, name="before.iso"), new_task(2, name="other.iso")
    await store.add([task, other])
    await store.save(task)
    task.name = "Danach.iso"
    await store.save(task)
    task.note = "a save that changes nothing of it"
    await store.save(task)

    async def found(text: str) -> list[str]:
        return await all_pages(store, TaskQuery(text=text))

    assert await found("before") == []
    assert await found("danach") == [task.id]
    assert await found(".iso") == [other.id, task.id]
    task.state = TaskState.DONE
    await store.save(task)
    await store.delete([task.id])
    assert await found("danach") == []
    assert await found(".iso") == [other.id]


async def test_saved_changes_show_in_filters_and_orders(store: Store) -> None:
    everyone = [new_task(number) for number in range(5)]
    await store.add(everyone)
    for number, task in enumerate(everyone):
        task.state = TaskState.RUNNING
        task.engine = "http"
        task.size = 100 - number
        task.priority = number % 2
        task.updated_at = 50.0 - number
        await store.save(task)
    for task in everyone[:2]:
        task.state = TaskState.DONE
        await store.save(task)
    for wanted in ({"states": (TaskState.DONE,)}, {"engine": "http"}, {"engine": "torrent"}):
        for sort in SORTS:
            query = msgspec.convert({**wanted, "sort": sort, "limit": 2}, TaskQuery)
            assert await all_pages(store, query) == by_hand(everyone, query), query


def cursor_of(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


WRONG: list[dict[str, object]] = [
    {"sort": "body"},
    {"sort": "created; DROP TABLE tasks"},
    {"limit": 0},
    {"limit": -1},
    {"limit": 501},
    {"text": "x" * 501},
    {"text": "a\0b"},
    {"text": "\udcff"},
    {"user": "\udcff"},
    {"engine": "\0"},
    {"cursor": ""},
    {"cursor": "x"},
    {"cursor": "!!!!"},
    {"cursor": "é"},
    {"cursor": "\udcff"},
    {"cursor": "A" * 100_000},
    {"cursor": cursor_of("text")},
    {"cursor": cursor_of(["created", True, 1.0])},
    {"cursor": cursor_of(["created", True, 1.0, 2, 3])},
    {"cursor": cursor_of(["created", False, 1.0, 2])},
    {"cursor": cursor_of(["size", True, 1, 2])},
    {"cursor": cursor_of(["created", True, "1", 2])},
    {"cursor": cursor_of(["created", True, None, 2])},
    {"cursor": cursor_of(["created", True, 1.0, 2**63])},
    {"cursor": cursor_of(["created", True, 1.0, 1.5])},
    {"sort": "size", "cursor": cursor_of(["size", True, 2**63, 2])},
    {"sort": "size", "cursor": cursor_of(["size", True, 1.5, 2])},
    {"sort": "name", "cursor": cursor_of(["name", True, 5, 2])},
    {"sort": "name", "cursor": cursor_of(["name", True, "\0", 2])},
]


async def test_a_query_that_cannot_be_is_refused(store: Store) -> None:
    await store.add([new_task()])
    for wrong in WRONG:
        with pytest.raises(InvalidInput) as caught:
            await store.page(TaskQuery(**wrong))  # type: ignore[arg-type]
        assert len(str(caught.value)) < 500


async def test_a_made_up_place_is_a_place(store: Store) -> None:
    everyone = some_tasks(10)
    await store.add(everyone)
    assert (await store.page(TaskQuery(cursor=cursor_of(["created", True, -1e300, 1])))).items == []
    page = await store.page(TaskQuery(cursor=cursor_of(["created", True, 1e300, 1])))
    assert len(page.items) == 10

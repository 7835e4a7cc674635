"""Group commit: what is saved during a transaction goes into the next one together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bot.errors import InternalFailure, MltbError, NoSpace
from bot.store.journal import Journal
from bot.store.rows import Change, change_of
from tests.storing import new_task, receipt


class Commits:
    """Takes batches; holds each back until it is let through, or fails it."""

    def __init__(self) -> None:
        self.batches: list[list[Change]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.refused: dict[str, MltbError] = {}

    async def __call__(self, changes: Sequence[Change]) -> None:
        self.batches.append(list(changes))
        self.begun.set()
        await self.go.wait()
        for change in changes:
            if change.id in self.refused:
                raise self.refused[change.id]


def change(number: int, version: int = 1, **fields: object) -> Change:
    return change_of(new_task(number, version=version, **fields))


def put(journal: Journal, *changes: Change) -> list[asyncio.Future[None]]:
    return [asyncio.ensure_future(journal.put(entry)) for entry in changes]


async def test_a_thousand_saves_at_once_are_two_transactions() -> None:
    commits = Commits()
    journal = Journal(commits)
    first = put(journal, change(0))
    await commits.begun.wait()
    rest = put(journal, *(change(number) for number in range(1, 1000)))
    await asyncio.sleep(0)
    commits.go.set()
    await asyncio.gather(*first, *rest)
    assert [len(batch) for batch in commits.batches] == [1, 999]


async def test_the_newest_of_each_task_goes_and_all_its_savers_are_told() -> None:
    commits = Commits()
    journal = Journal(commits)
    first = put(journal, change(0))
    await commits.begun.wait()
    saves = put(
        journal,
        change(1, 1, receipt=receipt(1)),
        change(2, 1),
        change(1, 2),
        change(1, 3, note="last"),
    )
    await asyncio.sleep(0)
    commits.go.set()
    await asyncio.gather(*first, *saves)
    assert [(entry.id, entry.version) for entry in commits.batches[1]] == [
        (new_task(1).id, 3),
        (new_task(2).id, 1),
    ]
    assert commits.batches[1][0].receipt is not None, "nobody may lose a receipt on the way"


async def test_an_older_version_is_refused_at_once() -> None:
    commits = Commits()
    journal = Journal(commits)
    first = put(journal, change(1, 5))
    await asyncio.sleep(0)
    second = put(journal, change(2, 5))
    await asyncio.sleep(0)
    with pytest.raises(InternalFailure, match="changed by another"):
        await journal.put(change(2, 5))
    commits.go.set()
    await asyncio.gather(*first, *second)


async def test_the_guilty_change_fails_alone() -> None:
    commits = Commits()
    commits.go.set()
    commits.refused[new_task(3).id] = InternalFailure("no such task")
    journal = Journal(commits)
    done = await asyncio.gather(
        *put(journal, *(change(number) for number in range(6))), return_exceptions=True
    )
    assert [type(result) for result in done] == [
        InternalFailure if number == 3 else type(None) for number in range(6)
    ]


async def test_a_fault_of_the_database_fails_those_who_wait_for_it_and_no_others() -> None:
    commits = Commits()
    commits.refused[new_task(1).id] = NoSpace("full")
    journal = Journal(commits)
    first = put(journal, change(1), change(2))
    await commits.begun.wait()
    second = put(journal, change(3))
    await asyncio.sleep(0)
    commits.go.set()
    done = await asyncio.gather(*first, *second, return_exceptions=True)
    assert [type(result) for result in done] == [NoSpace, NoSpace, type(None)]
    commits.refused.clear()
    await journal.put(change(1, 2))
    assert len(commits.batches) == 3


async def test_cancelling_a_saver_does_not_stop_the_save() -> None:
    commits = Commits()
    journal = Journal(commits)
    one, two = put(journal, change(1), change(2))
    await commits.begun.wait()
    one.cancel()
    await asyncio.wait([one])
    commits.go.set()
    await two
    assert len(commits.batches) == 1
    assert one.cancelled()


async def test_a_fault_of_the_program_leaves_nobody_waiting() -> None:
    async def broken(_changes: Sequence[Change]) -> None:
        raise ZeroDivisionError

    journal = Journal(broken)
    for _ in range(2):
        with pytest.raises(InternalFailure, match="before a change was stored"):
            await journal.put(change(1))
        assert journal._drain is not None
        await asyncio.wait([journal._drain])
        with pytest.raises(ZeroDivisionError):
            journal._drain.result()


async def test_close_waits_for_what_was_put() -> None:
    commits = Commits()
    commits.go.set()
    journal = Journal(commits)
    saves = put(journal, change(1), change(2))
    await asyncio.sleep(0)
    await journal.close()
    assert all(save.done() or not commits.batches[1:] for save in saves)
    await asyncio.gather(*saves)
    with pytest.raises(InternalFailure, match="closed"):
        await journal.put(change(3))
    await Journal(commits).close()

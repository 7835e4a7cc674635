"""Receipts, which outlive their tasks, and tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from bot.domain.ports import Token
from bot.domain.task import TaskState
from bot.errors import Duplicate
from bot.store.repository import Store, open_store
from tests.storing import new_task, receipt


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.close()


async def test_a_receipt_outlives_its_task(store: Store) -> None:
    task = new_task(state=TaskState.RUNNING)
    await store.add([task])
    task.receipt = receipt(size=10)
    await store.save(task)
    task.receipt = receipt(size=20)
    task.state = TaskState.DONE
    await store.save(task)
    assert await store.get(task.id) == task
    assert await store.receipts(task.source, 10) == [task.receipt]
    assert await store.delete([task.id]) == 1
    assert await store.get(task.id) is None
    assert await store.receipts(task.source, 10) == [task.receipt]
    assert await store.usage("ann", 0) == 20


async def test_receipts_by_source_and_usage_by_user(store: Store) -> None:
    source = "magnet:?xt=urn:btih:" + "a" * 5000
    for number in range(6):
        task = new_task(number, user="ann" if number % 2 else "bob")
        await store.add([task])
        task.receipt = receipt(
            number,
            source=source if number < 4 else "b",
            size=10**number,
            finished_at=100.0 + number,
        )
        await store.save(task)
    found = await store.receipts(source, 3)
    assert [entry.size for entry in found] == [1000, 100, 10]
    assert [entry.size for entry in await store.receipts(None, 2)] == [100_000, 10_000]
    assert await store.receipts("a", 5) == []
    assert await store.usage("ann", 103.0) == 101_000
    assert await store.usage("ann", 0) == 101_010
    assert await store.usage("nobody", 0) == 0


async def test_tokens(store: Store) -> None:
    first = Token("a", "laptop", "admin", "ann", 5.0)
    second = Token("b", "phone", "view", "bob", 4.0, expires_at=9.0)
    await store.add_token(first, b"\x00" * 32)
    await store.add_token(second, b"\xff" * 32)
    assert await store.find_token(b"\x00" * 32) == first
    assert await store.find_token(b"\x01" * 32) is None
    with pytest.raises(Duplicate):
        await store.add_token(msgspec.structs.replace(first, id="c"), b"\x00" * 32)
    await store.touch_token("a", 77.5)
    assert await store.list_tokens() == [second, msgspec.structs.replace(first, last_used_at=77.5)]
    assert await store.delete_token("a")
    assert not await store.delete_token("a")
    assert await store.find_token(b"\x00" * 32) is None

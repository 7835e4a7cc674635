"""The hub hands every event to all who listen, in order; who lags loses the oldest and knows."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bot.domain import events
from bot.domain.events import Event, EventHub, TaskMoved, TaskRemoved
from bot.domain.task import TaskState


def removed(number: int) -> TaskRemoved:
    """An event that can be told from others."""
    return TaskRemoved(float(number), f"t{number}", "me")


def test_listeners_hear_every_event_in_order_until_they_end() -> None:
    hub, first, second = EventHub(), list[Event](), list[Event]()
    end_first = hub.listen(first.append)
    hub.publish(removed(1))
    hub.listen(second.append)
    hub.publish(removed(2))
    end_first()
    hub.publish(removed(3))
    assert first == [removed(1), removed(2)]
    assert second == [removed(2), removed(3)]


def test_a_listener_may_end_itself_while_it_is_called() -> None:
    hub, heard = EventHub(), list[Event]()

    def once(event: Event) -> None:
        heard.append(event)
        end()

    end = hub.listen(once)
    hub.listen(heard.append)
    hub.publish(removed(1))
    hub.publish(removed(2))
    assert heard == [removed(1), removed(1), removed(2)]


async def test_a_subscription_has_what_happened_since_it_was_entered() -> None:
    hub = EventHub()
    subscription = hub.subscribe()
    hub.publish(removed(1))
    with subscription:
        hub.publish(removed(2))
        hub.publish(removed(3))
        assert await anext(subscription) == removed(2)
        assert await anext(subscription) == removed(3)
    hub.publish(removed(4))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(subscription)


async def test_a_subscriber_waits_for_the_next_event() -> None:
    hub = EventHub()
    with hub.subscribe() as subscription:
        for number in range(3):
            waiting = asyncio.ensure_future(anext(subscription))
            await asyncio.sleep(0)
            assert not waiting.done()
            hub.publish(removed(number))
            assert await waiting == removed(number)


async def test_a_subscriber_that_lags_loses_the_oldest_and_knows_how_many() -> None:
    hub = EventHub(buffer=3)
    with hub.subscribe() as slow, hub.subscribe() as quick:
        for number in range(5):
            hub.publish(removed(number))
            assert await anext(quick) == removed(number)
        assert (slow.lost, quick.lost) == (2, 0)
        assert [await anext(slow) for _ in range(3)] == [removed(2), removed(3), removed(4)]
        hub.publish(removed(5))
        assert await anext(slow) == removed(5)
        assert slow.lost == 2


def test_every_event_has_a_kind_of_its_own_and_survives_the_wire() -> None:
    kinds = [
        kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)
    ]
    kinds = [kind for kind in kinds if kind not in {Event, events.TaskEvent}]
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(tags) == len(set(tags)) >= 8
    assert all(isinstance(tag, str) and "." in tag for tag in tags)
    moved = TaskMoved(1.5, "t1", "me", TaskState.QUEUED, TaskState.RUNNING)
    wire = msgspec.json.decode(msgspec.json.encode(moved))
    assert wire == {
        "kind": "task.moved",
        "at": 1.5,
        "task": "t1",
        "user": "me",
        "before": "queued",
        "after": "running",
    }
    assert msgspec.convert(wire, TaskMoved) == moved


def test_events_can_not_be_changed_by_who_hears_them() -> None:
    with pytest.raises(AttributeError):
        removed(1).task = "other"  # type: ignore[misc]

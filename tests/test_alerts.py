"""Alerts at work: from events and readings over the store to the channels, and over restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.domain import events
from bot.domain.alert_book import MAX_PER_RULE
from bot.domain.alert_rules import EventRule
from bot.domain.alerts import Alert, AlertState, Severity
from bot.domain.task import TaskState
from bot.errors import Forbidden, IllegalMove, InvalidInput, NotFound, Unavailable
from bot.operations.alert_channels import Route
from bot.services import OWNER, Caller, Scope
from bot.store.alerts import AlertQuery
from tests.alerting import RULES, Memory, Rig, alerting, settled
from tests.rig import ManualClock

VIEWER = Caller("eve", Scope.VIEW)


async def alerts_of(rig: Rig, **query: object) -> list[Alert]:
    """Those in the store, the newest first."""
    found, _ = await rig.table.page(AlertQuery(**query))  # type: ignore[arg-type]
    return found


async def test_one_failure_is_one_alert_and_one_message(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel, names={"t1": "film.mkv"}) as it:
        it.fail("t1")
        await it.pass_time(4)
        assert channel.tries == 0
        await it.pass_time(2)
        await it.until(lambda: len(channel.told) == 1)
        assert channel.texts == [
            "[medium] Task failed\n- film.mkv: failed in fetch (try 1): no route [network]"
        ]
        (alert,) = await alerts_of(it)
        assert (alert.state, alert.announced, alert.count) == (AlertState.FIRING, True, 1)
        raised = [event for event in it.said if isinstance(event, events.AlertRaised)]
        assert [(event.alert, event.severity) for event in raised] == [(alert.id, "medium")]
        assert raised[0].message == alert.message
        assert it.alerts.firing() == 1.0


async def test_a_task_that_is_tried_again_is_no_alert_any_more(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        it.fail("t1")
        await it.pass_time(6)
        await it.until(lambda: len(channel.told) == 1)
        it.hub.publish(
            events.TaskMoved(it.clock.now(), "t1", "ann", TaskState.FAILED, TaskState.QUEUED)
        )
        await it.pass_time(20)
        (alert,) = await alerts_of(it)
        assert (alert.state, alert.resolved_by) == (AlertState.RESOLVED, "")
        assert len(channel.told) == 1  # Nobody wants a message for each retry.
        it.fail("t1")
        await it.pass_time(61)
        await it.until(lambda: len(channel.told) == 2)


async def test_many_failures_of_one_moment_are_one_message(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        for number in range(30):
            it.fail(f"t{number}")
        await it.pass_time(6)
        await it.until(lambda: len(channel.told) == 1)
        text = channel.texts[0]
        assert text.startswith("[medium] Task failed (30)\n")
        assert text.endswith("\nand 25 more")
        assert text.count("failed in fetch") == 5
        assert len(channel.told[0].alerts) == 30


async def test_one_rule_is_told_once_in_a_while(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        for number in range(100):
            it.fail(f"t{number}")
            await it.pass_time(1)
        await it.until(lambda: len(channel.told) == 2)
        await it.pass_time(40)
        await it.until(lambda: len(channel.told) == 3)
        assert sum(len(each.alerts) for each in channel.told) == 100


async def test_a_storm_is_a_few_alerts_a_few_writes_and_one_message(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        for number in range(5000):
            it.fail(f"t{number}", "x" * 10_000)
            it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.pass_time(6)
        await it.until(lambda: len(channel.told) == 2)
        assert len(it.alerts.book) == MAX_PER_RULE + 2
        (crashed,) = await alerts_of(it, rule="plugin_crashed")
        await it.alerts.look()
        (crashed,) = await alerts_of(it, rule="plugin_crashed")
        assert crashed.count == 5000
        found = await alerts_of(it, rule="task_failed", limit=500)
        assert found[0].labels == {"others": "yes"}
        assert found[0].count == 5000 - MAX_PER_RULE
        assert all(len(each.body) < 4096 for each in channel.told)


async def test_a_reading_fires_when_it_has_lasted_and_its_end_is_told(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        it.readings["heat"] = 95.0
        await it.pass_time(20)
        assert channel.tries == 0
        summary = await it.service.summary(OWNER)
        assert (summary.pending, summary.by_state["pending"]) == (["hot"], 1)
        await it.pass_time(10)
        await it.until(lambda: len(channel.told) == 1)
        assert channel.texts == ["[critical] Too hot\n- heat is 95, above 90 for 20 s"]
        it.readings["heat"] = 85.0
        await it.pass_time(20)
        assert (await alerts_of(it))[0].state is AlertState.FIRING
        it.readings["heat"] = 80.0
        await it.pass_time(10)
        await it.until(lambda: len(channel.told) == 2)
        assert channel.told[1].title == "[critical] Over: Too hot"
        assert channel.told[1].kind == "resolved"
        assert (await alerts_of(it))[0].state is AlertState.RESOLVED


async def test_a_clock_that_jumps_makes_no_alert_and_loses_none(tmp_path: Path) -> None:
    class Jumping(ManualClock):
        offset = 0.0

        def now(self) -> float:
            return super().now() + self.offset

    clock, channel = Jumping(), Memory(down="down")
    async with alerting(tmp_path, channel, clock=clock) as it:
        it.readings["heat"] = 95.0
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.pass_time(10)
        clock.offset = 365 * 86400.0
        await it.pass_time(10)
        assert [each.rule for each in it.alerts.book] == ["plugin_crashed"]
        assert not await it.table.deliveries(None, "failed", 10)
        clock.offset = -365 * 86400.0
        await it.pass_time(10)
        assert {each.rule for each in it.alerts.book} == {"plugin_crashed", "hot"}
        channel.down = None
        await it.pass_time(60)
        await it.until(lambda: len(channel.told) == 2)
        it.readings["heat"] = 5.0
        await it.pass_time(590)
        assert not list(it.alerts.book)


# Restarts


async def test_what_fires_still_does_after_a_restart_and_is_not_told_again(tmp_path: Path) -> None:
    channel, clock = Memory(), ManualClock()
    async with alerting(tmp_path, channel, clock=clock) as it:
        it.fail("t1")
        it.readings["heat"] = 95.0
        await it.pass_time(40)
        await it.until(lambda: len(channel.told) == 2)
    async with alerting(tmp_path, channel, clock=clock) as it:
        it.readings["heat"] = 95.0
        assert {each.rule for each in it.alerts.book} == {"task_failed", "hot"}
        it.fail("t1")
        await it.pass_time(100)
        assert len(channel.told) == 2
        failed = it.alerts.book.find("task_failed", {"task": "t1", "user": "ann"})
        assert failed is not None
        assert failed.count == 2
        it.readings["heat"] = 1.0
        await it.pass_time(10)
        await it.until(lambda: len(channel.told) == 3)
        assert channel.told[2].kind == "resolved"


async def test_what_was_not_told_before_a_restart_is_told_after_it(tmp_path: Path) -> None:
    channel, clock = Memory(down="down"), ManualClock()
    async with alerting(tmp_path, channel, clock=clock) as it:
        it.fail("t1")
        await it.pass_time(8)
        await it.until(lambda: channel.tries >= 1)  # stored for the channel, and not delivered
        await settled(it)
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.alerts.flush()  # stored, and not yet handed over
    assert not channel.told
    channel.down = None
    async with alerting(tmp_path, channel, clock=clock) as it:
        await it.until(lambda: len(channel.told) == 1)
        await it.pass_time(6)
        await it.until(lambda: len(channel.told) == 2)
        assert [each.rules for each in channel.told] == [("task_failed",), ("plugin_crashed",)]
        await it.until_counts("memory", delivered=2)
        done = await it.table.deliveries(None, "delivered", 10)
        assert min(each.attempts for each in done) == 1 < max(each.attempts for each in done)
    async with alerting(tmp_path, channel, clock=clock) as it:
        await it.pass_time(100)
        assert len(channel.told) == 2


async def test_alerts_of_a_rule_that_is_gone_end_at_the_start(tmp_path: Path) -> None:
    async with alerting(tmp_path) as it:
        it.fail("t1")
        await it.service.trigger(OWNER, "By hand", "", Severity.LOW, {})
        await it.alerts.flush()
    async with alerting(tmp_path, rules=RULES[1:]) as it:
        await it.alerts.flush()
        assert [each.rule for each in it.alerts.book] == ["manual"]
        (alert,) = await alerts_of(it, rule="task_failed")
        assert alert.resolved_by == "configuration"


async def test_alerts_of_events_end_by_themselves_also_over_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with alerting(tmp_path, clock=clock) as it:
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.pass_time(300, step=10)
    async with alerting(tmp_path, clock=clock) as it:
        await it.pass_time(290, step=10)
        assert len(it.alerts.book) == 1
        await it.pass_time(20, step=10)
        assert len(it.alerts.book) == 0
        assert (await alerts_of(it))[0].resolved_by == ""


async def test_old_alerts_are_forgotten(tmp_path: Path) -> None:
    clock, channel = ManualClock(), Memory()
    async with alerting(tmp_path, channel, clock=clock) as it:
        it.fail("t1")
        it.fail("t2")
        await it.pass_time(6)
        await it.until(lambda: len(channel.told) == 1)
        alert = it.alerts.book.find("task_failed", {"task": "t1", "user": "ann"})
        assert alert is not None
        await it.service.resolve(OWNER, alert.id, None)
        await settled(it)
    clock.advance(86400 * 2)
    async with alerting(tmp_path, channel, clock=clock) as it:

        async def forgotten() -> bool:
            left = [each.labels["task"] for each in await alerts_of(it)]
            return left == ["t2"] and not await it.table.effort()

        await it.until(forgotten)


# What callers do


async def test_acknowledged_is_told_no_more(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        it.fail("t1")
        await it.alerts.flush()
        (alert,) = await alerts_of(it)
        done = await it.service.acknowledge(OWNER, alert.id, "I look")
        assert (done.state, done.acknowledged_by, done.note) == (
            AlertState.ACKNOWLEDGED,
            "admin",
            "I look",
        )
        assert (await alerts_of(it))[0].state is AlertState.ACKNOWLEDGED
        assert isinstance(it.said[-1], events.AlertAcknowledged)
        it.fail("t1")
        await it.pass_time(70)
        assert channel.tries == 0
        with pytest.raises(IllegalMove):
            await it.service.acknowledge(OWNER, alert.id, None)
        await it.service.resolve(OWNER, alert.id, "mended")
        stored = await it.service.show(VIEWER, alert.id)
        assert (stored.state, stored.resolved_by, stored.note, stored.count) == (
            AlertState.RESOLVED,
            "admin",
            "mended",
            2,
        )
        with pytest.raises(IllegalMove, match="resolved"):
            await it.service.resolve(OWNER, alert.id, None)
        with pytest.raises(NotFound):
            await it.service.resolve(OWNER, "nothing", None)


async def test_a_silence_holds_over_a_restart_and_what_it_kept_is_told_after_it(
    tmp_path: Path,
) -> None:
    clock, channel = ManualClock(), Memory()
    async with alerting(tmp_path, channel, clock=clock) as it:
        made = await it.service.silence(
            OWNER, until=None, seconds=100, reason="works", rule="task_failed"
        )
        assert await it.service.silences(VIEWER) == [made]
        it.fail("t1")
        await it.pass_time(10)
        (alert,) = await alerts_of(it)
        assert (alert.state, alert.silence) == (AlertState.SILENCED, made.id)
    async with alerting(tmp_path, channel, clock=clock) as it:
        await it.pass_time(80)
        assert channel.tries == 0
        await it.pass_time(20)
        await it.until(lambda: len(channel.told) == 1)
        assert await it.service.silences(VIEWER) == []


async def test_a_silence_that_is_taken_back_ends_at_once(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        made = await it.service.silence(
            OWNER, until=it.clock.now() + 9999, seconds=None, reason="works", labels={"user": "ann"}
        )
        it.fail("t1")
        await it.alerts.flush()
        await it.service.unsilence(OWNER, made.id)
        await it.pass_time(6)
        await it.until(lambda: len(channel.told) == 1)
        with pytest.raises(NotFound):
            await it.service.unsilence(OWNER, made.id)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"until": 5.0, "seconds": None, "rule": "x"}, "before it begins"),
        ({"until": None, "seconds": None, "rule": "x"}, "one end"),
        ({"until": 5e9, "seconds": 5.0, "rule": "x"}, "one end"),
        ({"until": None, "seconds": 5.0}, "everything"),
    ],
)
async def test_a_silence_that_makes_no_sense_is_refused(
    tmp_path: Path, given: dict[str, float | None], said: str
) -> None:
    async with alerting(tmp_path) as it:
        with pytest.raises(InvalidInput, match=said):
            await it.service.silence(OWNER, reason="r", **given)  # type: ignore[arg-type]


async def test_the_same_by_hand_is_counted(tmp_path: Path) -> None:
    async with alerting(tmp_path) as it:
        first = await it.service.trigger(OWNER, "Moves", "soon", Severity.LOW, {"place": "attic"})
        again = await it.service.trigger(OWNER, "Moves", "now", Severity.LOW, {"place": "attic"})
        assert (again.id, again.count) == (first.id, 2)
        other = await it.service.trigger(OWNER, "Moves", "now", Severity.LOW, {})
        assert other.id != first.id
        assert len(await alerts_of(it, rule="manual")) == 2


async def test_scopes(tmp_path: Path) -> None:
    operator = Caller("ann", Scope.OPERATE)
    async with alerting(tmp_path) as it:
        for call in (
            it.service.trigger(VIEWER, "t", "", Severity.LOW, {}),
            it.service.acknowledge(VIEWER, "x", None),
            it.service.resolve(VIEWER, "x", None),
            it.service.silence(VIEWER, until=None, seconds=1, reason="r", rule="x"),
            it.service.unsilence(VIEWER, "x"),
            it.service.channels(operator),
            it.service.notifications(operator, None, None, 1),
            it.service.test(operator, "x"),
        ):
            with pytest.raises(Forbidden):
                await call


async def test_pages_and_filters(tmp_path: Path) -> None:
    async with alerting(tmp_path) as it:
        for number in range(7):
            it.fail(f"t{number}")
            it.clock.advance(1)
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.alerts.flush()
        seen, cursor = await it.service.recent(VIEWER, AlertQuery(limit=3))
        while cursor is not None:
            page, cursor = await it.service.recent(VIEWER, AlertQuery(limit=3, cursor=cursor))
            seen += page
        assert [each.rule for each in seen] == ["plugin_crashed", *["task_failed"] * 7]
        high = AlertQuery(severities=(Severity.HIGH,))
        assert len((await it.service.recent(VIEWER, high))[0]) == 1
        resolved = AlertQuery(states=(AlertState.RESOLVED,))
        assert (await it.service.recent(VIEWER, resolved))[0] == []
        since = AlertQuery(since=1_000_005.0)
        assert len((await it.service.recent(VIEWER, since))[0]) == 3
        summary = await it.service.summary(VIEWER)
        assert summary.by_rule == {"task_failed": 7, "plugin_crashed": 1}
        assert summary.by_severity == {"critical": 0, "high": 1, "medium": 7, "low": 0}
        assert [each.rule for each in summary.firing][:2] == ["plugin_crashed", "task_failed"]
        for wrong in (AlertQuery(cursor="x"), AlertQuery(cursor="LTE"), AlertQuery(limit=0)):
            with pytest.raises(InvalidInput):
                await it.service.recent(VIEWER, wrong)


# Channels


async def test_a_channel_that_is_down_loses_nothing_and_slows_no_other(tmp_path: Path) -> None:
    down, well = Memory("down", down="no route"), Memory("well")
    async with alerting(tmp_path, down, well) as it:
        it.fail("t1")
        await it.pass_time(6)
        await it.until(lambda: len(well.told) == 1)
        await it.until(lambda: down.tries >= 1)
        await it.pass_time(60)
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.pass_time(6)
        await it.until(lambda: len(well.told) == 2)
        await it.until(lambda: down.tries >= 3)
        assert down.tries <= 15  # growing waits
        views = {each.courier.channel.name: each for each in await it.service.channels(OWNER)}
        assert views["down"].counts == {"pending": 2}
        assert views["down"].courier.health.error == "channel down: no route"
        await it.until_counts("well", delivered=2)
        down.down = None
        await it.pass_time(200)
        await it.until(lambda: len(down.told) == 2)
        await it.until_counts("down", delivered=2)
        assert views["down"].courier.health.failing == 0


async def test_a_channel_that_hangs_slows_no_other(tmp_path: Path) -> None:
    hanging, well = Memory("hanging", gate=asyncio.Event()), Memory("well")
    async with alerting(tmp_path, hanging, well) as it:
        for number in range(3):
            it.fail(f"t{number}")
            await it.pass_time(61)
        await it.until(lambda: len(well.told) == 3)
        assert hanging.tries == 1
        assert hanging.gate is not None
        hanging.gate.set()
        await it.until(lambda: len(hanging.told) == 3)


async def test_what_is_over_the_limit_of_a_channel_is_one_digest(tmp_path: Path) -> None:
    channel = Memory(gate=asyncio.Event())
    rules = tuple(
        EventRule(f"rule{number}", Severity.LOW, f"Title {number}", "plugin.crashed")
        for number in range(40)
    )
    async with alerting(tmp_path, (channel, Route(per_minute=3)), rules=rules) as it:
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.pass_time(6)
        assert channel.gate is not None
        channel.gate.set()
        await it.until(lambda: len(channel.told) == 1)
        assert channel.told[0].title == "mltb: 40 notifications"
        assert channel.texts[0].endswith("- [low] Title 9\nand 30 more")
        assert len(channel.told[0].rules) == 40
        await it.until_counts("memory", delivered=40)


async def test_no_more_than_so_many_messages_a_minute(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, (channel, Route(per_minute=3))) as it:
        for number in range(30):
            await it.service.trigger(OWNER, f"Title {number}", "", Severity.CRITICAL, {})
            alert = it.alerts.book
            assert len(alert) == number + 1
            await it.pass_time(2)
            it.alerts._told_at.clear()  # No interval between groups: the limit alone is at work.
        await it.pass_time(30)
        assert 3 <= len(channel.told) <= 3 + 5
        await it.pass_time(60)
        assert sum(len(each.alerts) for each in channel.told) == 30


async def test_a_message_that_a_channel_can_not_take_holds_up_no_other(tmp_path: Path) -> None:
    channel = Memory(poison="poison")
    async with alerting(tmp_path, channel, give_up=60.0) as it:
        it.fail("t1", "poison")
        await it.pass_time(6)
        await it.until(lambda: channel.tries >= 1)
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        await it.pass_time(30)
        await it.until(lambda: len(channel.told) == 1)
        await it.pass_time(200, step=5)
        await it.until_counts("memory", delivered=1, failed=1)
        (failed,) = await it.service.notifications(OWNER, "memory", "failed", 10)
        assert failed.attempts >= 2
        assert failed.error == "channel memory: poison"
        assert failed.tried_for >= 60


async def test_a_channel_is_told_what_it_is_for(tmp_path: Path) -> None:
    bad = (Memory("bad"), Route(min_severity=Severity.HIGH, resolved=False))
    tasks = (Memory("tasks"), Route(rules=frozenset({"task_failed"})))
    only = (Memory("only"), Route(severities=frozenset({Severity.CRITICAL})))
    async with alerting(tmp_path, bad, tasks, only) as it:
        it.fail("t1")
        it.hub.publish(events.PluginCrashed(it.clock.now(), "p", "exit 1"))
        it.readings["heat"] = 95.0
        await it.until(lambda: len(only[0].told) == 1)
        it.readings["heat"] = 5.0
        await it.until(lambda: (len(only[0].told), len(tasks[0].told)) == (2, 1))
        told = {
            each[0].name: [(n.kind, n.rules[0]) for n in each[0].told]
            for each in (bad, tasks, only)
        }
        assert told == {
            "bad": [("raised", "plugin_crashed"), ("raised", "hot")],
            "tasks": [("raised", "task_failed")],
            "only": [("raised", "hot"), ("resolved", "hot")],
        }


async def test_channels_come_and_go_while_the_service_runs(tmp_path: Path) -> None:
    plugin = Memory("plugin")
    async with alerting(tmp_path) as it:
        it.service.couriers.add(plugin, Route())
        with pytest.raises(Unavailable, match="already"):
            it.service.couriers.add(Memory("plugin"), Route())
        it.fail("t1")
        await it.pass_time(6)
        await it.until(lambda: len(plugin.told) == 1)
        await it.service.couriers.remove("plugin")
        it.fail("t2")
        await it.pass_time(70)
        assert len(plugin.told) == 1
        await it.service.couriers.remove("plugin")


async def test_a_fault_of_a_channel_is_its_own(tmp_path: Path) -> None:
    class Faulty(Memory):
        async def send(self, notification: object) -> None:
            self.tries += 1
            if self.tries == 1:
                raise KeyError("fault")

    channel = Faulty()
    async with alerting(tmp_path, channel) as it:
        it.fail("t1")
        await it.pass_time(20)
        await it.until_counts("memory", delivered=1)
        (delivery,) = await it.table.deliveries(None, None, 5)
        assert (delivery.state, delivery.attempts) == ("delivered", 2)


async def test_the_test_of_a_channel(tmp_path: Path) -> None:
    channel = Memory()
    async with alerting(tmp_path, channel) as it:
        await it.service.test(OWNER, "memory")
        assert channel.told[0].kind == "test"
        channel.down = "no route"
        with pytest.raises(Unavailable, match="no route"):
            await it.service.test(OWNER, "memory")
        with pytest.raises(NotFound, match="'other'"):
            await it.service.test(OWNER, "other")


async def test_what_a_channel_that_is_gone_had_to_tell_is_given_up_in_the_end(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with alerting(tmp_path, Memory("old", down="down"), clock=clock) as it:
        it.fail("t1")
        await it.until_counts("old", pending=1)
    clock.advance(86400 * 2)
    async with alerting(tmp_path, Memory("new"), clock=clock) as it:
        await it.until_counts("old", failed=1)
        failed = await it.table.deliveries("old", "failed", 5)
        assert failed[0].error == "there is no such channel any more"

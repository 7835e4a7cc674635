"""Alerts at work over a real store, with channels that a test controls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bot.domain import events
from bot.domain.alert_rules import EventRule, ReadingRule, Rule
from bot.domain.alerts import Notification, Severity
from bot.errors import Unavailable
from bot.operations.alert_channels import Channel, Route
from bot.operations.alert_delivery import Couriers
from bot.operations.alert_signals import Sample
from bot.operations.alerts import Alerts, Pace
from bot.services.alerts import Alerts as Service
from bot.store.alerts import AlertStore
from bot.store.repository import Store, open_store
from tests.rig import ManualClock

RULES: tuple[Rule, ...] = (
    EventRule("task_failed", Severity.MEDIUM, "Task failed", "task.failed", keep=3600.0),
    EventRule("plugin_crashed", Severity.HIGH, "Plugin crashed", "plugin.crashed", keep=600.0),
    ReadingRule("hot", Severity.CRITICAL, "Too hot", "heat", ">", 90.0, hold=20.0, clear=80.0),
)
PACE = Pace(interval=10.0, group_wait=5.0, group_interval=60.0, keep=86400.0)


@dataclass
class Memory:
    """A channel that keeps what it is told; it fails while ``down`` says why, and waits at
    ``gate``."""

    name: str = "memory"
    shown: str | None = None
    down: str | None = None
    gate: asyncio.Event | None = None
    told: list[Notification] = field(default_factory=list)
    tries: int = 0
    poison: str | None = None

    async def send(self, notification: Notification) -> None:
        """Keep it."""
        self.tries += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down is not None or (self.poison and self.poison in notification.body):
            raise Unavailable(f"channel {self.name}: {self.down or 'poison'}")
        self.told.append(notification)

    @property
    def texts(self) -> list[str]:
        """Titles and bodies, as they were told."""
        return [f"{each.title}\n{each.body}" for each in self.told]


@dataclass
class Rig:
    """The parts that a test looks at."""

    store: Store
    alerts: Alerts
    service: Service
    table: AlertStore
    hub: events.EventHub
    clock: ManualClock
    said: list[events.Event]
    readings: dict[str, float]

    def fail(self, task: str, message: str = "no route") -> None:
        """A task fails for good."""
        self.hub.publish(
            events.StageFailed(self.clock.now(), task, "ann", "fetch", "network", message, 1, None)
        )

    async def pass_time(self, seconds: float, *, step: float = 1.0) -> None:
        """Let time pass in steps; between them everybody gets to do what is due."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await settled(self)

    async def until(self, condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
        """Until it holds. Time goes on slowly: what was stored late is due late."""
        async with asyncio.timeout(30):
            for number in itertools.count(1):
                found = condition()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.002)
                if number % 25 == 0:
                    self.clock.advance(1.0)

    async def until_counts(self, channel: str, **counts: int) -> None:
        """Until a channel has so many notifications in each state."""

        async def met() -> bool:
            return (await self.table.effort()).get(channel) == counts

        await self.until(met)


async def settled(rig: Rig) -> None:
    """Until what is due is done: everything that was said is stored, and nothing more happens.

    A read of the store waits behind the writes that were handed in before it.
    """
    for _ in range(3):
        await rig.alerts.flush()
        await rig.table.effort()
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def alerting(
    directory: Path,
    *channels: Channel | tuple[Channel, Route],
    rules: Sequence[Rule] = RULES,
    clock: ManualClock | None = None,
    pace: Pace = PACE,
    give_up: float = 3600.0,
    names: dict[str, str] | None = None,
) -> AsyncIterator[Rig]:
    """Alerts at work; a second one over the same directory is a restart."""
    store = await open_store(f"sqlite:///{directory / 'alerts.db'}")
    clock, hub, table = clock or ManualClock(), events.EventHub(), AlertStore(store.database)
    couriers = Couriers(table, clock, give_up=give_up)
    for each in channels:
        channel, route = each if isinstance(each, tuple) else (each, Route())
        couriers.add(channel, route)
    readings: dict[str, float] = {}

    async def sample() -> list[Sample]:
        return [Sample(name, value) for name, value in readings.items()]

    async def describe(task: str) -> str | None:
        return (names or {}).get(task)

    engine = Alerts(table, hub, clock, rules, couriers, pace=pace, sample=sample, describe=describe)
    said: list[events.Event] = []
    hub.listen(said.append)
    await engine.start()
    made = Rig(store, engine, Service(engine, table, clock), table, hub, clock, said, readings)
    await settled(made)  # Its loops wait for times from now on, not from the first that passes.
    try:
        yield made
    finally:
        await engine.stop()
        await store.close()

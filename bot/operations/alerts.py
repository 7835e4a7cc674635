"""Alerts at work: events and readings go in, alerts are stored, notifications go out.

Everything is in memory first and stored a moment later in one transaction, so a storm of events
costs a few writes. A notification is handed over (stored for its channels) in the transaction that
marks its alerts as announced; so a restart neither forgets nor repeats one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from bot.domain import events
from bot.domain.alert_book import AlertBook, Changes, Occurrence
from bot.domain.alert_rules import EventRule, ReadingRule, Rule, Verdict, Watch
from bot.domain.alerts import Alert, AlertState, Labels, Notification, Severity, key_of
from bot.domain.ids import IdSource
from bot.domain.ports import Clock
from bot.errors import MltbError
from bot.operations import alert_text
from bot.operations.alert_delivery import Couriers
from bot.operations.alert_occasions import NOTICES
from bot.operations.alert_rules import MANUAL
from bot.operations.alert_signals import Sample
from bot.store.alerts import AlertStore

log = logging.getLogger(__name__)

_AGAIN = 5.0  # seconds until a store that failed is tried again
_SWEEP = 3600.0  # seconds between two looks for what is too old to keep
_CRITICAL_WAIT = 0.0
#: Who resolves the alerts of a rule that is no more.
CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class Pace:
    """When things happen; all in seconds. ``interval`` between two looks at the readings;
    ``group_wait`` from the first alert of a rule to its notification; ``group_interval`` between
    two notifications of one rule; ``keep`` for what is over."""

    interval: float = 10.0
    group_wait: float = 5.0
    group_interval: float = 60.0
    keep: float = 30 * 86400.0


class Alerts:
    """The alerts of the service."""

    def __init__(
        self,
        store: AlertStore,
        hub: events.EventHub,
        clock: Clock,
        rules: Sequence[Rule],
        couriers: Couriers,
        *,
        pace: Pace,
        sample: Callable[[], Awaitable[Sequence[Sample]]],
        describe: Callable[[str], Awaitable[str | None]],
    ) -> None:
        """``sample`` gives the readings, ``describe`` the name of a task by its id."""
        self.rules = {rule.name: rule for rule in rules}
        self.couriers = couriers
        self.new_id = IdSource()
        self.book = AlertBook(self.new_id)
        self._store = store
        self._hub = hub
        self._clock = clock
        self._pace = pace
        self._sample = sample
        self._describe = describe
        self._by_occasion: dict[str, list[EventRule]] = {}
        for rule in rules:
            if isinstance(rule, EventRule):
                self._by_occasion.setdefault(rule.event, []).append(rule)
        self._watches: dict[str, tuple[Watch, Labels]] = {}
        self._ends: dict[str, float] = {}  # alert id: monotonic time of its end by itself
        self._due: dict[str, float] = {}  # rule: monotonic time of its next notification
        self._told_at: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._storing = asyncio.Lock()
        self._work: list[asyncio.Task[None]] = []
        self._stop_listening: Callable[[], None] | None = None

    # Life

    async def start(self) -> None:
        """Take up what the store has, and begin to listen."""
        self.book.load(await self._store.live(), await self._store.silences())
        self._resume()
        self.couriers.start()
        self._stop_listening = self._hub.listen(self._hear)
        self._work = [
            asyncio.create_task(self._write(), name="alerts: store"),
            asyncio.create_task(self._look(), name="alerts: readings"),
            asyncio.create_task(self._sweep(), name="alerts: sweep"),
        ]
        self._wake.set()

    async def stop(self) -> None:
        """Store what happened up to now, then end."""
        if self._stop_listening is not None:
            self._stop_listening()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        try:
            await self.flush()
        except MltbError as error:
            log.warning("the last alerts are not stored: %s", error)
        await self.couriers.stop()

    def _resume(self) -> None:
        """What was firing still is, and is not told again."""
        now, mono = self._clock.now(), self._clock.monotonic()
        for alert in list(self.book):
            rule = self.rules.get(alert.rule)
            if rule is None and alert.rule != MANUAL:
                self.book.resolve(alert, now, by=CONFIGURATION)
            elif isinstance(rule, ReadingRule):
                self._watches[alert.key] = (Watch(rule, firing=True), alert.labels)
            elif isinstance(rule, EventRule):
                left = rule.keep - (now - alert.last_at)
                self._ends[alert.id] = mono + min(rule.keep, max(0.0, left))
        self.book.review(now)
        for alert in self.book:
            self._announce_later(alert)

    # What comes in

    def _hear(self, event: events.Event) -> None:
        notice = NOTICES.get(type(event))
        if notice is None or (noticed := notice(event)) is None:
            return
        now = self._clock.now()
        for rule in self._by_occasion.get(noticed.occasion, ()):
            if noticed.message is None:
                alert = self.book.find(rule.name, noticed.labels)
                if alert is not None:
                    self.book.resolve(alert, now)
                    self._wake.set()
                continue
            self._happened(rule, noticed.labels, noticed.message, now)

    def _happened(self, rule: EventRule, labels: Labels, message: str, now: float) -> None:
        what = Occurrence(rule.name, rule.severity, rule.title, message, labels)
        alert = self.book.happened(what, now)
        self._ends[alert.id] = self._clock.monotonic() + rule.keep
        if alert.count == 1:
            self._wake.set()  # What only counts on is stored with the next look.

    def trigger(self, what: Occurrence) -> Alert:
        """Raise an alert by hand; ``flush`` makes it durable."""
        return self.book.happened(what, self._clock.now())

    async def look(self) -> None:
        """Look at the readings, and at what ended by itself."""
        by_reading: dict[str, list[Sample]] = {}
        for sample in await self._sample():
            by_reading.setdefault(sample.reading, []).append(sample)
        now, mono = self._clock.now(), self._clock.monotonic()
        for rule in self.rules.values():
            if isinstance(rule, ReadingRule):
                self._look_at(rule, by_reading.get(rule.reading, []), now, mono)
        for alert_id in [each for each, end in self._ends.items() if end <= mono]:
            del self._ends[alert_id]
            alert = self.book.get(alert_id)
            if alert is not None:
                self.book.resolve(alert, now)
        self.book.review(now)
        await self.flush()

    def _look_at(
        self, rule: ReadingRule, samples: Sequence[Sample], now: float, mono: float
    ) -> None:
        present = {key_of(rule.name, sample.labels): sample for sample in samples}
        known = {key for key, (watch, _) in self._watches.items() if watch.rule is rule}
        for key in present.keys() | known or {key_of(rule.name, {})}:
            sample = present.get(key)
            if key not in self._watches:
                self._watches[key] = (Watch(rule), sample.labels if sample else {})
            watch, labels = self._watches[key]
            fired = watch.firing
            verdict = watch.look(sample.value if sample else None, mono)
            if verdict is Verdict.FIRING and not fired:
                self.book.happened(
                    Occurrence(
                        rule.name,
                        rule.severity,
                        rule.title,
                        alert_text.broken(rule, sample),
                        labels,
                        sample.value if sample else None,
                    ),
                    now,
                )
            elif verdict is not Verdict.FIRING:
                alert = self.book.find(rule.name, labels)
                if alert is not None:
                    self.book.resolve(alert, now)
                if sample is None:
                    del self._watches[key]

    def firing(self) -> float:
        """How many alerts fire."""
        return float(sum(alert.state is AlertState.FIRING for alert in self.book))

    def pending(self) -> Sequence[tuple[ReadingRule, Labels]]:
        """The rules that are broken, but not for long enough yet."""
        return [
            (watch.rule, labels)
            for watch, labels in self._watches.values()
            if watch.since is not None and not watch.firing
        ]

    # What goes out

    async def flush(self) -> None:
        """Store what has changed; when it returns, that survives ``kill -9``.

        The events of it leave after that. What can't be stored is kept, and the error raised.
        """
        async with self._storing:
            await self._explain()
            taken = self.book.take()
            new = set(taken.new)
            over = [alert for alert in taken.changed.values() if self._is_news(alert)]
            try:
                await self._store.add(list(taken.new.values()))
                taken.changed, taken.new = taken.new | taken.changed, {}
                known = [alert for alert in taken.changed.values() if alert.id not in new]
                await self._store.change(known, self._outgoing_resolved(over))
            except MltbError:
                self.book.give_back(taken)
                raise
            self._stored(taken)
            if over:
                self._wake_couriers()

    def _stored(self, taken: Changes) -> None:
        """What follows from what is durable now."""
        for alert in taken.changed.values():
            self._announce_later(alert)
            if alert.state is AlertState.RESOLVED:
                self._ends.pop(alert.id, None)
        for event in taken.said:
            if isinstance(event, events.AlertRaised) and event.alert in taken.changed:
                message = taken.changed[event.alert].message
                self._hub.publish(msgspec.structs.replace(event, message=message))
            else:
                self._hub.publish(event)

    async def _explain(self) -> None:
        """Put the names of tasks before the messages of their alerts, which nobody has seen yet."""
        for alert in self.book.fresh():
            if "task" in alert.labels and (name := await self._describe(alert.labels["task"])):
                self.book.explain(alert, name)

    @staticmethod
    def _is_news(alert: Alert) -> bool:
        """Whether those who heard of its beginning are to hear of its end as well."""
        return alert.state is AlertState.RESOLVED and alert.announced and not alert.resolved_by

    def _outgoing_resolved(self, over: Sequence[Alert]) -> list[tuple[str, Notification]]:
        now = self._clock.now()
        by_rule: dict[str, list[Alert]] = {}
        for alert in over:
            if isinstance(self.rules.get(alert.rule), ReadingRule):
                by_rule.setdefault(alert.rule, []).append(alert)
        return [
            (courier.channel.name, alert_text.resolved(wanted, self.new_id(), now))
            for alerts in by_rule.values()
            for courier in self.couriers.all
            if courier.route.resolved
            and (wanted := [alert for alert in alerts if courier.route.wants(alert)])
        ]

    def _announce_later(self, alert: Alert) -> None:
        if alert.announced or alert.state is not AlertState.FIRING or alert.rule in self._due:
            return
        now = self._clock.monotonic()
        wait = _CRITICAL_WAIT if alert.severity is Severity.CRITICAL else self._pace.group_wait
        told = self._told_at.get(alert.rule)
        soonest = now if told is None else told + self._pace.group_interval
        self._due[alert.rule] = max(now + wait, soonest)
        self._wake.set()

    async def _announce(self, rules: Sequence[str]) -> None:
        """Hand over the notifications of those rules."""
        now = self._clock.now()
        told: list[Alert] = []
        outgoing: list[tuple[str, Notification]] = []
        for rule in rules:
            group = [
                alert
                for alert in self.book
                if alert.rule == rule and alert.state is AlertState.FIRING and not alert.announced
            ]
            for courier in self.couriers.all:
                if wanted := [alert for alert in group if courier.route.wants(alert)]:
                    message = alert_text.raised(wanted, self.new_id(), now)
                    outgoing.append((courier.channel.name, message))
            told += group
        await self._hand_over(told, outgoing)
        for rule in rules:
            self._due.pop(rule, None)
            self._told_at[rule] = self._clock.monotonic()

    async def _hand_over(
        self, told: Sequence[Alert], outgoing: Sequence[tuple[str, Notification]]
    ) -> None:
        if not told:
            return
        async with self._storing:
            for alert in told:
                alert.announced = True
            try:
                await self._store.change(told, outgoing)
            except MltbError:
                for alert in told:
                    alert.announced = False
                raise
        self._wake_couriers()

    def _wake_couriers(self) -> None:
        for courier in self.couriers.all:
            courier.wake()

    # Loops

    async def _write(self) -> None:
        """Store what is new at once, and hand over what is due."""
        while True:
            await self._woken_or_due()
            try:
                await self.flush()
                mono = self._clock.monotonic()
                due = [rule for rule, at in self._due.items() if at <= mono]
                if due:
                    await self._announce(due)
            except MltbError as error:
                log.warning("alerts are not stored, tried again in %g s: %s", _AGAIN, error)
            except Exception:
                log.exception("alerts are not stored, tried again in %g s", _AGAIN)
            else:
                continue
            await self._clock.sleep(_AGAIN)
            self._wake.set()

    async def _woken_or_due(self) -> None:
        if not self._due:
            await self._wake.wait()
            self._wake.clear()
            return
        delay = min(self._due.values()) - self._clock.monotonic()
        if delay <= 0:
            return
        waiting = [
            asyncio.ensure_future(self._wake.wait()),
            asyncio.ensure_future(self._clock.sleep(delay)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        self._wake.clear()

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(self._pace.interval)
            with _told("the readings could not be looked at"):
                await self.look()

    async def _sweep(self) -> None:
        while True:
            with _told("old alerts are still there"):
                now = self._clock.now()
                await self._store.forget(now - self._pace.keep)
                names = [courier.channel.name for courier in self.couriers.all]
                await self._store.abandon(names, now - self._pace.keep, now)
            await self._clock.sleep(_SWEEP)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """The boundary of a loop that goes on, whatever happens in one of its turns."""
    try:
        yield
    except MltbError as error:
        log.warning("alerts: %s: %s", what, error)
    except Exception:
        log.exception("alerts: %s: a fault of the program", what)

"""Everything that can be done with alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from bot.domain.alert_book import Occurrence, plain_labels
from bot.domain.alert_rules import Rule
from bot.domain.alerts import LIVE, Alert, AlertState, Labels, Severity, Silence
from bot.domain.ports import Clock
from bot.errors import IllegalMove, InvalidInput, NotFound, TooMany
from bot.operations import alert_text
from bot.operations.alert_delivery import Courier
from bot.operations.alert_rules import MANUAL
from bot.operations.alerts import Alerts as Engine
from bot.services.callers import Caller, Scope
from bot.store.alerts import AlertQuery, AlertStore, Delivery

MAX_LABELS = 20
_MAX_SILENCES = 1000
_NO_ALERT = "mltb alerts list shows those there are"


class AlertSummary(msgspec.Struct, frozen=True):
    """How many alerts there are, of those that are kept, and which fire now."""

    by_state: dict[str, int]
    by_severity: dict[str, int]
    by_rule: dict[str, int]
    firing: list[Alert]
    pending: list[str]


class ChannelView(msgspec.Struct, frozen=True):
    """A channel, how it does and what it has told. Times are UNIX seconds."""

    courier: Courier
    counts: Mapping[str, int]


class Alerts:
    """What a caller sees and does of alerts."""

    def __init__(self, engine: Engine, store: AlertStore, clock: Clock) -> None:
        #: The channels; more of them may come and go, such as those of plugins.
        self.couriers = engine.couriers
        self._engine = engine
        self._store = store
        self._clock = clock

    async def recent(self, caller: Caller, query: AlertQuery) -> tuple[list[Alert], str | None]:
        """A page of alerts, the newest first, and the cursor of the next."""
        caller.require(Scope.VIEW)
        found, cursor = await self._store.page(query)
        return [self._engine.book.get(alert.id) or alert for alert in found], cursor

    async def show(self, caller: Caller, alert_id: str) -> Alert:
        """One alert; NotFound where there is none."""
        caller.require(Scope.VIEW)
        alert = await self.find(alert_id)
        if alert is None:
            raise NotFound(f"there is no alert {alert_id!r}", hint=_NO_ALERT)
        return alert

    async def find(self, alert_id: str) -> Alert | None:
        """One alert for the service itself, or None."""
        return self._engine.book.get(alert_id) or await self._store.get(alert_id)

    async def summary(self, caller: Caller) -> AlertSummary:
        """How many alerts there are, and which fire now (the worst first, at most 100)."""
        caller.require(Scope.VIEW)
        states: Counter[str] = Counter(dict.fromkeys(AlertState, 0))
        severities: Counter[str] = Counter(dict.fromkeys(Severity, 0))
        rules: Counter[str] = Counter()
        for (rule, severity, state), count in (await self._store.count()).items():
            states[state] += count
            if state in LIVE:
                severities[severity] += count
                rules[rule] += count
        pending = [rule.name for rule, _ in self._engine.pending()]
        states[AlertState.PENDING] = len(pending)
        firing = [each for each in self._engine.book if each.state is AlertState.FIRING]
        firing.sort(key=lambda alert: (alert.severity.rank, -alert.started_at))
        return AlertSummary(dict(states), dict(severities), dict(rules), firing[:100], pending)

    async def trigger(
        self, caller: Caller, title: str, message: str, severity: Severity, labels: Labels
    ) -> Alert:
        """Raise an alert by hand; the same title and labels count on the same alert."""
        caller.require(Scope.OPERATE)
        if len(labels) > MAX_LABELS:
            raise InvalidInput(f"{len(labels)} labels", hint=f"at most {MAX_LABELS}")
        about = plain_labels({**labels, "title": title, "by": caller.user})
        what = Occurrence(MANUAL, severity, title, message, about)
        alert = self._engine.trigger(what)
        await self._engine.flush()
        return alert

    async def acknowledge(self, caller: Caller, alert_id: str, note: str | None) -> Alert:
        """Say that somebody looks after it: nobody is told of it any more."""
        caller.require(Scope.OPERATE)
        alert = await self._live(caller, alert_id, "acknowledged")
        self._engine.book.acknowledge(alert, self._clock.now(), by=caller.user, note=note)
        await self._engine.flush()
        return alert

    async def resolve(self, caller: Caller, alert_id: str, note: str | None) -> Alert:
        """Say that it is over."""
        caller.require(Scope.OPERATE)
        alert = await self._live(caller, alert_id, "resolved")
        self._engine.book.resolve(alert, self._clock.now(), by=caller.user, note=note)
        await self._engine.flush()
        return alert

    async def _live(self, caller: Caller, alert_id: str, wanted: str) -> Alert:
        alert = self._engine.book.get(alert_id)
        if alert is None:
            over = await self.show(caller, alert_id)
            raise IllegalMove(f"alert {over.id} is {over.state}; it can't be {wanted}")
        return alert

    # Silences

    async def silences(self, caller: Caller) -> Sequence[Silence]:
        """Those that hold now."""
        caller.require(Scope.VIEW)
        now = self._clock.now()
        return [each for each in self._engine.book.silences if each.until > now]

    async def silence(
        self,
        caller: Caller,
        *,
        until: float | None,
        seconds: float | None,
        reason: str,
        rule: str | None = None,
        severity: Severity | None = None,
        labels: Labels | None = None,
    ) -> Silence:
        """Keep what fits quiet until then (UNIX seconds), or for so many seconds."""
        caller.require(Scope.OPERATE)
        now = self._clock.now()
        if (until is None) == (seconds is None):
            raise InvalidInput("a silence has one end", hint="give until or seconds")
        until = now + seconds if until is None and seconds is not None else until or 0.0
        if until <= now:
            raise InvalidInput("the silence is over before it begins", hint="name a later end")
        if rule is None and severity is None and not labels:
            raise InvalidInput(
                "a silence of everything", hint="name a rule, a severity or a label at least"
            )
        if len(self._engine.book.silences) >= _MAX_SILENCES:
            raise TooMany(f"there are {_MAX_SILENCES} silences", hint="delete some")
        made = Silence(
            self._engine.new_id(), until, reason, caller.user, now, rule, severity, labels or {}
        )
        await self._store.add_silence(made)
        self._engine.book.add_silence(made, now)
        await self._engine.flush()
        return made

    async def unsilence(self, caller: Caller, silence_id: str) -> None:
        """End a silence; what it kept quiet is told. NotFound where there is none."""
        caller.require(Scope.OPERATE)
        if not await self._store.delete_silence(silence_id):
            raise NotFound(f"there is no silence {silence_id!r}")
        self._engine.book.drop_silence(silence_id, self._clock.now())
        await self._engine.flush()

    # Rules and channels

    async def rules(self, caller: Caller) -> Sequence[Rule]:
        """The rules that are in force."""
        caller.require(Scope.VIEW)
        return list(self._engine.rules.values())

    async def channels(self, caller: Caller) -> Sequence[ChannelView]:
        """The channels and how they do."""
        caller.require(Scope.ADMIN)
        counts = await self._store.effort()
        return [
            ChannelView(each, counts.get(each.channel.name, {}))
            for each in self._engine.couriers.all
        ]

    async def notifications(
        self, caller: Caller, channel: str | None, state: str | None, limit: int
    ) -> Sequence[Delivery]:
        """The newest notifications, and how far each is."""
        caller.require(Scope.ADMIN)
        return await self._store.deliveries(channel, state, limit)

    async def test(self, caller: Caller, name: str) -> None:
        """Send a message through a channel at once. Unavailable says why it did not get there."""
        caller.require(Scope.ADMIN)
        courier = self._engine.couriers.find(name)
        if courier is None:
            known = ", ".join(each.channel.name for each in self._engine.couriers.all)
            raise NotFound(
                f"there is no channel {name!r}",
                hint=f"there are {known}" if known else "ALERT_CHANNELS names none",
            )
        trial = alert_text.trial(self._engine.new_id(), self._clock.now(), caller.user)
        await courier.channel.send(trial)

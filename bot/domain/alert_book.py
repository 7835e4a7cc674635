"""The alerts that are live: raised, counted, quietened, ended. No input or output.

Who holds the book takes its changes out, stores them, and only then lets the events leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from bot.domain import events
from bot.domain.alerts import Alert, AlertState, Labels, Severity, Silence, key_of
from bot.domain.plain import plain, plain_lines

#: Live alerts of one rule; what is over is counted on one alert together.
MAX_PER_RULE = 500
OTHERS: Labels = {"others": "yes"}

_TITLE, _MESSAGE, _LABEL = 200, 1000, 200  # characters


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that a rule noticed. ``message`` may hold foreign text; labels are made plain."""

    rule: str
    severity: Severity
    title: str
    message: str
    labels: Labels = field(default_factory=dict)
    value: float | None = None


@dataclass(slots=True)
class Changes:
    """What is to be stored, and the events that leave after it."""

    new: dict[str, Alert] = field(default_factory=dict)
    changed: dict[str, Alert] = field(default_factory=dict)
    said: list[events.Event] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.changed)


class AlertBook:
    """Every live alert, and the silences."""

    def __init__(self, new_id: Callable[[], str], max_per_rule: int = MAX_PER_RULE) -> None:
        self._new_id = new_id
        self._most = max_per_rule
        self._alerts: dict[str, Alert] = {}
        self._by_key: dict[str, Alert] = {}
        self._per_rule: Counter[str] = Counter()
        self._silences: dict[str, Silence] = {}
        self._changes = Changes()
        self._taken: set[str] = set()

    def __iter__(self) -> Iterator[Alert]:
        return iter(self._alerts.values())

    def __len__(self) -> int:
        return len(self._alerts)

    def load(self, alerts: Iterable[Alert], silences: Iterable[Silence]) -> None:
        """What the store has from before."""
        for alert in alerts:
            self._enter(alert)
        self._silences = {silence.id: silence for silence in silences}

    def get(self, alert_id: str) -> Alert | None:
        """A live alert, or None."""
        return self._alerts.get(alert_id)

    def find(self, rule: str, labels: Labels) -> Alert | None:
        """The live alert of that rule about those labels, or None."""
        return self._by_key.get(key_of(rule, labels))

    def take(self) -> Changes:
        """What has changed since the last time."""
        taken, self._changes = self._changes, Changes()
        self._taken = set(taken.new)
        return taken

    def fresh(self) -> list[Alert]:
        """The new alerts that were never taken."""
        return [alert for alert in self._changes.new.values() if alert.id not in self._taken]

    def give_back(self, taken: Changes) -> None:
        """What was taken could not be stored: it waits for the next time."""
        since = self._changes
        self._changes = Changes(
            taken.new | since.new, taken.changed | since.changed, taken.said + since.said
        )

    # What happens

    def happened(self, what: Occurrence, now: float) -> Alert:
        """Raise an alert, or count it on the one that is about the same."""
        known = self.find(what.rule, what.labels)
        if known is None and self._per_rule[what.rule] >= self._most:
            what = Occurrence(
                what.rule, what.severity, f"{what.title}, and others", what.message, OTHERS
            )
            known = self.find(what.rule, OTHERS)
        return self._raised(what, now) if known is None else self._again(known, what, now)

    def _raised(self, what: Occurrence, now: float) -> Alert:
        alert = Alert(
            id=self._new_id(),
            rule=what.rule,
            severity=what.severity,
            title=plain(what.title, _TITLE),
            message=plain_lines(what.message, _MESSAGE),
            labels=what.labels,
            started_at=now,
            last_at=now,
            value=what.value,
        )
        self._enter(alert)
        self._changes.new[alert.id] = alert
        silence = self._silence_for(alert, now)
        if silence is None:
            self._fire(alert, now)
        else:
            self._quieten(alert, silence, now)
        return alert

    def _again(self, alert: Alert, what: Occurrence, now: float) -> Alert:
        # A storm of one thing costs no more than counting; a clock that went back is no storm.
        if abs(now - alert.last_at) >= 1.0:
            alert.message = plain_lines(what.message, _MESSAGE)
        alert.count += 1
        alert.last_at, alert.value = now, what.value
        self._note(alert)
        return alert

    def resolve(self, alert: Alert, now: float, *, by: str = "", note: str | None = None) -> None:
        """An alert is over; IllegalMove where it was already."""
        alert.resolve(by, now, note)
        self._alerts.pop(alert.id, None)
        self._by_key.pop(alert.key, None)
        self._per_rule[alert.rule] -= 1
        self._note(alert)
        self._changes.said.append(events.AlertResolved(now, alert.id, alert.rule))

    def acknowledge(self, alert: Alert, now: float, *, by: str, note: str | None = None) -> None:
        """Somebody looks after an alert; IllegalMove where somebody did already."""
        alert.acknowledge(by, now, note)
        alert.announced = True  # Who acknowledges it knows of it.
        self._note(alert)
        self._changes.said.append(events.AlertAcknowledged(now, alert.id, alert.rule, by))

    def announced(self, alert: Alert) -> None:
        """The notifications of its beginning are handed over."""
        alert.announced = True
        self._note(alert)

    def explain(self, alert: Alert, about: str) -> None:
        """Say what an alert is about, before its message."""
        alert.message = f"{plain(about, _LABEL)}: {alert.message}"
        self._note(alert)

    # Silences

    @property
    def silences(self) -> list[Silence]:
        """All of them, the one that ends first before the others."""
        return sorted(self._silences.values(), key=lambda each: (each.until, each.id))

    def add_silence(self, silence: Silence, now: float) -> None:
        """Keep what fits quiet from now on."""
        self._silences[silence.id] = silence
        self.review(now)

    def drop_silence(self, silence_id: str, now: float) -> bool:
        """Whether there was one; what it kept quiet fires."""
        found = self._silences.pop(silence_id, None)
        self.review(now)
        return found is not None

    def review(self, now: float) -> list[Alert]:
        """Apply the silences and lift those that ended; the alerts that fire again."""
        self._silences = {k: each for k, each in self._silences.items() if each.until > now}
        back = []
        for alert in self._alerts.values():
            if alert.state is AlertState.ACKNOWLEDGED:
                continue
            silence = self._silence_for(alert, now)
            if alert.state is AlertState.FIRING and silence is not None:
                self._quieten(alert, silence, now)
            elif alert.state is AlertState.SILENCED and silence is None:
                self._fire(alert, now)
                back.append(alert)
        return back

    def _silence_for(self, alert: Alert, now: float) -> Silence | None:
        return next((each for each in self._silences.values() if each.matches(alert, now)), None)

    def _quieten(self, alert: Alert, silence: Silence, now: float) -> None:
        alert.move(AlertState.SILENCED)
        alert.silence = silence.id
        self._note(alert)
        self._changes.said.append(events.AlertSilenced(now, alert.id, alert.rule, silence.id))

    def _fire(self, alert: Alert, now: float) -> None:
        alert.move(AlertState.FIRING)
        alert.silence = None
        self._note(alert)
        self._changes.said.append(
            events.AlertRaised(now, alert.id, alert.rule, alert.severity.value, alert.message)
        )

    def _enter(self, alert: Alert) -> None:
        self._alerts[alert.id] = self._by_key[alert.key] = alert
        self._per_rule[alert.rule] += 1

    def _note(self, alert: Alert) -> None:
        if alert.id not in self._changes.new:
            self._changes.changed[alert.id] = alert


def plain_labels(labels: Labels) -> Labels:
    """Labels without anything that acts."""
    return {plain(name, 50): plain(value, _LABEL) for name, value in labels.items()}

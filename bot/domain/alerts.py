"""An alert: one thing that is wrong, by which rule it was noticed, and the moves that are legal.

Times are UNIX seconds. Two occurrences of one rule with the same labels are one alert, counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from bot.errors import IllegalMove


class Severity(StrEnum):
    """How bad it is, the worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class AlertState(StrEnum):
    """How far an alert is. One that is pending has not lasted long enough yet to be told."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


_S = AlertState

#: The table of legal moves. What is wrong again after its end is a new alert.
MOVES: Mapping[AlertState, frozenset[AlertState]] = {
    _S.PENDING: frozenset({_S.FIRING, _S.SILENCED, _S.RESOLVED}),
    _S.FIRING: frozenset({_S.ACKNOWLEDGED, _S.SILENCED, _S.RESOLVED}),
    _S.ACKNOWLEDGED: frozenset({_S.RESOLVED}),
    _S.SILENCED: frozenset({_S.FIRING, _S.ACKNOWLEDGED, _S.RESOLVED}),
    _S.RESOLVED: frozenset(),
}

#: Those in which the thing is still wrong.
LIVE = frozenset({_S.FIRING, _S.ACKNOWLEDGED, _S.SILENCED})

Labels = dict[str, str]


class Alert(msgspec.Struct, omit_defaults=True):
    """One thing that is wrong, or was.

    ``count`` says how often it was noticed, from ``started_at`` to ``last_at``. ``announced`` says
    that the notifications of its beginning were handed over (or that none was due).
    """

    id: str
    rule: str
    severity: Severity
    title: str
    message: str
    labels: Labels
    started_at: float
    last_at: float
    state: AlertState = AlertState.PENDING
    count: int = 1
    value: float | None = None
    announced: bool = False
    acknowledged_at: float | None = None
    acknowledged_by: str | None = None
    note: str | None = None
    silence: str | None = None
    resolved_at: float | None = None
    resolved_by: str | None = None

    @property
    def key(self) -> str:
        """The same for all occurrences of one thing."""
        return key_of(self.rule, self.labels)

    def move(self, state: AlertState) -> None:
        """Go to ``state``; IllegalMove where the table has no such move."""
        if state not in MOVES[self.state]:
            allowed = ", ".join(sorted(MOVES[self.state])) or "nowhere: it is over"
            raise IllegalMove(
                f"alert {self.id} is {self.state} and can't become {state}",
                hint=f"from there it can go to {allowed}",
            )
        self.state = state

    def acknowledge(self, by: str, at: float, note: str | None = None) -> None:
        """Somebody looks after it."""
        self.move(AlertState.ACKNOWLEDGED)
        self.acknowledged_at, self.acknowledged_by = at, by
        self.note = note or self.note

    def resolve(self, by: str, at: float, note: str | None = None) -> None:
        """It is over. ``by`` is who says so, ``""`` the rule itself."""
        self.move(AlertState.RESOLVED)
        self.resolved_at, self.resolved_by = at, by
        self.note = note or self.note


def key_of(rule: str, labels: Mapping[str, str]) -> str:
    """What two occurrences of one thing have in common."""
    return "\0".join([rule, *(f"{name}\1{labels[name]}" for name in sorted(labels))])


class Silence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Alerts that nobody is to be told of until a time.

    What is given of ``rule``, ``severity`` and ``labels`` has to fit, all of it.
    """

    id: str
    until: float
    reason: str
    by: str
    created_at: float
    rule: str | None = None
    severity: Severity | None = None
    labels: Labels = {}

    def matches(self, alert: Alert, now: float) -> bool:
        """Whether it keeps ``alert`` quiet at that time."""
        return (
            now < self.until
            and self.rule in {None, alert.rule}
            and self.severity in {None, alert.severity}
            and self.labels.items() <= alert.labels.items()
        )


class Notification(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a channel is to tell: plain text that was made safe already (see ``plain``).

    ``kind`` is ``raised``, ``resolved``, ``test`` or ``digest``.
    """

    id: str
    kind: str
    severity: Severity
    title: str
    body: str
    rules: tuple[str, ...]
    at: float
    alerts: tuple[str, ...] = ()

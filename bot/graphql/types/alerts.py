"""Alerts, silences, rules and channels."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import strawberry

from bot.domain import alerts as domain
from bot.domain.alert_rules import ReadingRule
from bot.domain.alert_rules import Rule as DomainRule
from bot.graphql.declaring import choice, described, instant, moment, said
from bot.graphql.enums import AlertState, Severity
from bot.services.alerts import AlertSummary as Summary
from bot.services.alerts import ChannelView
from bot.store.alerts import Delivery


@described
class Label:
    """A name and a value."""

    name: str = said("The name.")
    value: str = said("The value.")


def _labels(found: domain.Labels) -> list[Label]:
    return [Label(name=name, value=value) for name, value in sorted(found.items())]


@described
class Alert:
    """One thing that is wrong, or was."""

    id: strawberry.ID = said("Stable and unique.")
    rule: str = said("The rule that noticed it; `manual` where somebody raised it.")
    severity: Severity = said("How bad it is.")
    state: AlertState = said("How far it is.")
    title: str = said("In a few words.")
    message: str = said("What happened.")
    labels: list[Label] = said("What it is about.")
    count: int = said("How often it was noticed.")
    value: float | None = said("The value of the reading, where it is about one.")
    started_at: datetime = said("When it was noticed first.")
    last_at: datetime = said("When it was noticed last.")
    acknowledged_at: datetime | None = said("Since when somebody looks after it.")
    acknowledged_by: str | None = said("Who.")
    note: str | None = said("What they said.")
    resolved_at: datetime | None = said("When it was over.")
    resolved_by: str | None = said("Who said so; empty where the rule did.")

    @classmethod
    def of(cls, found: domain.Alert) -> Alert:
        """As the schema has it."""
        return cls(
            id=strawberry.ID(found.id),
            rule=found.rule,
            severity=found.severity,
            state=found.state,
            title=found.title,
            message=found.message,
            labels=_labels(found.labels),
            count=found.count,
            value=found.value,
            started_at=instant(found.started_at),
            last_at=instant(found.last_at),
            acknowledged_at=moment(found.acknowledged_at),
            acknowledged_by=found.acknowledged_by,
            note=found.note,
            resolved_at=moment(found.resolved_at),
            resolved_by=found.resolved_by,
        )


@described
class AlertPage:
    """A page of alerts, the newest first."""

    items: list[Alert] = said("The alerts.")
    cursor: str | None = said("What `after` takes for the next page; null on the last.")


@described
class Count:
    """How many there are of something."""

    name: str = said("Of what.")
    count: int = said("How many.")


def _counts(found: dict[str, int]) -> list[Count]:
    return [Count(name=name, count=count) for name, count in found.items()]


@described
class AlertSummary:
    """How many alerts there are, and which fire now."""

    by_state: list[Count] = said("Of every state.")
    by_severity: list[Count] = said("Of every severity, of those that are still so.")
    by_rule: list[Count] = said("Of every rule, of those that are still so.")
    firing: list[Alert] = said("Those that fire now, the worst first, at most 100.")
    pending: list[str] = said("Rules that are broken, but not for long enough yet.")

    @classmethod
    def of(cls, found: Summary) -> AlertSummary:
        """As the schema has it."""
        return cls(
            by_state=_counts(found.by_state),
            by_severity=_counts(found.by_severity),
            by_rule=_counts(found.by_rule),
            firing=[Alert.of(each) for each in found.firing],
            pending=found.pending,
        )


@described
class Silence:
    """Alerts that nobody is told of until a time."""

    id: strawberry.ID = said("Stable and unique.")
    until: datetime = said("How long it holds.")
    reason: str = said("Why.")
    by: str = said("Who made it.")
    created_at: datetime = said("When.")
    rule: str | None = said("Of that rule alone.")
    severity: Severity | None = said("Of that severity alone.")
    labels: list[Label] = said("With those labels alone.")

    @classmethod
    def of(cls, found: domain.Silence) -> Silence:
        """As the schema has it."""
        return cls(
            id=strawberry.ID(found.id),
            until=instant(found.until),
            reason=found.reason,
            by=found.by,
            created_at=instant(found.created_at),
            rule=found.rule,
            severity=found.severity,
            labels=_labels(found.labels),
        )


@described
class AlertRule:
    """What is worth an alert."""

    name: str = said("Its name.")
    severity: Severity = said("How bad it is when it is broken.")
    title: str = said("In a few words.")
    reading: str | None = said("The reading that it watches, where it watches one.")
    comparison: str | None = said("How the reading is compared.")
    threshold: float | None = said("With what.")
    hold: float | None = said("For how many seconds it has to be so.")
    event: str | None = said("The occasion that it waits for, where it watches none.")

    @classmethod
    def of(cls, found: DomainRule) -> AlertRule:
        """As the schema has it."""
        watched = found if isinstance(found, ReadingRule) else None
        return cls(
            name=found.name,
            severity=found.severity,
            title=found.title,
            reading=None if watched is None else watched.reading,
            comparison=None if watched is None else watched.comparison,
            threshold=None if watched is None else watched.threshold,
            hold=None if watched is None else watched.hold,
            event=None if isinstance(found, ReadingRule) else found.event,
        )


@described
class AlertChannel:
    """Where alerts are told."""

    name: str = said("Its name.")
    url: str | None = said("Its address, without secrets.")
    min_severity: Severity = said("It is told what is as bad as that, or worse.")
    failing: bool = said("Whether the last message did not get there.")
    error: str | None = said("Why not.")
    pending: int = said("Messages that wait.")
    delivered: int = said("Messages that got there.")
    failed: int = said("Messages that were given up.")
    last_sent: datetime | None = said("When one got there last.")

    @classmethod
    def of(cls, view: ChannelView) -> AlertChannel:
        """As the schema has it."""
        route, health = view.courier.route, view.courier.health
        return cls(
            name=view.courier.channel.name,
            url=view.courier.channel.shown,
            min_severity=route.min_severity,
            failing=bool(health.failing),
            error=health.error,
            pending=view.counts.get("pending", 0),
            delivered=view.counts.get("delivered", 0),
            failed=view.counts.get("failed", 0),
            last_sent=moment(health.last_sent),
        )


class DeliveryState(Enum):
    """How far a message is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


choice(DeliveryState)


@described
class Notification:
    """A message about alerts, through one channel."""

    id: strawberry.ID = said("Stable and unique.")
    channel: str = said("The channel.")
    kind: str = said("`raised`, `resolved`, `test` or `digest`.")
    severity: Severity = said("How bad the worst of it is.")
    state: DeliveryState = said("How far it is.")
    title: str = said("In a few words.")
    body: str = said("What it says.")
    alerts: list[strawberry.ID] = said("The alerts that it is about.")
    attempts: int = said("How often it was tried.")
    tried_for: float = said("For how many seconds.")
    error: str | None = said("Why it did not get there.")
    created_at: datetime = said("When it was written.")
    finished_at: datetime | None = said("When it got there, or was given up.")

    @classmethod
    def of(cls, found: Delivery) -> Notification:
        """As the schema has it."""
        told = found.notification
        return cls(
            id=strawberry.ID(told.id),
            channel=found.channel,
            kind=told.kind,
            severity=told.severity,
            state=DeliveryState(found.state),
            title=told.title,
            body=told.body,
            alerts=[strawberry.ID(each) for each in told.alerts],
            attempts=found.attempts,
            tried_for=found.tried_for,
            error=found.error,
            created_at=instant(found.created_at),
            finished_at=moment(found.finished_at),
        )

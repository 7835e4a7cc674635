"""The words of alerts: of a broken reading, and of the notifications that go out."""

from __future__ import annotations

from collections.abc import Sequence

from bot.domain.alert_rules import ReadingRule
from bot.domain.alerts import Alert, Notification, Severity
from bot.domain.plain import plain
from bot.operations.alert_signals import Sample

_LISTED = 5  # alerts of one rule that a notification says more than a number of
_LINE, _BODY = 400, 3000  # characters; a short message of Telegram has 4,096
_WORDS = {
    "<": "below",
    "<=": "at most",
    ">": "above",
    ">=": "at least",
    "==": "which is",
    "!=": "which is not",
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def shown(reading: str, value: float) -> str:
    """A value for people, by what the name of its reading ends with."""
    if reading.endswith("_seconds"):
        for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
            if abs(value) >= size:
                return f"{value / size:.1f} {unit}"
        return f"{value:.0f} s"
    if reading.endswith(("_bytes", "_bytes_per_second")) or reading.startswith("bytes_"):
        for unit in _UNITS:
            if abs(value) < 1024 or unit == _UNITS[-1]:
                return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
            value /= 1024
    if reading.endswith("_ratio"):
        return f"{value:.1%}"
    return f"{value:g}"


def broken(rule: ReadingRule, sample: Sample | None) -> str:
    """What is wrong, with the figures."""
    limit = f"{_WORDS[rule.comparison]} {shown(rule.reading, rule.threshold)}"
    if sample is None:
        return f"{rule.reading} is not there"
    about = ", ".join(sample.labels.values())
    lasted = f" for {shown('_seconds', rule.hold)}" if rule.hold else ""
    text = f"{rule.reading} is {shown(rule.reading, sample.value)}, {limit}{lasted}"
    return ": ".join(part for part in (about, sample.note or text) if part)


def raised(alerts: Sequence[Alert], notification_id: str, at: float) -> Notification:
    """The notification of alerts of one rule: how many, and what the first are."""
    worst = min(alerts, key=lambda alert: alert.severity.rank)
    many = f" ({len(alerts)})" if len(alerts) > 1 else ""
    return _notification("raised", worst, f"{worst.title}{many}", alerts, notification_id, at)


def resolved(alerts: Sequence[Alert], notification_id: str, at: float) -> Notification:
    """The notification that alerts of one rule are over."""
    first = alerts[0]
    many = f" ({len(alerts)})" if len(alerts) > 1 else ""
    return _notification(
        "resolved", first, f"Over: {first.title}{many}", alerts, notification_id, at
    )


def _notification(
    kind: str,
    of: Alert,
    title: str,
    alerts: Sequence[Alert],
    notification_id: str,
    at: float,
) -> Notification:
    lines = [_line(alert) for alert in alerts[:_LISTED]]
    more = len(alerts) - _LISTED
    if more > 0:
        lines.append(f"and {more} more")
    return Notification(
        id=notification_id,
        kind=kind,
        severity=of.severity,
        title=f"[{of.severity}] {title}",
        body="\n".join(lines)[:_BODY],
        rules=(of.rule,),
        at=at,
        alerts=tuple(alert.id for alert in alerts),
    )


def _line(alert: Alert) -> str:
    times = f" ({alert.count} times)" if alert.count > 1 else ""
    message = alert.message if len(alert.message) <= _LINE else f"{alert.message[: _LINE - 1]}…"
    return f"- {message}{times}"


def trial(notification_id: str, at: float, by: str) -> Notification:
    """What the test of a channel sends."""
    return Notification(
        id=notification_id,
        kind="test",
        severity=Severity.LOW,
        title="[test] mltb",
        body=f"This is a test, asked for by {plain(by, 100)}. Alerts reach this channel.",
        rules=(),
        at=at,
    )

"""The rules that a service has: the built-in ones, as the operator changed and added to them."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bot.domain.alert_rules import EventRule, Missing, ReadingRule, Rule
from bot.domain.alerts import Severity
from bot.errors import ConfigError
from bot.operations.alert_occasions import OCCASIONS

#: Alerts that somebody triggers by hand have this rule.
MANUAL = "manual"
_DAY = 86400.0
#: The gauges of monitor plugins, which no list has: plugins come and go.
_OF_PLUGINS = re.compile(r"plugin:[a-z][a-z0-9_]{0,63}:[a-z0-9_]{1,64}")

#: The built-in rules, written as an operator would write them in ALERT_RULES.
BUILT_IN: tuple[Mapping[str, Any], ...] = (
    {"name": "task_failed", "event": "task.failed", "severity": "medium", "title": "Task failed"},
    {
        "name": "failure_rate",
        "reading": "failures_per_minute",
        "comparison": ">=",
        "threshold": 20,
        "clear": 10,
        "for": 120,
        "severity": "high",
        "title": "Many stages fail",
    },
    {
        "name": "disk_low",
        "reading": "disk_free_ratio",
        "comparison": "<",
        "threshold": 0.05,
        "clear": 0.07,
        "for": 60,
        "severity": "high",
        "title": "The disk of the downloads is almost full",
    },
    {
        "name": "data_disk_low",
        "reading": "data_free_bytes",
        "comparison": "<",
        "threshold": 256 * 1024**2,
        "clear": 512 * 1024**2,
        "for": 60,
        "severity": "critical",
        "title": "The disk of the data directory is almost full",
    },
    {
        "name": "queue_stuck",
        "reading": "queue_idle_seconds",
        "comparison": ">=",
        "threshold": 300,
        "severity": "high",
        "title": "Tasks wait, places are free, and nothing moves",
    },
    {
        "name": "speed_collapse",
        "reading": "speed_ratio",
        "comparison": "<",
        "threshold": 0.1,
        "clear": 0.3,
        "for": 120,
        "severity": "low",
        "title": "Downloads are much slower than a while ago",
        "missing": "ok",
    },
    {
        "name": "plugin_crashed",
        "event": "plugin.crashed",
        "severity": "high",
        "title": "Plugin crashed",
        "keep": 3600,
    },
    {"name": "backup_failed", "event": "backup.failed", "severity": "high", "title": "No backup"},
    {
        "name": "integrity_wrong",
        "event": "integrity.wrong",
        "severity": "high",
        "title": "Files are not what they were",
        "keep": 30 * _DAY,
    },
    {
        "name": "token_expiring",
        "reading": "token_left_seconds",
        "comparison": "<",
        "threshold": 7 * _DAY,
        "severity": "medium",
        "title": "An access token is about to end",
        "missing": "ok",
    },
    {
        "name": "certificate_expiring",
        "reading": "certificate_left_seconds",
        "comparison": "<",
        "threshold": 14 * _DAY,
        "severity": "high",
        "title": "A certificate is about to end",
        "missing": "ok",
    },
)

_COMMON = frozenset({"name", "enabled", "severity", "title"})
_OF_READINGS = _COMMON | {"reading", "comparison", "threshold", "for", "clear", "missing"}
_OF_EVENTS = _COMMON | {"event", "keep"}


def backup_overdue(every: float) -> Mapping[str, Any]:
    """The built-in rule for backups that are made every so many seconds.

    The first comes soon after the first start, so a service without any for an hour has none.
    """
    return {
        "name": "backup_overdue",
        "reading": "last_backup_age_seconds",
        "comparison": ">",
        "threshold": 1.5 * every,
        "for": 3600,
        "missing": "fire",
        "severity": "high",
        "title": "The last backup is too old",
    }


def compile_rules(
    declared: Sequence[Mapping[str, Any]],
    *,
    built_in: Sequence[Mapping[str, Any]],
    readings: Collection[str],
) -> tuple[Rule, ...]:
    """The rules: a declared one with the name of a built-in one changes what it names of it.

    ConfigError says which rule is wrong in what, and what is allowed.
    """
    found: dict[str, dict[str, Any]] = {str(rule["name"]): dict(rule) for rule in built_in}
    seen: set[str] = set()
    for rule in declared:
        name = str(rule["name"])
        if name in seen:
            raise _wrong(name, "is there twice", "give each rule a name of its own")
        if name == MANUAL:
            raise _wrong(name, "is the name of alerts by hand", "give it another name")
        seen.add(name)
        found[name] = found.get(name, {}) | dict(rule)
    return tuple(_rule(rule, readings) for rule in found.values() if rule.get("enabled", True))


def _rule(rule: Mapping[str, Any], readings: Collection[str]) -> Rule:
    name = str(rule["name"])
    if ("event" in rule) == ("reading" in rule):
        kinds = "a reading (with comparison and threshold) or an event"
        raise _wrong(name, "is about nothing, or about two things", f"name {kinds}")
    allowed = _OF_EVENTS if "event" in rule else _OF_READINGS
    for key in rule:
        if key not in allowed:
            kind = "event" if "event" in rule else "reading"
            hint = f"a rule over an {kind} has {', '.join(sorted(allowed))}"
            raise _wrong(name, f"can't have {key!r}", hint.replace("an reading", "a reading"))
    severity = Severity(rule.get("severity", "medium"))
    title = str(rule.get("title") or name.replace("_", " "))
    if "event" in rule:
        _known(name, "event", rule["event"], OCCASIONS)
        return EventRule(name, severity, title, rule["event"], float(rule.get("keep", _DAY)))
    return _reading_rule(name, severity, title, rule, readings)


def _reading_rule(
    name: str,
    severity: Severity,
    title: str,
    rule: Mapping[str, Any],
    readings: Collection[str],
) -> ReadingRule:
    if not _OF_PLUGINS.fullmatch(rule["reading"]):  # those come and go: nobody can list them
        _known(name, "reading", rule["reading"], readings)
    for key in ("comparison", "threshold"):
        if key not in rule:
            raise _wrong(name, f"has no {key}", 'as in "comparison": "<", "threshold": 0.05')
    comparison, threshold, clear = rule["comparison"], rule["threshold"], rule.get("clear")
    beyond = {"<": operator.lt, "<=": operator.lt, ">": operator.gt, ">=": operator.gt}
    if clear is not None and (comparison not in beyond or beyond[comparison](clear, threshold)):
        raise _wrong(
            name,
            f"can't end at {clear:g} when it begins {comparison} {threshold:g}",
            "clear lies on the good side of threshold: above it for <, below it for >",
        )
    return ReadingRule(
        name,
        severity,
        title,
        rule["reading"],
        comparison,
        float(threshold),
        float(rule.get("for", 0.0)),
        clear,
        Missing(rule.get("missing", Missing.KEEP)),
    )


def _known(name: str, what: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        did = f"did you mean {near[0]!r}? " if near else ""
        raise _wrong(
            name, f"is about the {what} {given!r}, which there is not", did + ", ".join(known)
        )


def _wrong(name: str, what: str, hint: str) -> ConfigError:
    return ConfigError(f"ALERT_RULES: the rule {name!r} {what}", hint=hint)

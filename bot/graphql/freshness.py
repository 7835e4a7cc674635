"""How long an answer is good, and what makes it old: declared for each field that is not for ever.

A field that is not named here lives as long as QUERY_CACHE_TTL allows, and changes with the tags of
the root fields around it. A root field has to be named: a test says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.domain import events

_NEVER, _MOMENT, _SHORT = 0.0, 1.0, 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Freshness:
    """``ttl`` in seconds, None where only the tags end it; ``tags`` are what it is about."""

    ttl: float | None
    tags: frozenset[str] = frozenset()


def _about(*tags: str, ttl: float | None = None) -> Freshness:
    return Freshness(ttl, frozenset(tags))


#: By type and field.
FIELDS: dict[tuple[str, str], Freshness] = {
    ("Query", "viewer"): _about(),
    ("Query", "task"): _about("tasks"),
    ("Query", "tasks"): _about("tasks"),
    ("Query", "taskCounts"): _about("tasks"),
    ("Query", "plan"): _about(ttl=_NEVER),  # it has a cache of its own
    ("Query", "queue"): _about("tasks", ttl=_MOMENT),
    ("Query", "receipts"): _about("tasks"),
    ("Query", "alerts"): _about("alerts", ttl=_MOMENT),  # one that is noticed again is counted
    ("Query", "alertPage"): _about("alerts", ttl=_MOMENT),
    ("Query", "alert"): _about("alerts", ttl=_MOMENT),
    ("Query", "alertSummary"): _about("alerts", ttl=_MOMENT),
    ("Query", "silences"): _about("alerts", ttl=_NEVER),
    ("Query", "alertRules"): _about(),
    ("Query", "alertChannels"): _about(ttl=_NEVER),
    ("Query", "backups"): _about("backups", ttl=_SHORT),
    ("Query", "notifications"): _about(ttl=_NEVER),
    ("Query", "backup"): _about("backups", ttl=_SHORT),
    ("Query", "backupStats"): _about("backups", ttl=_MOMENT),
    ("Query", "lastRestore"): _about("backups"),
    ("Query", "loggerStats"): _about(ttl=_SHORT),
    ("Query", "logs"): _about(ttl=_NEVER),
    ("Query", "currentMetrics"): _about(ttl=_MOMENT),
    ("Query", "metrics"): _about(ttl=_SHORT),
    ("Query", "operationStats"): _about("profiler", ttl=_MOMENT),
    ("Query", "slowOperations"): _about(ttl=_NEVER),
    ("Query", "recoveryStatus"): _about("tasks", "checks", ttl=_MOMENT),
    ("Query", "starts"): _about(ttl=_MOMENT),
    ("Query", "check"): _about("checks", ttl=_MOMENT),
    ("Query", "checks"): _about("checks", ttl=_MOMENT),
    ("Query", "systemStatus"): _about("tasks", "alerts", ttl=_MOMENT),
    ("Query", "plugins"): _about("plugins", ttl=_MOMENT),
    ("Query", "plugin"): _about("plugins", ttl=_MOMENT),
    ("Query", "pluginConfig"): _about(ttl=_NEVER),
    ("Query", "pluginLines"): _about(ttl=_NEVER),
    ("Query", "pluginKeys"): _about(ttl=_NEVER),
    ("Query", "settings"): _about(),
    ("Query", "audit"): _about(ttl=_NEVER),
    ("Query", "users"): _about(ttl=_NEVER),
    ("Query", "cacheStats"): _about(ttl=_NEVER),
    ("Query", "hotQueries"): _about(ttl=_NEVER),
    ("Query", "__schema"): _about(),
    ("Query", "__type"): _about(),
    ("Query", "__typename"): _about(),
    ("Task", "progress"): _about(ttl=_MOMENT),
    ("Task", "size"): _about(ttl=_SHORT),  # it may be learnt on the way
    ("Task", "version"): _about(ttl=_MOMENT),  # each checkpoint is a change that nobody is told of
    ("Task", "updatedAt"): _about(ttl=_MOMENT),
    ("Stage", "seconds"): _about(ttl=_MOMENT),
    ("Finding", "task"): _about("tasks"),
}

#: What a mutation changes.
CHANGES: dict[str, frozenset[str]] = {
    "submitTasks": frozenset({"tasks"}),
    "cancelTask": frozenset({"tasks"}),
    "deleteTask": frozenset({"tasks"}),
    "retryTask": frozenset({"tasks"}),
    "pauseTask": frozenset({"tasks"}),
    "resumeTask": frozenset({"tasks"}),
    "setPriority": frozenset({"tasks"}),
    "selectFiles": frozenset({"tasks"}),
    "triggerAlert": frozenset({"alerts"}),
    "acknowledgeAlert": frozenset({"alerts"}),
    "resolveAlert": frozenset({"alerts"}),
    "silenceAlert": frozenset({"alerts"}),
    "endSilence": frozenset({"alerts"}),
    "testAlertChannel": frozenset(),
    "createBackup": frozenset({"backups"}),
    "verifyBackup": frozenset({"backups"}),
    "deleteBackup": frozenset({"backups"}),
    "restoreBackup": frozenset({"backups"}),
    "verifyIntegrity": frozenset({"checks"}),
    "cancelCheck": frozenset({"checks"}),
    "moveTask": frozenset({"tasks"}),
    "actOnTasks": frozenset({"tasks"}),
    "addUser": frozenset(),
    "changeUser": frozenset(),
    "removeUser": frozenset(),
    "refetch": frozenset({"tasks"}),
    "enablePlugin": frozenset({"plugins"}),
    "disablePlugin": frozenset({"plugins"}),
    "reloadPlugin": frozenset({"plugins"}),
    "configurePlugin": frozenset({"plugins"}),
    "executePlugin": frozenset({"plugins"}),
    "trustPluginKey": frozenset({"plugins"}),
    "revokePluginKey": frozenset({"plugins"}),
    "createToken": frozenset(),
    "revokeToken": frozenset(),
    "resetProfiler": frozenset({"profiler"}),
    "takeProfile": frozenset(),
    "invalidateCache": frozenset(),
}

_OF_EVENTS: tuple[tuple[tuple[type[events.Event], ...], frozenset[str]], ...] = (
    ((events.TaskEvent,), frozenset({"tasks"})),
    (
        (
            events.AlertRaised,
            events.AlertAcknowledged,
            events.AlertSilenced,
            events.AlertResolved,
        ),
        frozenset({"alerts"}),
    ),
    (
        (
            events.BackupMade,
            events.BackupFailed,
            events.BackupVerified,
            events.BackupRestored,
        ),
        frozenset({"backups"}),
    ),
    ((events.IntegrityChecked,), frozenset({"checks"})),
    ((events.PluginKilled, events.PluginCrashed), frozenset({"plugins"})),
    ((events.DebrisSwept,), frozenset({"tasks"})),
)


#: Everything that an answer may be about.
TAGS = frozenset(tag for each in FIELDS.values() for tag in each.tags)


def changed_by(event: events.Event) -> frozenset[str]:
    """What an event makes old."""
    for kinds, tags in _OF_EVENTS:
        if isinstance(event, kinds):
            return tags
    return frozenset()


def of_fields(fields: Iterable[tuple[str, str]], longest: float) -> Freshness:
    """How long an answer with those fields is good, ``longest`` seconds at most."""
    ttl, tags = longest, frozenset[str]()
    for each in fields:
        found = FIELDS.get(each)
        if found is None:
            if each[0] == "Query":
                return Freshness(_NEVER)
            continue
        tags |= found.tags
        if found.ttl is not None:
            ttl = min(ttl, found.ttl)
    return Freshness(ttl, tags)

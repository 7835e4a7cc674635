"""The events that are worth an alert, and those after which one is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.domain import events
from bot.domain.alert_book import plain_labels
from bot.domain.alerts import Labels
from bot.domain.task import TaskState


@dataclass(frozen=True, slots=True)
class Noticed:
    """What one event says about the thing that ``labels`` name: ``message`` of what is wrong with
    it, None where it is well again."""

    occasion: str
    labels: Labels
    message: str | None


def _task_failed(event: events.StageFailed) -> Noticed | None:
    if event.retry_at is not None:
        return None
    text = f"failed in {event.stage} (try {event.attempt}): {event.message} [{event.code}]"
    return Noticed("task.failed", _of_task(event), text)


def _task_moved(event: events.TaskMoved) -> Noticed | None:
    again = event.before is TaskState.FAILED and event.after is not TaskState.FAILED
    return Noticed("task.failed", _of_task(event), None) if again else None


def _task_removed(event: events.TaskRemoved) -> Noticed:
    return Noticed("task.failed", _of_task(event), None)


def _of_task(event: events.TaskEvent) -> Labels:
    return plain_labels({"task": event.task, "user": event.user})


def _plugin_crashed(event: events.PluginCrashed) -> Noticed:
    return Noticed("plugin.crashed", plain_labels({"plugin": event.plugin}), event.message)


def _plugin_killed(event: events.PluginKilled) -> Noticed:
    labels = plain_labels({"plugin": event.plugin})
    return Noticed("plugin.crashed", labels, f"it was ended by force: {event.reason}")


def _backup_failed(event: events.BackupFailed) -> Noticed:
    return Noticed("backup.failed", {}, f"{event.message} [{event.code}]")


def _backup_made(event: events.BackupMade) -> Noticed:
    return Noticed("backup.failed", {}, None)


def _integrity_checked(event: events.IntegrityChecked) -> Noticed:
    text = f"{event.wrong} of {event.files} files differ or are gone (check {event.check})"
    return Noticed("integrity.wrong", {}, text if event.wrong else None)


#: What rules over events can be about.
OCCASIONS: Mapping[str, str] = {
    "task.failed": "A task failed for good; over when it is tried again or removed.",
    "plugin.crashed": "A plugin ended with an error, or was ended by force.",
    "backup.failed": "A backup could not be made; over with the next that is.",
    "integrity.wrong": "A check found files that differ or are gone; over with a clean check.",
}

#: What to make of each kind of event; those that are not here are of no interest.
NOTICES: Mapping[type[events.Event], Callable[..., Noticed | None]] = {
    events.StageFailed: _task_failed,
    events.TaskMoved: _task_moved,
    events.TaskRemoved: _task_removed,
    events.PluginCrashed: _plugin_crashed,
    events.PluginKilled: _plugin_killed,
    events.BackupFailed: _backup_failed,
    events.BackupMade: _backup_made,
    events.IntegrityChecked: _integrity_checked,
}

"""What subscriptions tell besides what queries do."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import strawberry

from bot.domain import events
from bot.graphql.declaring import choice, described, instant, said
from bot.graphql.types.tasks import Task


class TaskChangeKind(Enum):
    """What happened to a task."""

    SUBMITTED = "submitted"
    CHANGED = "changed"
    REMOVED = "removed"


choice(TaskChangeKind)


@described
class TaskChange:
    """Something that happened to a task."""

    kind: TaskChangeKind = said("What.")
    id: strawberry.ID = said("To which task.")
    at: datetime = said("When.")
    task: Task | None = said("How it is now; null where it was removed.")


@described
class PluginEvent:
    """Something that happened to a plugin."""

    plugin: strawberry.ID = said("To which.")
    kind: str = said("What, such as `crashed`.")
    message: str = said("In words.")
    at: datetime = said("When.")

    @classmethod
    def of(cls, event: events.Event) -> PluginEvent | None:
        """As the schema has it; None where it is about no plugin."""
        if isinstance(event, events.PluginKilled):
            kind, message, plugin = "killed", event.reason, event.plugin
        elif isinstance(event, events.PluginCrashed):
            kind, message, plugin = "crashed", event.message, event.plugin
        else:
            return None
        return cls(plugin=strawberry.ID(plugin), kind=kind, message=message, at=instant(event.at))

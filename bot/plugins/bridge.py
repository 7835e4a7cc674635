"""From the one event stream to the hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from bot import __version__
from bot.domain import events
from bot.domain.task import Task, TaskState
from bot.plugins import hooks
from bot.plugins.dispatch import Dispatcher
from bot.plugins.hooks import TaskInfo

#: Gives the task of that id while it is known, or None.
FindTask = Callable[[str], Task | None]


class Bridge:
    """Listens to the events and tells the plugins. ``shown`` takes the secrets out of a source;
    ``ready`` waits until the plugins that start with the service have started."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        find: FindTask,
        shown: Callable[[str], str],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._dispatcher = dispatcher
        self._find = find
        self._shown = shown
        self._ready = ready
        self._greeting: asyncio.Task[None] | None = None

    def hear(self, event: events.Event) -> None:
        """A listener of the hub."""
        if isinstance(event, events.ServiceStarted):
            # The service does not wait for its plugins, so this is over before they can hear it.
            self._greeting = asyncio.get_running_loop().create_task(self._greet(event))
            return
        found = _hook_of(event)
        if found is not None and self._dispatcher.wanted(found[0]):
            hook, make = found
            self._dispatcher.tell(hook, make(self, event))

    async def _greet(self, event: events.ServiceStarted) -> None:
        await self._ready()
        self._dispatcher.tell("on_service_started", _service(self, event))

    def task_of(self, event: events.TaskEvent) -> TaskInfo:
        """What a plugin is told of the task of an event."""
        task = self._find(event.task)
        if task is not None:
            return task_info(task, self._shown)
        return TaskInfo(event.task, event.user, "", "", "")


def task_info(task: Task, shown: Callable[[str], str]) -> TaskInfo:
    """What a plugin is told of a task; ``shown`` takes the secrets out of its source."""
    return TaskInfo(
        id=task.id,
        user=task.user,
        source=shown(task.source),
        destination=task.destination,
        state=str(task.state),
        name=task.name,
        engine=task.engine,
        size=task.size,
    )


Make = Callable[[Bridge, Any], msgspec.Struct]


def _task(bridge: Bridge, event: events.TaskEvent) -> TaskInfo:
    return bridge.task_of(event)


def _stage(bridge: Bridge, event: events.StageFinished) -> msgspec.Struct:
    return hooks.StageInfo(bridge.task_of(event), event.stage, event.seconds, event.size)


def _done(bridge: Bridge, event: events.TaskDone) -> msgspec.Struct:
    return hooks.DoneInfo(bridge.task_of(event), event.path, event.size, event.sha256)


def _failure(bridge: Bridge, event: events.StageFailed) -> msgspec.Struct:
    return hooks.FailureInfo(
        bridge.task_of(event), event.stage, event.code, event.message, event.attempt
    )


def _alert(_: Bridge, event: events.AlertRaised) -> msgspec.Struct:
    return hooks.AlertInfo(event.alert, event.rule, event.severity, event.message)


def _backup(_: Bridge, event: events.BackupMade) -> msgspec.Struct:
    return hooks.BackupInfo(event.name, event.path, event.size)


def _service(_: Bridge, event: events.Event) -> msgspec.Struct:
    return hooks.ServiceInfo(event.at, __version__)


_TOLD: dict[type[events.Event], tuple[str, Make]] = {
    events.TaskSubmitted: ("on_task_submitted", _task),
    events.TaskPlanned: ("on_task_planned", _task),
    events.StageFinished: ("on_stage_finished", _stage),
    events.TaskDone: ("on_task_completed", _done),
    events.AlertRaised: ("on_alert_raised", _alert),
    events.BackupMade: ("on_backup_made", _backup),
    events.ServiceStopping: ("on_service_stopping", _service),
}
#: States in which a task does not run.
_RESTING = frozenset({TaskState.PAUSED, TaskState.CANCELLED, TaskState.FAILED})


def _hook_of(event: events.Event) -> tuple[str, Make] | None:
    """The hook that an event means, and how its payload is made; None for most events."""
    if isinstance(event, events.StageFailed):
        return ("on_task_failed", _failure) if event.retry_at is None else None
    if isinstance(event, events.TaskMoved):
        if event.after is TaskState.CANCELLED:
            return "on_task_cancelled", _task
        started = event.before is TaskState.QUEUED and event.after not in _RESTING
        return ("on_task_started", _task) if started else None
    return _TOLD.get(type(event))

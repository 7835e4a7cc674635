"""What can be followed. Each runs once for all who follow the same thing in the same role."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry

from bot.domain import events
from bot.domain.task import FINAL
from bot.errors import InvalidInput, NotFound
from bot.graphql.declaring import Asked, argument, described, followed, instant
from bot.graphql.enums import Severity
from bot.graphql.types.alerts import Alert
from bot.graphql.types.live import PluginEvent, TaskChange, TaskChangeKind
from bot.graphql.types.observing import LogLevel, LogLine, Metric
from bot.graphql.types.tasks import Task
from bot.operations.log_reader import LogQuery
from bot.services import Scope

_TICK = 1.0  # seconds between two looks at a running task
_ALERTS = (
    events.AlertRaised,
    events.AlertAcknowledged,
    events.AlertSilenced,
    events.AlertResolved,
)
#: Those whose last value says how things are now: who joins later gets it at once.
STATES = frozenset({"taskProgress", "metrics"})


@described
class Subscription:
    """What can be followed. A caller without the scope ADMIN follows own tasks only."""

    @followed
    async def task_progress(
        self,
        info: Asked,
        id: Annotated[strawberry.ID, argument("Which task.")],  # noqa: A002
    ) -> AsyncGenerator[Task, None]:
        """A task now, with each change, and each second while it runs; ends when it is over."""
        context, version, progress = info.context, -1, None
        with context.hub.subscribe() as stream:
            while True:
                view = await context.services.tasks.show(context.caller, str(id))
                if (view.task.version, view.progress) != (version, progress):
                    version, progress = view.task.version, view.progress
                    yield Task.of(view)
                if view.task.state in FINAL:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK):
                        while not _is_about(await anext(stream), str(id)):
                            pass

    @followed
    async def tasks(self, info: Asked) -> AsyncGenerator[TaskChange, None]:
        """Every change of every task."""
        context = info.context
        caller = context.caller
        with context.hub.subscribe() as stream:
            async for event in stream:
                if not isinstance(event, events.TaskEvent):
                    continue
                if not caller.sees_all and event.user != caller.user:
                    continue
                found = (await context.services.tasks.many(caller, [event.task])).get(event.task)
                yield TaskChange(
                    kind=_kind(event),
                    id=strawberry.ID(event.task),
                    at=instant(event.at),
                    task=None if found is None else Task.of(found),
                )

    @followed
    async def alerts(
        self,
        info: Asked,
        severity: Annotated[Severity | None, argument("As bad as this, or worse.")] = None,
    ) -> AsyncGenerator[Alert, None]:
        """Alerts as they begin, and as they change."""
        context = info.context
        context.caller.require(Scope.VIEW)
        with context.hub.subscribe() as stream:
            async for event in stream:
                if not isinstance(event, _ALERTS):
                    continue
                try:
                    found = await context.services.alerts.show(context.caller, event.alert)
                except NotFound:
                    continue  # it was forgotten meanwhile
                if severity is None or found.severity.rank <= severity.rank:
                    yield Alert.of(found)

    @followed
    async def logs(
        self,
        info: Asked,
        level: Annotated[LogLevel | None, argument("This and above.")] = None,
        logger: Annotated[str | None, argument("This and those below it.")] = None,
        task: Annotated[strawberry.ID | None, argument("Of this task.")] = None,
        text: Annotated[str | None, argument("In message, fields or traceback.")] = None,
    ) -> AsyncGenerator[LogLine, None]:
        """Lines of the log as they come (for admins)."""
        query = LogQuery(
            None if level is None else level.value,
            logger,
            None if task is None else str(task),
            None,
            text,
        )
        found = await info.context.services.logs.follow(info.context.caller, query)
        async with contextlib.aclosing(found) as batches:
            async for batch in batches:
                for _, line in batch:
                    yield LogLine.of(line)

    @followed
    async def metrics(
        self,
        info: Asked,
        interval: Annotated[float, argument("Seconds between two, from 1 to 3600.")] = 5.0,
        names: Annotated[list[str] | None, argument("These alone.")] = None,
    ) -> AsyncGenerator[list[Metric], None]:
        """Metrics now, and again and again."""
        if not 1 <= interval <= 3600:
            raise InvalidInput(f"an interval of {interval:g} seconds", hint="from 1 to 3600")
        wanted = None if names is None else set(names)
        while True:
            found = info.context.services.metrics.current(info.context.caller)
            yield [
                Metric.of(reading, value)
                for reading, value in found
                if wanted is None or reading.name in wanted
            ]
            await info.context.clock.sleep(interval)

    @followed
    async def plugin_events(self, info: Asked) -> AsyncGenerator[PluginEvent, None]:
        """What happens to plugins."""
        info.context.caller.require(Scope.VIEW)
        with info.context.hub.subscribe() as stream:
            async for event in stream:
                found = PluginEvent.of(event)
                if found is not None:
                    yield found


def _is_about(event: events.Event, task_id: str) -> bool:
    return isinstance(event, events.TaskEvent) and event.task == task_id


def _kind(event: events.TaskEvent) -> TaskChangeKind:
    if isinstance(event, events.TaskSubmitted):
        return TaskChangeKind.SUBMITTED
    if isinstance(event, events.TaskRemoved):
        return TaskChangeKind.REMOVED
    return TaskChangeKind.CHANGED

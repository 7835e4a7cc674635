"""What can be asked: each field calls a service and shapes its answer."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated

import strawberry

from bot.domain.ports import TaskQuery
from bot.errors import InvalidInput, NotFound
from bot.graphql.declaring import Asked, argument, choice, described, resolver
from bot.graphql.enums import AlertState, Severity, TaskState
from bot.graphql.inputs import SubmissionInput
from bot.graphql.types.alerts import (
    Alert,
    AlertChannel,
    AlertPage,
    AlertRule,
    AlertSummary,
    Silence,
)
from bot.graphql.types.backups import Backup, BackupStats, Restore
from bot.graphql.types.observing import (
    LoggerStats,
    LogLevel,
    LogLine,
    LogPage,
    Metric,
    MetricsHistory,
    OperationStats,
    SlowOperation,
)
from bot.graphql.types.plugins import Plugin
from bot.graphql.types.recovery import Check, RecoveryStatus, Start
from bot.graphql.types.service import (
    CacheStats,
    HotQuery,
    Queue,
    Setting,
    SystemStatus,
    Token,
    User,
    Viewer,
)
from bot.graphql.types.tasks import (
    PageInfo,
    Plan,
    Receipt,
    Task,
    TaskConnection,
    TaskCount,
    TaskEdge,
)
from bot.operations.log_lines import stamp
from bot.operations.log_reader import LogQuery
from bot.services import TaskView
from bot.store.alerts import AlertQuery

_POINTS = 1000


class TaskSort(Enum):
    """What a list of tasks is sorted by."""

    CREATED = "created"
    UPDATED = "updated"
    SIZE = "size"
    NAME = "name"
    PRIORITY = "priority"


choice(TaskSort)

First = Annotated[int, argument("How many at most, from 1 to 500.")]
After = Annotated[str | None, argument("The cursor of the page before.")]


def _page(first: int) -> int:
    if not 1 <= first <= 500:
        raise InvalidInput(f"first is {first}", hint="ask for 1 to 500")
    return first


@described
class Query:
    """What can be asked. A caller without the scope ADMIN sees own tasks only."""

    # Tasks

    @resolver
    def viewer(self, info: Asked) -> Viewer:
        """Who asks."""
        caller = info.context.caller
        return Viewer(user=caller.user, scope=caller.scope)

    @resolver
    async def task(
        self,
        info: Asked,
        id: Annotated[strawberry.ID, argument("Its id.")],  # noqa: A002
    ) -> Task | None:
        """One task; null where there is none."""
        view = await info.context.tasks.load(str(id))
        return None if view is None else Task.of(view)

    @resolver
    async def tasks(
        self,
        info: Asked,
        first: First = 50,
        after: After = None,
        states: Annotated[list[TaskState] | None, argument("Any of these.")] = None,
        engine: Annotated[str | None, argument("Fetched by this one.")] = None,
        user: Annotated[str | None, argument("Of this user (for admins).")] = None,
        text: Annotated[str | None, argument("In name or source, without case.")] = None,
        since: Annotated[datetime | None, argument("Made then or later.")] = None,
        until: Annotated[datetime | None, argument("Made before then.")] = None,
        sort: Annotated[TaskSort, argument("The order.")] = TaskSort.CREATED,
        descending: Annotated[bool, argument("The largest or newest first.")] = True,
    ) -> TaskConnection:
        """A page of tasks."""
        query = TaskQuery(
            states=tuple(states or ()),
            engine=engine,
            user=user,
            text=text,
            since=None if since is None else since.timestamp(),
            until=None if until is None else until.timestamp(),
            sort=sort.value,
            descending=descending,
            limit=_page(first),
            cursor=after,
            cursors=True,
        )
        page, progress = await info.context.services.tasks.list(info.context.caller, query)
        nodes = [Task.of(TaskView(task, progress.get(task.id))) for task in page.items]
        return TaskConnection(
            nodes=nodes,
            edges=[TaskEdge(cursor=c, node=n) for c, n in zip(page.cursors, nodes, strict=True)],
            page_info=PageInfo(
                has_next_page=page.cursor is not None,
                has_previous_page=after is not None,
                start_cursor=page.cursors[0] if nodes else None,
                end_cursor=page.cursors[-1] if nodes else None,
            ),
        )

    @resolver
    async def task_counts(self, info: Asked) -> list[TaskCount]:
        """How many tasks are in each state."""
        found = await info.context.services.tasks.count(info.context.caller)
        return [TaskCount(state=state, count=count) for state, count in found.items()]

    @resolver
    async def plan(
        self, info: Asked, source: Annotated[SubmissionInput, argument("What would be submitted.")]
    ) -> Plan:
        """What a submission would do, without doing it."""
        wanted = source.submission()
        return Plan.of(await info.context.services.tasks.plan(info.context.caller, wanted))

    @resolver
    def queue(self, info: Asked) -> Queue:
        """What waits and what runs."""
        return Queue.of(info.context.services.system.status(info.context.caller))

    @resolver
    async def receipts(
        self,
        info: Asked,
        source: Annotated[str | None, argument("Of this link.")] = None,
        first: First = 50,
    ) -> list[Receipt]:
        """The newest receipts of deliveries (for admins)."""
        found = await info.context.services.tasks.receipts(
            info.context.caller, source, _page(first)
        )
        return [Receipt.of(each) for each in found]

    # Alerts

    @resolver
    async def alerts(
        self,
        info: Asked,
        limit: Annotated[int, argument("How many at most, from 1 to 500.")] = 50,
        severity: Annotated[Severity | None, argument("Of this severity.")] = None,
        states: Annotated[list[AlertState] | None, argument("Any of these.")] = None,
        rule: Annotated[str | None, argument("By this rule.")] = None,
    ) -> list[Alert]:
        """Alerts, the newest first."""
        query = AlertQuery(
            severities=() if severity is None else (severity,),
            states=tuple(states or ()),
            rule=rule,
            limit=_page(limit),
        )
        found, _ = await info.context.services.alerts.recent(info.context.caller, query)
        return [Alert.of(each) for each in found]

    @resolver
    async def alert_page(
        self,
        info: Asked,
        first: First = 50,
        after: After = None,
        severities: Annotated[list[Severity] | None, argument("Any of these.")] = None,
        states: Annotated[list[AlertState] | None, argument("Any of these.")] = None,
        rule: Annotated[str | None, argument("By this rule.")] = None,
        since: Annotated[datetime | None, argument("Began then or later.")] = None,
    ) -> AlertPage:
        """A page of alerts, the newest first."""
        query = AlertQuery(
            severities=tuple(severities or ()),
            states=tuple(states or ()),
            rule=rule,
            since=None if since is None else since.timestamp(),
            limit=_page(first),
            cursor=after,
        )
        found, cursor = await info.context.services.alerts.recent(info.context.caller, query)
        return AlertPage(items=[Alert.of(each) for each in found], cursor=cursor)

    @resolver
    async def alert(
        self,
        info: Asked,
        id: Annotated[strawberry.ID, argument("Its id.")],  # noqa: A002
    ) -> Alert | None:
        """One alert; null where there is none."""
        try:
            found = await info.context.services.alerts.show(info.context.caller, str(id))
        except NotFound:
            return None
        return Alert.of(found)

    @resolver
    async def alert_summary(self, info: Asked) -> AlertSummary:
        """How many alerts there are, and which fire now."""
        return AlertSummary.of(await info.context.services.alerts.summary(info.context.caller))

    @resolver
    async def silences(self, info: Asked) -> list[Silence]:
        """The silences that hold now."""
        found = await info.context.services.alerts.silences(info.context.caller)
        return [Silence.of(each) for each in found]

    @resolver
    async def alert_rules(self, info: Asked) -> list[AlertRule]:
        """The rules that are in force."""
        found = await info.context.services.alerts.rules(info.context.caller)
        return [AlertRule.of(each) for each in found]

    @resolver
    async def alert_channels(self, info: Asked) -> list[AlertChannel]:
        """The channels that alerts are told through (for admins)."""
        found = await info.context.services.alerts.channels(info.context.caller)
        return [AlertChannel.of(each) for each in found]

    # Backups

    @resolver
    async def backups(
        self,
        info: Asked,
        remotes: Annotated[bool, argument("Ask the remotes, too, what they hold.")] = False,
    ) -> list[Backup]:
        """Every backup, the newest first (for admins)."""
        found = await info.context.services.backups.list(info.context.caller, remotes=remotes)
        return [Backup.of(each) for each in found]

    @resolver
    def backup_stats(self, info: Asked) -> BackupStats:
        """The backups as a whole (for admins)."""
        return BackupStats.of(info.context.services.backups.stats(info.context.caller))

    @resolver
    def last_restore(self, info: Asked) -> Restore | None:
        """How the last restore ended (for admins)."""
        found = info.context.services.backups.last_restore(info.context.caller)
        return None if found is None else Restore.of(found)

    # What is observed

    @resolver
    async def logger_stats(self, info: Asked) -> LoggerStats:
        """How much log there is."""
        return LoggerStats.of(await info.context.services.logs.stats(info.context.caller))

    @resolver
    async def logs(
        self,
        info: Asked,
        limit: Annotated[int, argument("How many at most, from 1 to 500.")] = 100,
        before: Annotated[str | None, argument("The cursor of the page before.")] = None,
        level: Annotated[LogLevel | None, argument("This and above.")] = None,
        logger: Annotated[str | None, argument("This and those below it.")] = None,
        task: Annotated[strawberry.ID | None, argument("Of this task.")] = None,
        text: Annotated[str | None, argument("In message, fields or traceback.")] = None,
        since: Annotated[datetime | None, argument("Then or later.")] = None,
    ) -> LogPage:
        """The newest lines of the log (for admins)."""
        query = LogQuery(
            None if level is None else level.value,
            logger,
            None if task is None else str(task),
            None,
            text,
            None if since is None else stamp(since.timestamp()),
        )
        found = await info.context.services.logs.recent(
            info.context.caller, query, _page(limit), before
        )
        return LogPage(
            items=[LogLine.of(each) for each in found.lines],
            cursor=None if found.cursor is None else str(found.cursor),
            end=str(found.end),
        )

    @resolver
    def current_metrics(
        self, info: Asked, names: Annotated[list[str] | None, argument("These alone.")] = None
    ) -> list[Metric]:
        """Metrics at this moment."""
        found = info.context.services.metrics.current(info.context.caller)
        wanted = None if names is None else set(names)
        return [
            Metric.of(reading, value)
            for reading, value in found
            if wanted is None or reading.name in wanted
        ]

    @resolver
    async def metrics(
        self,
        info: Asked,
        names: Annotated[list[str], argument("Which, up to 20.")],
        since: Annotated[datetime | None, argument("From then on; an hour before the end.")] = None,
        until: Annotated[datetime | None, argument("Until then; now.")] = None,
        step: Annotated[float | None, argument("The wished width of a stretch in seconds.")] = None,
    ) -> MetricsHistory:
        """Metrics over time."""
        end = None if until is None else until.timestamp()
        begin = None if since is None else since.timestamp()
        found = await info.context.services.history.metrics(
            info.context.caller, names, since=begin, until=end, points=_points(begin, end, step)
        )
        return MetricsHistory.of(found)

    @resolver
    def operation_stats(
        self,
        info: Asked,
        operation: Annotated[str | None, argument("This one, or an area such as `stage`.")] = None,
    ) -> list[OperationStats]:
        """How long operations take."""
        found = info.context.services.profiling.stats(info.context.caller, operation)
        return [OperationStats.of(each) for each in found.operations]

    @resolver
    def slow_operations(
        self,
        info: Asked,
        threshold: Annotated[float | None, argument("Seconds or longer.")] = None,
        limit: Annotated[int, argument("How many at most, from 1 to 500.")] = 10,
    ) -> list[SlowOperation]:
        """The slowest runs of operations (for admins)."""
        found = info.context.services.profiling.slowest(
            info.context.caller, threshold, _page(limit)
        )
        return [SlowOperation.of(each) for each in found]

    # The service

    @resolver
    async def recovery_status(self, info: Asked) -> RecoveryStatus:
        """What the last start found, and how tasks and checks fare."""
        return RecoveryStatus.of(await info.context.services.recovery.status(info.context.caller))

    @resolver
    async def starts(
        self,
        info: Asked,
        first: First = 20,
        before: Annotated[strawberry.ID | None, argument("The start that the page ended with.")] = (
            None
        ),
    ) -> list[Start]:
        """The newest starts of the service."""
        found = await info.context.services.recovery.starts(
            info.context.caller, limit=_page(first), before=None if before is None else str(before)
        )
        return [Start.of(each) for each in found]

    @resolver
    async def check(
        self,
        info: Asked,
        id: Annotated[strawberry.ID, argument("Its id.")],  # noqa: A002
    ) -> Check | None:
        """One check; null where there is none."""
        try:
            found = await info.context.services.recovery.check(info.context.caller, str(id))
        except NotFound:
            return None
        return Check.of(found)

    @resolver
    async def checks(
        self,
        info: Asked,
        first: First = 20,
        before: Annotated[strawberry.ID | None, argument("The check that the page ended with.")] = (
            None
        ),
    ) -> list[Check]:
        """The newest checks."""
        found = await info.context.services.recovery.checks(
            info.context.caller, limit=_page(first), before=None if before is None else str(before)
        )
        return [Check.of(each) for each in found]

    @resolver
    def system_status(self, info: Asked) -> SystemStatus:
        """How the service is at this moment."""
        return SystemStatus.of(info.context.services.system.status(info.context.caller))

    @resolver
    def plugins(self, info: Asked) -> list[Plugin]:
        """Every plugin, by name."""
        found = info.context.services.plugins.list(info.context.caller)
        return [Plugin.of(each) for each in found]

    @resolver
    def settings(self, info: Asked) -> list[Setting]:
        """Every setting in force, secrets redacted (for admins)."""
        found = info.context.services.system.settings(info.context.caller)
        return [Setting.of(each) for each in found]

    @resolver
    async def users(self, info: Asked) -> list[User]:
        """Everybody with tokens (for admins)."""
        found = await info.context.services.system.users(info.context.caller)
        return [
            User(name=each.name, tokens=[Token.of(token) for token in each.tokens])
            for each in found
        ]

    @resolver
    def cache_stats(self, info: Asked) -> CacheStats:
        """What the cache of answers did since the start."""
        return info.context.desk.cache_stats(info.context.caller)

    @resolver
    def hot_queries(
        self,
        info: Asked,
        limit: Annotated[int, argument("How many at most, from 1 to 500.")] = 20,
    ) -> list[HotQuery]:
        """The queries that are asked most often (for admins)."""
        return info.context.desk.hot_queries(info.context.caller, _page(limit))


def _points(since: float | None, until: float | None, step: float | None) -> int | None:
    """How many stretches of about that width there are; None where nothing was wished."""
    if step is None:
        return None
    if step <= 0:
        raise InvalidInput(f"a step of {step:g} seconds", hint="more than 0")
    span = 3600.0 if since is None or until is None else until - since
    return max(1, min(_POINTS, round(span / step)))

"""What can be asked about the service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from bot.errors import InvalidInput, NotFound
from bot.graphql.declaring import Asked, argument, described, resolver, seconds
from bot.graphql.mutations_access import shown
from bot.graphql.paging import First, page_size
from bot.graphql.types.access import Deed, DeedPage
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
from bot.graphql.types.plugins import Plugin, PluginConfig, PluginKey
from bot.graphql.types.recovery import Check, RecoveryStatus, Start
from bot.graphql.types.service import (
    CacheStats,
    HotQuery,
    Setting,
    SystemStatus,
    User,
)
from bot.operations.log_lines import stamp
from bot.operations.log_reader import LogQuery

_POINTS = 1000
PluginName = Annotated[str, argument("Its name.")]


@described
class ServiceQueries:
    """Logs, metrics, checks, plugins, settings."""

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
        request: Annotated[str | None, argument("Of this X-Request-ID.")] = None,
        text: Annotated[str | None, argument("In message, fields or traceback.")] = None,
        since: Annotated[datetime | None, argument("Then or later.")] = None,
    ) -> LogPage:
        """The newest lines of the log (for admins)."""
        query = LogQuery(
            None if level is None else level.value,
            logger,
            None if task is None else str(task),
            request,
            text,
            None if since is None else stamp(seconds(since) or 0.0),
        )
        found = await info.context.services.logs.recent(
            info.context.caller, query, page_size(limit), before
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
        end = seconds(until)
        begin = seconds(since)
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
            info.context.caller, threshold, page_size(limit)
        )
        return [SlowOperation.of(each) for each in found]

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
            info.context.caller,
            limit=page_size(first),
            before=None if before is None else str(before),
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
            info.context.caller,
            limit=page_size(first),
            before=None if before is None else str(before),
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
    def plugin(self, info: Asked, name: PluginName) -> Plugin | None:
        """One plugin; null where there is none."""
        try:
            return Plugin.of(info.context.services.plugins.info(info.context.caller, name))
        except NotFound:
            return None

    @resolver
    def plugin_config(self, info: Asked, name: PluginName) -> PluginConfig:
        """What a plugin can be told, and what it was told (for admins)."""
        found = info.context.services.plugins.configuration(info.context.caller, name)
        return PluginConfig.of(found)

    @resolver
    def plugin_lines(self, info: Asked, name: PluginName) -> list[str]:
        """The last lines that a plugin wrote (for admins)."""
        return list(info.context.services.plugins.lines(info.context.caller, name))

    @resolver
    def plugin_keys(self, info: Asked) -> list[PluginKey]:
        """The keys of publishers that are trusted or revoked (for admins)."""
        found = info.context.services.plugins.keys(info.context.caller)
        return [PluginKey.of(each) for each in found]

    @resolver
    def settings(self, info: Asked) -> list[Setting]:
        """Every setting in force, secrets redacted (for admins)."""
        found = info.context.services.system.settings(info.context.caller)
        return [Setting.of(each) for each in found]

    @resolver
    async def users(self, info: Asked) -> list[User]:
        """Everybody with an account or tokens (for admins)."""
        found = await info.context.services.users.list(info.context.caller)
        return [shown(each) for each in found]

    @resolver
    async def audit(
        self,
        info: Asked,
        first: First = 50,
        before: Annotated[strawberry.ID | None, argument("The cursor of the page before.")] = None,
        user: Annotated[str | None, argument("By this user.")] = None,
        action: Annotated[str | None, argument("Just this.")] = None,
        since: Annotated[datetime | None, argument("Then or later.")] = None,
    ) -> DeedPage:
        """Every write, the newest first (for admins)."""
        if before is not None and not (before.isdecimal() and len(before) <= 18):
            raise InvalidInput(f"{before[:40]!r} is no cursor of this list")
        found = await info.context.services.audit.find(
            info.context.caller,
            user=user,
            action=action,
            since=0.0 if since is None else since.timestamp(),
            before=None if before is None else int(before),
            limit=page_size(first),
        )
        following = str(found[-1].seq) if len(found) == first else None
        return DeedPage(items=[Deed.of(each) for each in found], cursor=following)

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
        return info.context.desk.hot_queries(info.context.caller, page_size(limit))


def _points(since: float | None, until: float | None, step: float | None) -> int | None:
    """How many stretches of about that width there are; None where nothing was wished."""
    if step is None:
        return None
    if step <= 0:
        raise InvalidInput(f"a step of {step:g} seconds", hint="more than 0")
    span = 3600.0 if since is None or until is None else until - since
    return max(1, min(_POINTS, round(span / step)))

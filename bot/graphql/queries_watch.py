"""What can be asked about alerts and backups."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from bot.errors import NotFound
from bot.graphql.declaring import Asked, argument, described, resolver, seconds
from bot.graphql.enums import AlertState, Severity
from bot.graphql.paging import After, First, page_size
from bot.graphql.types.alerts import (
    Alert,
    AlertChannel,
    AlertPage,
    AlertRule,
    AlertSummary,
    DeliveryState,
    Notification,
    Silence,
)
from bot.graphql.types.backups import Backup, BackupStats, Restore
from bot.store.alerts import AlertQuery


@described
class WatchQueries:
    """Alerts and backups."""

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
            limit=page_size(limit),
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
            since=seconds(since),
            limit=page_size(first),
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
    async def notifications(
        self,
        info: Asked,
        first: First = 50,
        channel: Annotated[str | None, argument("Through this channel.")] = None,
        state: Annotated[DeliveryState | None, argument("As far as this.")] = None,
    ) -> list[Notification]:
        """The newest messages about alerts, and how far each is (for admins)."""
        found = await info.context.services.alerts.notifications(
            info.context.caller, channel, None if state is None else state.value, page_size(first)
        )
        return [Notification.of(each) for each in found]

    @resolver
    def backup(self, info: Asked, name: Annotated[str, argument("Its name.")]) -> Backup | None:
        """One backup; null where there is none (for admins)."""
        try:
            return Backup.of(info.context.services.backups.show(info.context.caller, name))
        except NotFound:
            return None

    @resolver
    def backup_stats(self, info: Asked) -> BackupStats:
        """The backups as a whole (for admins)."""
        return BackupStats.of(info.context.services.backups.stats(info.context.caller))

    @resolver
    def last_restore(self, info: Asked) -> Restore | None:
        """How the last restore ended (for admins)."""
        found = info.context.services.backups.last_restore(info.context.caller)
        return None if found is None else Restore.of(found)

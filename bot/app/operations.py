"""What watches over the service, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from bot.app.access import opened_access
from bot.app.logs import opened_logs
from bot.app.operations_alerts import opened_alerts
from bot.app.operations_backups import opened_backups
from bot.app.operations_history import opened_history
from bot.app.operations_metrics import opened_numbers
from bot.app.operations_recovery import opened_recovery
from bot.app.parts import Base, Transfers
from bot.app.plugins_connected import backup_takers, connected_plugins
from bot.app.profiling import build_profiling
from bot.config import Loaded
from bot.config_sources import Declared
from bot.domain import events
from bot.domain.queue import QueuePolicy
from bot.operations.readings import Readings
from bot.plugins.host import PluginHost
from bot.services import Backups, Metrics, Plugins, Services, System, Tasks, Tokens
from bot.services.system import About, Setting


@asynccontextmanager
async def opened_operations(
    base: Base,
    transfers: Transfers,
    tasks: Tasks,
    tokens: Tokens,
    host: PluginHost | None,
    *,
    is_open: Callable[[], bool],
    restores: bool = True,
) -> AsyncIterator[Services]:
    """Everything that watches, listening to the events; and all services together.

    ``restores`` says that this run takes up what earlier ones left.
    """
    async with AsyncExitStack() as stack:
        logs = stack.enter_context(opened_logs(base))
        access = await stack.enter_async_context(opened_access(base, tokens))
        recovery = await stack.enter_async_context(opened_recovery(base, tasks, restores=restores))
        numbers = await stack.enter_async_context(opened_numbers(base, transfers, host))
        history = await stack.enter_async_context(opened_history(base, numbers.readings))
        alerts = await stack.enter_async_context(opened_alerts(base, numbers.readings))
        backups = await stack.enter_async_context(opened_backups(base, backup_takers(host)))
        numbers.readings.provide("last_backup_age_seconds", backups.age)
        if host is not None:
            await stack.enter_async_context(connected_plugins(host, base, numbers.readings, alerts))
        base.hub.publish(events.ServiceStarted(base.clock.now()))
        try:
            yield Services(
                tasks=tasks,
                tokens=tokens,
                sessions=access.sessions,
                users=access.users,
                audit=access.audit,
                logs=logs,
                metrics=Metrics(numbers.readings, numbers.page, numbers.metrics),
                history=history,
                profiling=build_profiling(base),
                alerts=alerts,
                backups=Backups(backups),
                recovery=recovery,
                plugins=Plugins(host),
                system=_system(base, numbers.readings, is_open),
            )
        finally:
            base.hub.publish(events.ServiceStopping(base.clock.now()))


def _system(base: Base, readings: Readings, is_open: Callable[[], bool]) -> System:
    settings = base.settings
    leaves = Declared(type(settings)).leaves()
    about = About(
        database="sqlite" if settings.database_url is None else "postgresql",
        cache="memory" if settings.redis_url is None else "redis",
        policy=QueuePolicy(settings.max_active, settings.max_active_per_user),
        settings=[
            Setting(name, value, origin, leaves[name.lower()].description or "")
            for name, value, origin in Loaded(settings, settings.origins).rows()
        ],
    )
    return System(
        about,
        readings=readings,
        clock=base.clock,
        is_open=is_open,
    )

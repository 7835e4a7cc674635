"""What the plugins of each type are given: alerts, readings, backups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bot.app.parts import Base
from bot.operations.backup_keeping import Takers
from bot.operations.plugin_alerts import PluginChannels
from bot.operations.plugin_backups import takers
from bot.operations.plugin_monitors import Monitors
from bot.operations.readings import Readings
from bot.plugins.host import PluginHost
from bot.services.alerts import Alerts


def backup_takers(host: PluginHost | None) -> Takers:
    """Gives the plugins that take backups, as they are at the moment."""
    if host is None:
        return tuple
    return partial(takers, host.list_plugins, host.call)


@asynccontextmanager
async def connected_plugins(
    host: PluginHost, base: Base, readings: Readings, alerts: Alerts
) -> AsyncIterator[None]:
    """Alert plugins are channels and monitor plugins are asked at each tick, until the end."""
    channels = PluginChannels(alerts.couriers, host.list_plugins, host.call, alerts.find)
    monitors = Monitors(
        host.list_plugins,
        host.call,
        readings.sample,
        base.clock,
        base.settings.metrics_sample_interval,
    )
    readings.provide_guests(monitors.readings)
    host.watch(channels.look)
    loops = [
        asyncio.create_task(channels.follow(), name="plugins: channels"),
        asyncio.create_task(monitors.follow(), name="plugins: monitors"),
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

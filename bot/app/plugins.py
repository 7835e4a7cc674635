"""The plugins, as the settings want them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.app.parts import Base, Transfers
from bot.config import Settings
from bot.core.plugin_manager import plugin_manager
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.plugins.bridge import Bridge
from bot.plugins.host import PluginHost
from bot.plugins.launcher import Launcher, Policy
from bot.store.plugins import Plugins
from bot.web.render import source

_KB, _MB = 1024, 1024 * 1024
_LAST_WORDS = 5.0  # seconds that plugins have for what they are told at the end


@asynccontextmanager
async def opened_plugins(base: Base, transfers: Transfers) -> AsyncIterator[PluginHost | None]:
    """The host, which starts its plugins in the background; None where they are off."""
    settings = base.settings
    if not settings.enable_plugin_system:
        yield None
        return
    # A thread of its own, which starts with the first request of a plugin.
    curl = CurlLoop(EgressPolicy(settings.egress_allow), ca_file=settings.http_ca_file)
    policy, store = _policy(settings), Plugins(base.store.database)
    home = settings.data_dir / "plugins"
    host = PluginHost(
        settings.plugins_dir,
        Launcher(home, policy=policy, store=store, http=curl, clock=base.clock),
        store,
        calls=policy.calls,
        auto_load=settings.auto_load_plugins,
        watch=settings.plugin_hot_reload,
        clock=base.clock,
    )
    bridge = Bridge(host.hooks, transfers.scheduler.live, source)
    deaf = base.hub.listen(bridge.hear)
    host.start()
    try:
        with plugin_manager.attached(host):
            yield host
    finally:
        deaf()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await host.hooks.settle()
        await host.shutdown()
        await curl.close()


def _policy(settings: Settings) -> Policy:
    thresholds = settings.plugin_thresholds
    return Policy(
        memory=settings.plugin_memory_limit * _MB,
        disk=thresholds.disk_quota * _MB,
        values=thresholds.state_quota * _KB,
        timeout=settings.plugin_timeout,
        calls=thresholds.max_concurrent,
        imports=settings.plugin_allowed_imports or None,
    )

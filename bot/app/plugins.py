"""The plugins, as the settings want them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bot.app.parts import Base, Transfers
from bot.config import Settings
from bot.core.plugin_manager import plugin_manager
from bot.domain.advice import Advisors
from bot.domain.task import Task
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.plugins.asking import Asking
from bot.plugins.bridge import Bridge, task_info
from bot.plugins.hooks import TaskInfo
from bot.plugins.host import PluginHost
from bot.plugins.launcher import Launcher, Policy
from bot.plugins.progress import ProgressTeller
from bot.plugins.sources import SourcePlugins
from bot.plugins.steps import TaskPlugins
from bot.plugins.trust import Trust
from bot.store.plugins import Plugins
from bot.web.render import source

_KB, _MB = 1024, 1024 * 1024
_LAST_WORDS = 5.0  # seconds that plugins have for what they are told at the end


@dataclass(frozen=True, slots=True)
class PluginParts:
    """The host of the plugins, and what it and others share."""

    host: PluginHost
    curl: CurlLoop
    advisors: Advisors
    steps: TaskPlugins
    sources: SourcePlugins


def build_plugins(base: Base) -> PluginParts | None:
    """The host, not yet started; None where plugins are off."""
    settings = base.settings
    if not settings.enable_plugin_system:
        return None
    # A thread of its own, which starts with the first request of a plugin.
    curl = CurlLoop(EgressPolicy(settings.egress_allow), ca_file=settings.http_ca_file)
    policy, store = plugin_policy(settings), Plugins(base.store.database)
    home = settings.data_dir / "plugins"
    security = settings.plugin_security
    trust = Trust(
        store,
        base.clock,
        require_signature=security.require_signature,
        verify_checksum=security.verify_checksum,
    )
    host = PluginHost(
        settings.plugins_dir,
        Launcher(
            home,
            policy=policy,
            store=store,
            http=curl,
            clock=base.clock,
            publish=base.hub.publish,
            trust=trust,
        ),
        store,
        calls=policy.calls,
        cpu_share=settings.plugin_thresholds.cpu_share / 100,
        auto_load=settings.auto_load_plugins,
        watch=settings.plugin_hot_reload,
        clock=base.clock,
    )
    advisors = Asking(
        host.supervisors,
        _described,
        settings.plugin_hook_timeout,
    )
    steps, sources = TaskPlugins(host.supervisors), SourcePlugins(host.supervisors)
    return PluginParts(host, curl, advisors, steps, sources)


def _described(task: Task) -> TaskInfo:
    """What a plugin is told of a task."""
    return task_info(task, source)


@asynccontextmanager
async def opened_plugins(
    base: Base, transfers: Transfers, parts: PluginParts | None
) -> AsyncIterator[PluginHost | None]:
    """The host, which starts its plugins in the background."""
    if parts is None:
        yield None
        return
    host = parts.host
    find = transfers.scheduler.live
    bridge = Bridge(host.hooks, find, source, host.started)
    deaf = base.hub.listen(bridge.hear)
    await host.publishers.load()
    host.start()
    progress = ProgressTeller(
        host.hooks, transfers.runner.snapshot, find=find, describe=_described, clock=base.clock
    )
    telling = asyncio.get_running_loop().create_task(progress.run())
    try:
        with plugin_manager.attached(host):
            yield host
    finally:
        deaf()
        telling.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await host.hooks.settle()
        await host.shutdown()
        await parts.curl.close()


def plugin_policy(settings: Settings) -> Policy:
    """The limits that the settings put on plugins."""
    thresholds = settings.plugin_thresholds
    return Policy(
        memory=settings.plugin_memory_limit * _MB,
        disk=thresholds.disk_quota * _MB,
        values=thresholds.state_quota * _KB,
        timeout=settings.plugin_timeout,
        calls=thresholds.max_concurrent,
        imports=settings.plugin_allowed_imports or None,
        sandbox=settings.plugin_sandbox,
        full_trust=settings.plugin_full_trust,
        verify_checksum=settings.plugin_security.verify_checksum,
    )

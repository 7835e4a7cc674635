"""Everything that can be done with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.domain.plugins import PluginKey
from bot.errors import Unavailable
from bot.plugins.host import PluginHost
from bot.plugins.known import PluginConfig, PluginInfo
from bot.services.callers import Caller, Scope


class Plugins:
    """``host`` is None where ENABLE_PLUGIN_SYSTEM is off."""

    def __init__(self, host: PluginHost | None) -> None:
        self._host = host

    def list(self, caller: Caller) -> Sequence[PluginInfo]:
        """Every plugin, by name."""
        caller.require(Scope.VIEW)
        return self._found.list_plugins()

    def info(self, caller: Caller, name: str) -> PluginInfo:
        """One plugin."""
        caller.require(Scope.VIEW)
        return self._found.info(name)

    def lines(self, caller: Caller, name: str) -> Sequence[str]:
        """The last lines that it wrote."""
        caller.require(Scope.ADMIN)
        return self._found.lines(name)

    async def execute(self, caller: Caller, name: str, data: dict[str, Any]) -> Any:
        """Call its ``execute``; what it gives."""
        caller.require(Scope.ADMIN)
        return await self._found.execute_plugin(name, **data)

    async def enable(
        self, caller: Caller, name: str, *, grant: bool, repin: bool = False
    ) -> PluginInfo:
        """Start it, now and at every start; ``grant`` gives it the rights that it asks for,
        ``repin`` takes another publisher or an older version for once."""
        caller.require(Scope.ADMIN)
        return await self._found.enable_plugin(name, grant=grant, repin=repin)

    async def disable(self, caller: Caller, name: str) -> PluginInfo:
        """End it, now and at every start."""
        caller.require(Scope.ADMIN)
        return await self._found.disable_plugin(name)

    async def reload(self, caller: Caller, name: str) -> PluginInfo:
        """Run what lies in the directory now."""
        caller.require(Scope.ADMIN)
        return await self._found.reload_plugin(name)

    def configuration(self, caller: Caller, name: str) -> PluginConfig:
        """The schema of its configuration, and what is set, with stars for secrets."""
        caller.require(Scope.ADMIN)
        return self._found.configuration(name)

    async def configure(self, caller: Caller, name: str, config: dict[str, Any]) -> PluginInfo:
        """Replace its configuration while it runs; stars stand for a secret that stays."""
        caller.require(Scope.ADMIN)
        return await self._found.configure_plugin(name, config)

    def keys(self, caller: Caller) -> Sequence[PluginKey]:
        """The keys of publishers that are trusted or revoked."""
        caller.require(Scope.ADMIN)
        return self._found.publishers.keys()

    async def trust(self, caller: Caller, key: str, name: str) -> PluginKey:
        """Trust what a key signs."""
        caller.require(Scope.ADMIN)
        return await self._found.publishers.trust(key, name)

    async def revoke(self, caller: Caller, key: str) -> tuple[PluginKey, Sequence[str]]:
        """Run nothing any more that a key made; and the plugins that were ended for it."""
        caller.require(Scope.ADMIN)
        return await self._found.publishers.revoke(key)

    @property
    def _found(self) -> PluginHost:
        if self._host is None:
            raise Unavailable("the plugin system is off", hint="ENABLE_PLUGIN_SYSTEM turns it on")
        return self._host

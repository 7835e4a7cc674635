"""What a plugin's author imports, and the plugins of the service that runs in this process.

Imported in the sandbox too, so nothing but the standard library and msgspec comes along.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from bot.core.present import Present
from bot.errors import Unavailable
from bot.plugins.api import (
    AlertPlugin,
    BackupPlugin,
    BasePlugin,
    MonitorPlugin,
    PluginMetadata,
    Response,
    SourcePlugin,
    TaskPlugin,
)

if TYPE_CHECKING:
    from bot.plugins.host import PluginHost
    from bot.plugins.known import PluginInfo
    from bot.plugins.listeners import Listener

__all__ = [
    "AlertPlugin",
    "BackupPlugin",
    "BasePlugin",
    "MonitorPlugin",
    "PluginManager",
    "PluginMetadata",
    "Response",
    "SourcePlugin",
    "TaskPlugin",
    "plugin_manager",
]


class PluginManager:
    """The plugins of the service that runs in this process, for code that runs beside it.

    Every method raises Unavailable where none runs here; NotFound where there is no plugin of that
    name; PluginFailed where the plugin does not do what it was asked for. To be used on the event
    loop of the service.
    """

    def __init__(self) -> None:
        self._hosts: Present[PluginHost] = Present()

    def attached(self, host: PluginHost) -> AbstractContextManager[None]:
        """Serve from ``host`` for as long as this is entered; the newest one counts."""
        return self._hosts.attached(host)

    def list_plugins(self) -> list[PluginInfo]:
        """Every plugin, by name."""
        return self._host.list_plugins()

    async def execute_plugin(self, name: str, /, *args: Any, **data: Any) -> Any:
        """Call ``execute`` of a plugin; what it gives."""
        return await self._host.execute_plugin(name, *args, **data)

    async def load_plugin(self, name: str) -> PluginInfo:
        """Start what lies in PLUGINS_DIR under that name, until the service ends."""
        return await self._host.load_plugin(name)

    async def unload_plugin(self, name: str) -> PluginInfo:
        """End it, until it is loaded or the service starts again."""
        return await self._host.unload_plugin(name)

    async def enable_plugin(self, name: str, *, grant: bool = False) -> PluginInfo:
        """Start it, now and at every start; ``grant`` gives it the rights that it asks for."""
        return await self._host.enable_plugin(name, grant=grant)

    async def disable_plugin(self, name: str) -> PluginInfo:
        """End it, now and at every start."""
        return await self._host.disable_plugin(name)

    async def reload_plugin(self, name: str) -> PluginInfo:
        """Run what lies in PLUGINS_DIR now; the old version goes on where the new one fails."""
        return await self._host.reload_plugin(name)

    async def started(self) -> None:
        """Wait until every plugin that was found at the start has had its turn."""
        await self._host.started()

    def register_hook(self, name: str, callback: Listener) -> Callable[[], None]:
        """Call ``callback`` with the payload of a hook whenever it is told; the result ends that.
        A name with ``custom.`` is yours, and ``trigger_hook`` tells it."""
        return self._host.register_hook(name, callback)

    def trigger_hook(self, name: str, payload: Any) -> None:
        """Tell a hook to whoever registered for it, and to the plugins that have it."""
        self._host.trigger_hook(name, payload)

    def register_plugin_type(self, name: str) -> None:
        """Let plugins be of a type of your own; your code calls them."""
        self._host.register_plugin_type(name)

    async def shutdown(self) -> None:
        """End every plugin."""
        await self._host.shutdown()

    @property
    def _host(self) -> PluginHost:
        host = self._hosts.newest
        if host is None:
            raise Unavailable(
                "no service with plugins runs in this process",
                hint="start it first; from another process use POST /api/v3/plugins/execute",
            )
        return host


#: The one of this process.
plugin_manager = PluginManager()

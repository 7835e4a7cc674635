"""What can be changed of plugins and kept answers."""

from __future__ import annotations

from typing import Annotated

import strawberry

from bot.errors import InvalidInput
from bot.graphql.declaring import Asked, Json, argument, described, resolver, said
from bot.graphql.doing import asked, tried
from bot.graphql.problems import Refusal
from bot.graphql.types.plugins import Plugin

PluginName = Annotated[str, argument("The name of the plugin.")]


@described
class ExecutePluginPayload:
    """What a plugin gave."""

    plugin: str = said("Its name.")
    result: Json | None = said("What it gave.")


@described
class InvalidateCachePayload:
    """Answers that are forgotten."""

    tags: list[str] = said("What they were about; empty: everything.")


PluginResult = Annotated[Plugin | Refusal, strawberry.union("PluginResult")]
ExecutePluginResult = Annotated[
    ExecutePluginPayload | Refusal, strawberry.union("ExecutePluginResult")
]
InvalidateCacheResult = Annotated[
    InvalidateCachePayload | Refusal, strawberry.union("InvalidateCacheResult")
]


@described
class ServiceMutations:
    """Plugins and kept answers."""

    @resolver
    async def enable_plugin(
        self,
        info: Asked,
        name: PluginName,
        grant: Annotated[bool, argument("Give it the rights that it asks for.")] = False,
    ) -> PluginResult:
        """Start a plugin, now and at every start."""
        caller, services = asked(info)

        async def work() -> Plugin:
            return Plugin.of(await services.plugins.enable(caller, name, grant=grant))

        return await tried(info, work())

    @resolver
    async def disable_plugin(self, info: Asked, name: PluginName) -> PluginResult:
        """End a plugin, now and at every start."""
        caller, services = asked(info)

        async def work() -> Plugin:
            return Plugin.of(await services.plugins.disable(caller, name))

        return await tried(info, work())

    @resolver
    async def reload_plugin(self, info: Asked, name: PluginName) -> PluginResult:
        """Run what lies in PLUGINS_DIR now."""
        caller, services = asked(info)

        async def work() -> Plugin:
            return Plugin.of(await services.plugins.reload(caller, name))

        return await tried(info, work())

    @resolver
    async def configure_plugin(
        self,
        info: Asked,
        name: PluginName,
        config: Annotated[Json, argument("The whole of it, an object.")],
    ) -> PluginResult:
        """Replace the configuration of a plugin."""
        caller, services = asked(info)

        async def work() -> Plugin:
            if not isinstance(config, dict):
                raise InvalidInput("config is no object", hint='such as {"name": "value"}')
            return Plugin.of(await services.plugins.configure(caller, name, config))

        return await tried(info, work())

    @resolver
    async def execute_plugin(
        self,
        info: Asked,
        name: PluginName,
        data: Annotated[Json | None, argument("Its arguments, an object.")] = None,
    ) -> ExecutePluginResult:
        """Call `execute` of a plugin."""
        caller, services = asked(info)

        async def work() -> ExecutePluginPayload:
            if data is not None and not isinstance(data, dict):
                raise InvalidInput("data is no object", hint='such as {"name": "value"}')
            found = await services.plugins.execute(caller, name, data or {})
            return ExecutePluginPayload(plugin=name, result=found)

        return await tried(info, work())

    @resolver
    async def invalidate_cache(
        self,
        info: Asked,
        tags: Annotated[
            list[str] | None, argument("About these alone, such as `tasks`; all if left out.")
        ] = None,
    ) -> InvalidateCacheResult:
        """Forget kept answers (for admins)."""
        desk, caller = info.context.desk, info.context.caller

        async def work() -> InvalidateCachePayload:
            return InvalidateCachePayload(tags=list(await desk.invalidate(caller, tags)))

        return await tried(info, work())

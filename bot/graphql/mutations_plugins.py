"""What can be changed of plugins."""

from __future__ import annotations

from typing import Annotated

import strawberry

from bot.errors import InvalidInput
from bot.graphql.declaring import Asked, Json, argument, described, resolver, said
from bot.graphql.doing import asked, tried
from bot.graphql.inputs import checked
from bot.graphql.problems import Refusal
from bot.graphql.types.plugins import Plugin, PluginKey
from bot.web import schemas_plugins
from bot.web.render import jsonable

PluginName = Annotated[str, argument("The name of the plugin.")]
Key = Annotated[str, argument("The key, as `mltb plugins keygen` prints it.")]


@described
class ExecutePluginPayload:
    """What a plugin gave."""

    plugin: str = said("Its name.")
    result: Json | None = said("What it gave.")


@described
class RevokedKey:
    """A key that was revoked."""

    key: PluginKey = said("The key.")
    ended: list[str] = said("The plugins that ran until then.")


PluginResult = Annotated[Plugin | Refusal, strawberry.union("PluginResult")]
PluginKeyResult = Annotated[PluginKey | Refusal, strawberry.union("PluginKeyResult")]
RevokeKeyResult = Annotated[RevokedKey | Refusal, strawberry.union("RevokeKeyResult")]
ExecutePluginResult = Annotated[
    ExecutePluginPayload | Refusal, strawberry.union("ExecutePluginResult")
]


@described
class PluginMutations:
    """Plugins and the keys of their publishers."""

    @resolver
    async def enable_plugin(
        self,
        info: Asked,
        name: PluginName,
        grant: Annotated[bool, argument("Give it the rights that it asks for.")] = False,
        repin: Annotated[
            bool, argument("Take its publisher and its version as they are now.")
        ] = False,
    ) -> PluginResult:
        """Start a plugin, now and at every start."""
        caller, services = asked(info)

        async def work() -> Plugin:
            found = await services.plugins.enable(caller, name, grant=grant, repin=repin)
            return Plugin.of(found)

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
        config: Annotated[
            Json, argument("The whole of it, an object; stars stand for a secret that stays.")
        ],
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
            return ExecutePluginPayload(plugin=name, result=jsonable(name, found))

        return await tried(info, work())

    @resolver
    async def trust_plugin_key(
        self,
        info: Asked,
        key: Key,
        name: Annotated[str, argument("Whose it is, in your words.")] = "",
    ) -> PluginKeyResult:
        """Trust what a key signs."""
        caller, services = asked(info)

        async def work() -> PluginKey:
            of = checked(schemas_plugins.TrustIn, {"key": key, "name": name})
            return PluginKey.of(await services.plugins.trust(caller, of.key, of.name))

        return await tried(info, work())

    @resolver
    async def revoke_plugin_key(self, info: Asked, key: Key) -> RevokeKeyResult:
        """Run nothing any more that a key made; what runs of it ends at once."""
        caller, services = asked(info)

        async def work() -> RevokedKey:
            of = checked(schemas_plugins.KeyIn, {"key": key})
            kept, ended = await services.plugins.revoke(caller, of.key)
            return RevokedKey(key=PluginKey.of(kept), ended=list(ended))

        return await tried(info, work())

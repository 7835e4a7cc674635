"""Plugins."""

from __future__ import annotations

from datetime import datetime

import strawberry

from bot.domain.plugins import PluginKey as DomainKey
from bot.graphql.declaring import BigInt, Json, described, instant, said
from bot.graphql.enums import PluginState, Signature
from bot.plugins.known import PluginConfig as Config
from bot.plugins.known import PluginInfo


@described
class Plugin:
    """A plugin, as it lies in PLUGINS_DIR or in an installed package."""

    id: strawberry.ID = said("Its name.")
    state: PluginState = said("How it is.")
    reason: str | None = said("Why it does not run.")
    reload_error: str | None = said("Why a newer version does not run in its place.")
    type: str = said("What it is for.")
    version: str = said("Its version.")
    author: str = said("Who wrote it.")
    description: str = said("What it does.")
    hooks: list[str] = said("The hooks that it takes part in.")
    inactive_hooks: list[str] = said("Those of them that ask, where it may not decide.")
    rights: list[str] = said("The rights that it asks for.")
    granted: list[str] = said("The rights that it was granted.")
    tier: str | None = said("What confines it while it runs.")
    signature: Signature | None = said("What its signature says; null: nobody looked yet.")
    publisher: str | None = said("The key of who signed it.")
    digest: str | None = said("The SHA-256 of the code that runs, in hex.")
    pid: int | None = said("The process that runs it.")
    calls: int = said("How often it was called.")
    failures: int = said("How many calls failed.")
    timeouts: int = said("How many calls took too long.")
    crashes: int = said("How often its process ended by itself.")
    kills: int = said("How often its process was ended by force.")
    seconds: float = said("Spent in its calls, all together.")
    memory: BigInt | None = said("Bytes that its process holds.")
    cpu_seconds: float = said("Processor time of its processes, all together.")
    disk: BigInt | None = said("Bytes that its directory takes.")
    open_files: int | None = said("Files that its process has open.")

    @classmethod
    def of(cls, found: PluginInfo) -> Plugin:
        """As the schema has it."""
        fields = {name: getattr(found, name) for name in found.__struct_fields__}
        return cls(**{**fields, "id": strawberry.ID(found.id)})


@described
class PluginConfig:
    """The configuration of a plugin."""

    plugin: strawberry.ID = said("Its name.")
    schema: Json = said("JSON Schema, draft 2020-12; empty where the plugin has none.")
    config: Json = said("What is set, with defaults, and stars for secrets.")

    @classmethod
    def of(cls, found: Config) -> PluginConfig:
        """As the schema has it."""
        return cls(plugin=strawberry.ID(found.id), schema=found.schema, config=found.config)


@described
class PluginKey:
    """The key of a publisher that the operator trusts or has revoked."""

    key: str = said("The key.")
    name: str = said("Whose it is, in the operator's words.")
    revoked: bool = said("Whether nothing runs any more that it made.")
    at: datetime = said("When that was said.")

    @classmethod
    def of(cls, found: DomainKey) -> PluginKey:
        """As the schema has it."""
        return cls(key=found.key, name=found.name, revoked=found.revoked, at=instant(found.at))

"""What ``/api/v3/plugins`` takes and answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.plugins import PluginState, Signature

Name = Field(pattern="^[a-z][a-z0-9_]{0,63}$", description="The name of a plugin.")


class PluginFields(BaseModel):
    """A plugin. ``tier`` is what confines it while it runs."""

    id: str
    state: PluginState
    reason: str | None = Field(description="Why it does not run.")
    reload_error: str | None = Field(description="Why a newer version does not run in its place.")
    type: str
    version: str
    author: str
    description: str
    hooks: list[str] = Field(description="The hooks that it takes part in.")
    inactive_hooks: list[str] = Field(
        description="Those of them that ask, where it has no right to decide."
    )
    rights: list[str] = Field(description="The rights that it asks for.")
    granted: list[str] = Field(description="The rights that it was granted.")
    tier: str | None
    signature: Signature | None = Field(description="What its signature says; null: not looked at.")
    publisher: str | None = Field(description="The key of who signed it.")
    digest: str | None = Field(description="SHA-256 of the code that runs, in hex.")
    pid: int | None
    calls: int
    failures: int
    timeouts: int
    crashes: int = Field(description="How often its process ended by itself.")
    kills: int = Field(description="How often its process was ended by force.")
    seconds: float = Field(description="Spent in its calls, all together.")
    memory: int | None = Field(description="Bytes that its process holds.")
    cpu_seconds: float = Field(description="CPU time of its processes, all together.")
    disk: int | None = Field(description="Bytes that its directory takes.")
    open_files: int | None


class PluginOut(PluginFields):
    """One plugin."""

    status: Literal["ok"]


class PluginListOut(BaseModel):
    """Every plugin, by name."""

    status: Literal["ok"]
    items: list[PluginFields]
    cursor: str | None


class PluginLinesOut(BaseModel):
    """The last lines that a plugin wrote."""

    status: Literal["ok"]
    items: list[str]
    cursor: str | None


class PluginResultOut(BaseModel):
    """What a call came to."""

    status: Literal["ok"]
    result: Any


class ConfigOut(BaseModel):
    """The configuration of a plugin."""

    status: Literal["ok"]
    id: str
    json_schema: dict[str, Any] = Field(
        alias="schema", description="JSON Schema, draft 2020-12; empty where the plugin has none."
    )
    config: dict[str, Any] = Field(description="With defaults, and stars for secrets.")


class PluginIn(BaseModel):
    """Which plugin."""

    model_config = ConfigDict(extra="forbid")
    plugin_name: str = Name


class EnableIn(PluginIn):
    """Which plugin, and whether it gets the rights that it asks for."""

    grant: bool = Field(False, description="Give it the rights that it asks for now.")
    repin: bool = Field(
        False, description="Take its publisher and its version as they are now, whatever they were."
    )


class ExecuteIn(PluginIn):
    """A call of ``execute`` with ``data`` as its keyword arguments."""

    data: dict[str, Any] = {}


class ConfigIn(PluginIn):
    """The whole configuration of a plugin."""

    config: dict[str, Any]


class KeyFields(BaseModel):
    """What the operator said of the key of a publisher."""

    key: str
    name: str
    revoked: bool
    at: str = Field(description="When; RFC 3339.")


class KeyListOut(BaseModel):
    """Every key that the operator said something about."""

    status: Literal["ok"]
    items: list[KeyFields]
    cursor: str | None


class KeyOut(KeyFields):
    """One key."""

    status: Literal["ok"]


class RevokedOut(KeyOut):
    """A key that was revoked."""

    ended: list[str] = Field(description="The plugins that ran until then.")


PublicKey = Field(pattern="^ed25519:[A-Za-z0-9_-]{43}$", description="As keygen prints it.")


class KeyIn(BaseModel):
    """Which key."""

    model_config = ConfigDict(extra="forbid")
    key: str = PublicKey


class TrustIn(KeyIn):
    """Which key, and what to call it."""

    name: str = Field("", max_length=100, description="Whose it is, in the operator's words.")

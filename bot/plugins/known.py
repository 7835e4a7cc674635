"""A plugin as the host knows it, and as the doors show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import msgspec

from bot.domain.plugins import PluginRecord, PluginState, Signature
from bot.errors import MltbError, PolicyRefused
from bot.plugins.config_schema import ConfigSchema
from bot.plugins.manifest import Broken, Package
from bot.plugins.supervisor import Counts, Supervisor
from bot.plugins.usage import Usage


class PluginInfo(msgspec.Struct, frozen=True, omit_defaults=False):
    """A plugin, as the doors show it. ``inactive_hooks`` are those that ask, where it may not
    decide; ``rights`` are those that it asks for, ``granted`` those that it was given; ``tier`` is
    what confines it while it runs; ``reload_error`` is why a newer version does not run in its
    place; ``signature`` and ``publisher`` (a key) say who made what was last looked at. ``memory``
    and ``disk`` are bytes, and None where nobody has looked yet."""

    id: str
    state: PluginState
    reason: str | None
    reload_error: str | None
    type: str
    version: str
    author: str
    description: str
    hooks: list[str]
    inactive_hooks: list[str]
    rights: list[str]
    granted: list[str]
    tier: str | None
    signature: Signature | None
    publisher: str | None
    digest: str | None
    pid: int | None
    calls: int
    failures: int
    timeouts: int
    crashes: int
    kills: int
    seconds: float
    memory: int | None
    cpu_seconds: float
    disk: int | None
    open_files: int | None


class PluginConfig(msgspec.Struct, frozen=True):
    """The configuration of a plugin, as the doors show it: ``schema`` is empty where the plugin has
    none, ``config`` has defaults in it and stars in the places of secrets."""

    id: str
    schema: dict[str, Any]
    config: dict[str, Any]


@dataclass(slots=True)
class Known:
    """What lies in the directory under one name, and what runs of it. ``seen`` is the content that
    was last tried, whatever came of it."""

    found: Package | Broken
    record: PluginRecord
    supervisor: Supervisor | None = None
    reason: str | None = None
    state: PluginState = PluginState.DISABLED
    signature: Signature | None = None
    publisher: str | None = None
    seen: str | None = None
    reload_error: str | None = None
    is_gone: bool = False

    @classmethod
    def of(cls, found: Package | Broken, record: PluginRecord | None, *, auto_load: bool) -> Self:
        """One that is new here. What was installed is never started but by the operator's word,
        and a record about a plugin of another origin is none of its own."""
        origin = found.origin
        if record is None or record.origin != origin:
            record = PluginRecord(found.id, enabled=auto_load and not origin, origin=origin)
        waits = f"it came with {origin}; mltb plugins enable {found.id} starts it"
        return cls(found, record, reason=waits if origin and not record.enabled else None)

    def fits(self, found: Package | Broken) -> bool:
        """Whether that is the plugin that this was about, or a broken one of its name."""
        return isinstance(found, Broken) or found.origin == self.record.origin

    def lies(self, found: Package | Broken) -> None:
        """Note what lies there now."""
        if isinstance(found, Broken):
            self.state, self.reason = PluginState.FAILED, found.reason
        elif isinstance(self.found, Broken) and self.supervisor is None:
            self.state, self.reason = PluginState.DISABLED, None
        self.found, self.is_gone = found, False

    @property
    def schema(self) -> ConfigSchema:
        """What its configuration has to be."""
        return self.found.schema if isinstance(self.found, Package) else ConfigSchema({})

    @property
    def is_down(self) -> bool:
        """Whether it should run and does not, and will not by itself."""
        state = self.state if self.supervisor is None else self.supervisor.plugin.state
        return state in {PluginState.FAILED, PluginState.REFUSED}

    def configuration(self) -> PluginConfig:
        """What the doors show of its configuration."""
        schema = self.schema
        shown = schema.shown(schema.with_defaults(self.record.config))
        return PluginConfig(self.found.id, schema.raw, shown)

    def asks(self, config: dict[str, Any]) -> list[str]:
        """The rights that it asks for with that configuration, in words."""
        return self.found.asks(config) if isinstance(self.found, Package) else []

    def fail(self, error: Exception) -> None:
        """It does not run, for that reason; where that is who made it, the error says who did."""
        refused = isinstance(error, PolicyRefused)
        self.supervisor, self.reason = None, str(error)
        self.state = PluginState.REFUSED if refused else PluginState.FAILED
        if not isinstance(error, MltbError):
            return
        signature, publisher = error.details.get("signature"), error.details.get("publisher")
        self.signature = Signature(signature) if isinstance(signature, str) else None
        self.publisher = publisher if isinstance(publisher, str) else None

    def info(self) -> PluginInfo:
        """What the doors show."""
        supervisor = self.supervisor
        plugin = None if supervisor is None else supervisor.plugin
        counts = Counts() if plugin is None else plugin.counts
        usage = Usage() if plugin is None else plugin.usage
        described = {} if plugin is None else plugin.description
        manifest = self.found.manifest if isinstance(self.found, Package) else None
        return PluginInfo(
            id=self.found.id,
            state=self.state if plugin is None else plugin.state,
            reason=self.reason if plugin is None else plugin.reason,
            reload_error=self.reload_error,
            type=described.get("type") or (manifest.type if manifest else None) or "custom",
            version=described.get("version") or (manifest.version if manifest else "0.0.0"),
            author=described.get("author") or (manifest.author if manifest else ""),
            description=described.get("description") or (manifest.description if manifest else ""),
            hooks=list(described.get("hooks", [])),
            inactive_hooks=[] if plugin is None else list(plugin.inactive),
            rights=self.asks(self.record.config),
            granted=list(self.record.rights),
            tier=None if plugin is None else str(plugin.tier),
            signature=self.signature if plugin is None else plugin.verdict.signature,
            publisher=self.publisher if plugin is None else plugin.verdict.publisher,
            digest=None if plugin is None else plugin.digest,
            pid=None if supervisor is None else supervisor.pid,
            calls=counts.calls,
            failures=counts.failures,
            timeouts=counts.timeouts,
            crashes=counts.crashes,
            kills=counts.kills,
            seconds=counts.seconds,
            memory=usage.memory,
            cpu_seconds=counts.cpu,
            disk=usage.disk,
            open_files=usage.open_files,
        )

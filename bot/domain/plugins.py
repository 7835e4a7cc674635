"""What is kept of a plugin between two starts, and the port to where it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec


class PluginState(StrEnum):
    """How a plugin is. ``REFUSED`` is a matter of trust or rights, ``FAILED`` one of the code."""

    DISABLED = "disabled"
    LOADING = "loading"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    REFUSED = "refused"


class Signature(StrEnum):
    """What the signatures of a plugin say: a key that the operator trusts made it, or one that
    nobody trusted; none is there; a part is missing; or it is not what was signed."""

    SIGNED = "signed"
    UNTRUSTED = "untrusted"
    UNSIGNED = "unsigned"
    TRUNCATED = "truncated"
    TAMPERED = "tampered"


class PluginKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """The operator's word about a publisher's key, at a time in epoch seconds."""

    key: str
    name: str
    revoked: bool
    at: float


class PluginRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The operator's word about a plugin. ``rights`` are those that it was granted, in words such
    as ``net example.org:443``. ``publisher`` is the key of what ran last, ``highest`` the highest
    version that ran. ``origin`` is the distribution whose plugin it is about, empty for one in
    PLUGINS_DIR: no other inherits what was granted."""

    id: str
    enabled: bool = True
    config: dict[str, Any] = {}
    rights: list[str] = []
    publisher: str | None = None
    highest: str | None = None
    origin: str = ""


class PluginStore(Protocol):
    """Durable records and values of plugins."""

    async def records(self) -> Sequence[PluginRecord]:
        """All of them, by name."""

    async def save_record(self, record: PluginRecord) -> None:
        """Store one; durable on return."""

    async def publisher_keys(self) -> Sequence[PluginKey]:
        """The operator's word about each key, in their order."""

    async def save_publisher_key(self, key: PluginKey) -> None:
        """Store one; durable on return."""

    async def value(self, plugin: str, key: str) -> bytes | None:
        """The JSON under a key of a plugin, or None."""

    async def save_value(self, plugin: str, key: str, value: bytes, *, quota: int) -> None:
        """Store one; QuotaReached where the plugin would hold more than ``quota`` bytes."""

    async def save_values(
        self, plugin: str, changes: Mapping[str, bytes | None], *, quota: int
    ) -> None:
        """Store (None: forget) them all in one transaction, or none; QuotaReached as above."""

    async def keys(self, plugin: str) -> Sequence[str]:
        """The keys of a plugin, in order."""

    async def delete_value(self, plugin: str, key: str) -> None:
        """Forget one; nothing where there is none."""

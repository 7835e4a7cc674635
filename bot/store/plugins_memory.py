"""What is kept of plugins, for as long as the process lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.domain.plugins import PluginKey, PluginRecord
from bot.errors import QuotaReached


class MemoryPlugins:
    """Satisfies ``PluginStore``."""

    def __init__(self) -> None:
        self._records: dict[str, PluginRecord] = {}
        self._keys: dict[str, PluginKey] = {}
        self._values: dict[str, dict[str, bytes]] = {}

    async def records(self) -> Sequence[PluginRecord]:
        """All of them, by name."""
        return [self._records[name] for name in sorted(self._records)]

    async def save_record(self, record: PluginRecord) -> None:
        """Store one."""
        self._records[record.id] = record

    async def publisher_keys(self) -> Sequence[PluginKey]:
        """The operator's word about each key, in their order."""
        return [self._keys[key] for key in sorted(self._keys)]

    async def save_publisher_key(self, key: PluginKey) -> None:
        """Store one."""
        self._keys[key.key] = key

    async def value(self, plugin: str, key: str) -> bytes | None:
        """The JSON under a key of a plugin, or None."""
        return self._values.get(plugin, {}).get(key)

    async def save_value(self, plugin: str, key: str, value: bytes, *, quota: int) -> None:
        """Store one; QuotaReached where the plugin would hold more than ``quota`` bytes."""
        await self.save_values(plugin, {key: value}, quota=quota)

    async def save_values(
        self, plugin: str, changes: Mapping[str, bytes | None], *, quota: int
    ) -> None:
        """Store (None: forget) them all, or none; QuotaReached as above."""
        found = {**self._values.get(plugin, {}), **changes}
        kept = {key: value for key, value in found.items() if value is not None}
        wanted = sum(len(key) + len(value) for key, value in kept.items())
        if wanted > quota:
            raise QuotaReached(
                f"plugin {plugin} would keep {wanted} bytes", hint=f"at most {quota} bytes"
            )
        self._values[plugin] = kept

    async def keys(self, plugin: str) -> Sequence[str]:
        """The keys of a plugin, in order."""
        return sorted(self._values.get(plugin, {}))

    async def delete_value(self, plugin: str, key: str) -> None:
        """Forget one; nothing where there is none."""
        self._values.get(plugin, {}).pop(key, None)

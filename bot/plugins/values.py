"""The values that one plugin keeps, and the version of their form.

While a newer version of a plugin brings them into its own form nothing is stored: all of it is, in
one transaction, when that version is up and healthy. One that fails leaves the values as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bot.domain.plugins import PluginStore
from bot.errors import Conflict, QuotaReached

_VERSION = ""  # the key that no plugin can name: theirs have a character at least


class Values:
    """``quota`` is bytes."""

    def __init__(self, plugin: str, store: PluginStore, quota: int) -> None:
        self._plugin = plugin
        self._store = store
        self._quota = quota
        self._staged: dict[str, bytes | None] | None = None
        self._is_over = False

    async def get(self, key: str) -> bytes | None:
        """The JSON under a key, or None."""
        if self._staged is not None and key in self._staged:
            return self._staged[key]
        return await self._store.value(self._plugin, key)

    async def set(self, key: str, value: bytes) -> None:
        """Store one. QuotaReached where it is too much; Conflict where a newer version of the
        plugin has brought the values into its form."""
        self._check()
        if self._staged is None:
            await self._store.save_value(self._plugin, key, value, quota=self._quota)
            return
        staged = sum(len(each or b"") + len(name) for name, each in self._staged.items())
        if staged + len(value) + len(key) > self._quota:
            raise QuotaReached(
                f"plugin {self._plugin} would keep more", hint=f"{self._quota} bytes"
            )
        self._staged[key] = value

    async def delete(self, key: str) -> None:
        """Forget one."""
        self._check()
        if self._staged is None:
            await self._store.delete_value(self._plugin, key)
        else:
            self._staged[key] = None

    async def keys(self) -> Sequence[str]:
        """Every key, in order."""
        staged = self._staged or {}
        stored = await self._store.keys(self._plugin)
        found = {key for key in [*stored, *staged] if staged.get(key, b"") is not None}
        return sorted(found - {_VERSION})

    async def version(self) -> int | None:
        """That of the values; None where there are none yet."""
        found = await self._store.value(self._plugin, _VERSION)
        if found is not None:
            return msgspec.json.decode(found, type=int)
        return 1 if await self.keys() else None

    def stage(self) -> None:
        """Store nothing from now on, until ``commit``."""
        self._staged = {}

    async def commit(self, version: int) -> None:
        """Store what was staged, and that it is of that version."""
        staged, self._staged = self._staged or {}, None
        staged[_VERSION] = msgspec.json.encode(version)
        await self._store.save_values(self._plugin, staged, quota=self._quota)

    def end(self) -> None:
        """A newer version has the values in its form: none is written by this one any more."""
        self._is_over = True

    def _check(self) -> None:
        if self._is_over:
            raise Conflict(f"a newer version of plugin {self._plugin} has taken over its values")

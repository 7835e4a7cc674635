"""What is kept of plugins: the operator's word about each, and the values that they keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from bot.domain.plugins import PluginKey, PluginRecord
from bot.errors import QuotaReached
from bot.store.backend import AlreadyThere, Backend
from bot.store.schema import plugin_keys, plugin_values, plugins


class Plugins:
    """Satisfies ``PluginStore``."""

    def __init__(self, database: Backend) -> None:
        self._database = database

    async def records(self) -> Sequence[PluginRecord]:
        """All of them, by name."""
        rows = await self._database.read(sa.select(plugins.c.body).order_by(plugins.c.id))
        return [msgspec.json.decode(row["body"], type=PluginRecord) for row in rows]

    async def save_record(self, record: PluginRecord) -> None:
        """Store one; durable on return."""
        body = msgspec.json.encode(record).decode()
        await self._put(plugins, {"id": record.id}, {"body": body})

    async def publisher_keys(self) -> Sequence[PluginKey]:
        """The operator's word about each key, in their order."""
        rows = await self._database.read(sa.select(plugin_keys.c.body).order_by(plugin_keys.c.key))
        return [msgspec.json.decode(row["body"], type=PluginKey) for row in rows]

    async def save_publisher_key(self, key: PluginKey) -> None:
        """Store one; durable on return."""
        body = msgspec.json.encode(key).decode()
        await self._put(plugin_keys, {"key": key.key}, {"body": body})

    async def value(self, plugin: str, key: str) -> bytes | None:
        """The JSON under a key of a plugin, or None."""
        query = sa.select(plugin_values.c.value).where(
            plugin_values.c.plugin == plugin, plugin_values.c.key == key
        )
        rows = await self._database.read(query)
        return rows[0]["value"] if rows else None

    async def save_value(self, plugin: str, key: str, value: bytes, *, quota: int) -> None:
        """Store one; QuotaReached where the plugin would hold more than ``quota`` bytes."""
        size = sa.func.length(plugin_values.c.value) + sa.func.length(plugin_values.c.key)
        others = sa.select(sa.func.coalesce(sa.func.sum(size), 0).label("size")).where(
            plugin_values.c.plugin == plugin, plugin_values.c.key != key
        )
        held = int((await self._database.read(others))[0]["size"])
        wanted = held + len(value) + len(key)
        if wanted > quota:
            raise QuotaReached(
                f"plugin {plugin} would keep {wanted} bytes", hint=f"at most {quota} bytes"
            )
        await self._put(plugin_values, {"plugin": plugin, "key": key}, {"value": value})

    async def save_values(
        self, plugin: str, changes: Mapping[str, bytes | None], *, quota: int
    ) -> None:
        """Store (None: forget) them all in one transaction, or none; QuotaReached as above."""
        mine = plugin_values.c.plugin == plugin
        rows = await self._database.read(
            sa.select(
                plugin_values.c.key, sa.func.length(plugin_values.c.value).label("size")
            ).where(mine)
        )
        held = {row["key"]: int(row["size"]) for row in rows}
        sizes = held | {key: len(value) for key, value in changes.items() if value is not None}
        wanted = sum(
            size + len(key) for key, size in sizes.items() if changes.get(key, b"") is not None
        )
        if wanted > quota:
            raise QuotaReached(
                f"plugin {plugin} would keep {wanted} bytes", hint=f"at most {quota} bytes"
            )
        statements: list[sa.UpdateBase] = []
        for key, value in changes.items():
            this = sa.and_(mine, plugin_values.c.key == key)
            if value is None:
                statements.append(sa.delete(plugin_values).where(this))
            elif key in held:
                statements.append(sa.update(plugin_values).where(this).values(value=value))
            else:
                new = {"plugin": plugin, "key": key, "value": value}
                statements.append(sa.insert(plugin_values).values(new))
        await self._database.write(*statements)

    async def keys(self, plugin: str) -> Sequence[str]:
        """The keys of a plugin, in order."""
        rows = await self._database.read(
            sa.select(plugin_values.c.key)
            .where(plugin_values.c.plugin == plugin)
            .order_by(plugin_values.c.key)
        )
        return [row["key"] for row in rows]

    async def delete_value(self, plugin: str, key: str) -> None:
        """Forget one; nothing where there is none."""
        await self._database.write(
            sa.delete(plugin_values).where(
                plugin_values.c.plugin == plugin, plugin_values.c.key == key
            )
        )

    async def _put(
        self, table: sa.Table, key: dict[str, str], values: dict[str, str | bytes]
    ) -> None:
        where = [table.c[name] == value for name, value in key.items()]
        change = sa.update(table).where(*where).values(**values)
        if await self._database.write(change):
            return
        try:
            await self._database.insert(table, [{**key, **values}])
        except AlreadyThere:  # another was quicker
            await self._database.write(change)

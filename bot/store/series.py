"""Blocks of sampled series: what was measured in one stretch of time, all series together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from bot.store.backend import Backend
from bot.store.schema import series_blocks as table


class Block(NamedTuple):
    """A stored block. ``step`` is the width of its buckets in seconds, 0 where it holds the
    samples themselves; ``start`` is UNIX time in seconds, and together they are its key.

    ``settled`` is false while samples may still come that no wider bucket holds yet.
    """

    step: int
    start: int
    settled: bool
    body: bytes


class SeriesStore:
    """The blocks in the database of the store."""

    def __init__(self, database: Backend) -> None:
        self._database = database

    async def put(self, blocks: Sequence[Block]) -> None:
        """Store them in one transaction, each in the place of one with the same key."""
        statements: list[sa.UpdateBase] = []
        for block in blocks:
            same = (table.c.step == block.step, table.c.start == block.start)
            statements.append(sa.delete(table).where(*same))
            statements.append(sa.insert(table).values(**block._asdict()))
        await self._database.write(*statements)

    async def get(self, step: int, start: int) -> Block | None:
        """One of them, or None."""
        found = await self._read(table.c.step == step, table.c.start == start)
        return found[0] if found else None

    async def unsettled(self) -> list[Block]:
        """Those that are not settled, oldest first."""
        return await self._read(table.c.step == 0, table.c.settled.is_(False))

    async def between(self, step: int, first: int, last: int) -> list[Block]:
        """Those that start in that time (both inclusive), oldest first."""
        return await self._read(table.c.step == step, table.c.start.between(first, last))

    async def prune(self, step: int, first: int, last: int) -> int:
        """Remove those that start before ``first`` or after ``last``; how many."""
        outside = sa.or_(table.c.start < first, table.c.start > last)
        return await self._database.write(sa.delete(table).where(table.c.step == step, outside))

    async def _read(self, *conditions: sa.ColumnElement[bool]) -> list[Block]:
        columns = (table.c.step, table.c.start, table.c.settled, table.c.body)
        query = sa.select(*columns).where(*conditions).order_by(table.c.start)
        return [Block(**row) for row in await self._database.read(query)]

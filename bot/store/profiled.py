"""A database whose transactions and queries are timed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from bot.domain.ports import Profiler
from bot.store.backend import Backend, Values
from bot.store.rows import Change


class ProfiledBackend:
    """Hands everything on. See ``backend.Backend``.

    The times are what the caller waits: for the thread or the connection, and for the database.
    Statements are shown with the names of their parameters and never with their values.
    """

    def __init__(self, inner: Backend, profiler: Profiler) -> None:
        self._inner = inner
        self._profiler = profiler

    async def save(self, changes: Sequence[Change]) -> None:
        """Store all of ``changes`` in one transaction, or none."""
        with self._profiler.measure("store.save", tasks=len(changes)):
            await self._inner.save(changes)

    async def insert(self, table: sa.Table, rows: Sequence[Values]) -> None:
        """Insert the rows in one transaction."""
        with self._profiler.measure(f"store.insert.{table.name}", rows=len(rows)):
            await self._inner.insert(table, rows)

    async def write(self, *statements: sa.UpdateBase) -> int:
        """Execute them in one transaction."""
        first = statements[0] if statements else None
        with self._profiler.measure("store.write", statements=len(statements), first=first):
            return await self._inner.write(*statements)

    async def read(self, query: sa.Select[Any]) -> Sequence[Values]:
        """The rows of a query."""
        with self._profiler.measure("store.read", query=query):
            return await self._inner.read(query)

    def holds(self, text: str) -> sa.ColumnElement[bool]:
        """The condition that a task has that text."""
        return self._inner.holds(text)

    async def candidates(self, text: str) -> sa.ColumnElement[bool] | None:
        """The condition of being one of the tasks that may hold ``text``."""
        return await self._inner.candidates(text)

    def unindexed(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """A column that no index is to be chosen for."""
        return self._inner.unindexed(column)

    async def complaints(self) -> list[str]:
        """As the database itself."""
        return await self._inner.complaints()

    async def close(self) -> None:
        """Close it."""
        await self._inner.close()

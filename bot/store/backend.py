"""What the store asks of a kind of database, and the errors that they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from bot.errors import InternalFailure, NoSpace, Unavailable
from bot.store.rows import Change

#: Values of one execution of a statement, by column.
Values = Mapping[str, Any]


class AlreadyThere(Exception):
    """A new row has the same unique values as one that exists."""


class Backend(Protocol):
    """A database that is open, and of the newest revision."""

    async def save(self, changes: Sequence[Change]) -> None:
        """Store all of ``changes`` (each of another task) in one transaction, or none.

        InternalFailure where a task is gone or has got that far already (see ``stale``).
        """

    async def insert(self, table: sa.Table, rows: Sequence[Values]) -> None:
        """Insert them in one transaction (at least one). AlreadyThere where a row exists."""

    async def write(self, *statements: sa.UpdateBase) -> int:
        """Execute them in one transaction; how many rows they changed together."""

    async def read(self, query: sa.Select[Any]) -> Sequence[Values]:
        """The rows of a query. Never waits for a write."""

    def holds(self, text: str) -> sa.ColumnElement[bool]:
        """The condition that a task has that text (without case already) in name or source."""

    async def candidates(self, text: str) -> sa.ColumnElement[bool] | None:
        """The condition of being one of the tasks that may hold ``text``, where an index says that
        they are few. None where they are many or nobody knows: it is quicker to look at each.
        """

    def unindexed(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """A column of ``tasks`` that no index is to be chosen for, where somebody must say so."""

    async def complaints(self) -> list[str]:
        """What the database finds wrong when it looks at all that it holds; it may take minutes,
        during which others go on. Unavailable where it can't be asked."""

    async def close(self) -> None:
        """End the write under way, then let go of the database."""


def stale(changes: Sequence[Change]) -> InternalFailure:
    """The error of a save that would undo another one, or whose task is gone."""
    names = ", ".join(f"{change.id} (version {change.version})" for change in changes[:3])
    return InternalFailure(
        f"a change of task {names} is not stored: the task was changed by another, or removed",
        hint="load the task again and repeat the change",
    )


def full(where: str) -> NoSpace:
    """The error of a write that found no room."""
    return NoSpace(
        f"the database {where} can't grow: its disk is full",
        hint="free some room; nothing that was stored before is lost",
    )


def damaged(where: str, reason: str) -> InternalFailure:
    """The error of a database whose file is no longer sound."""
    return InternalFailure(
        f"the database {where} is damaged: {reason}",
        hint="stop the service, keep the file, and restore the newest copy of it",
    )


def busy(where: str, reason: str) -> Unavailable:
    """The error of a database that does not let us in for now."""
    return Unavailable(
        f"the database {where} is not available: {reason}",
        hint="try again; if it lasts, see what else uses that database",
    )

"""What a backup asks of a kind of database, and what it learns from a copy that it opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from bot.operations.backup_archive import Report
from bot.store.repository import open_store
from bot.store.schema import receipts, tokens


@dataclass(frozen=True, slots=True)
class Checked:
    """What a copy of the database is like: rows of each kind, and which checks were made."""

    counts: Mapping[str, int]
    passed: Sequence[str]
    unchecked: Sequence[str] = ()


class Database(Protocol):
    """The live database, and copies of it."""

    @property
    def kind(self) -> str:
        """``sqlite`` or ``postgresql``."""

    @property
    def copy_path(self) -> str:
        """The path of the copy in an archive."""

    @property
    def files(self) -> Sequence[Path]:
        """The live files that a copy takes the place of, the first that of the copy itself; none
        where the database lies on a server."""

    async def size(self) -> int:
        """About how many bytes a copy has."""

    async def snapshot(self, target: Path, report: Report) -> str:
        """Write a consistent copy to the new file ``target`` while others write to the database;
        the revision of its schema."""

    async def check(self, copy: Path) -> Checked:
        """Open a copy as the service would, migrations and all; Corrupt where that fails."""

    async def set_aside(self, mark: str) -> None:
        """Put the live tables where ``mark`` (letters, digits and ``_``) finds them again."""

    async def load(self, copy: Path) -> None:
        """Fill the empty place with what ``copy`` holds, all or nothing."""

    async def put_back(self, mark: str) -> None:
        """Make the tables that ``set_aside`` took the live ones again, if there are any."""

    async def prune(self, keep: int) -> None:
        """Forget what was set aside, but for the newest ``keep``."""


async def counted(url: str) -> dict[str, int]:
    """Open the store at ``url`` as the service would, and count what it holds."""
    store = await open_store(url)
    try:
        tasks = await store.count()
        unfinished = len(await store.unfinished())
        found = {"tasks": sum(tasks.values()), "unfinished": unfinished}
        for table in (receipts, tokens):
            query = sa.select(sa.func.count().label("rows")).select_from(table)
            found[table.name] = int((await store.database.read(query))[0]["rows"])
        return found
    finally:
        await store.close()

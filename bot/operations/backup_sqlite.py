"""Backups of SQLite: its online backup, within one read transaction.

Without that transaction a backup in steps begins anew whenever somebody writes, and may never end
(https://sqlite.org/c3ref/backup_finish.html). With it every step sees the same commit; in WAL mode
the writers go on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bot.errors import ConfigError, Corrupt, InternalFailure, MltbError, Unavailable
from bot.operations.backup_archive import Report, no_space
from bot.operations.backup_database import Checked, counted
from bot.operations.backup_jobs import interruptible

_PAGES = 256  # a step: 1 MiB with SQLite's usual pages
_PATIENCE = 30.0  # seconds that a copy waits for a lock
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SqliteDatabase:
    """The database in the file ``path``. See ``Database``."""

    kind = "sqlite"
    copy_path = "database/mltb.db"

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def files(self) -> Sequence[Path]:
        """The file, and what SQLite keeps beside it."""
        return [self._path, *(Path(f"{self._path}-{what}") for what in ("wal", "shm"))]

    async def size(self) -> int:
        """Bytes of the file and of its log."""
        total = 0
        for path in self.files:
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    async def snapshot(self, target: Path, report: Report) -> str:
        """Copy in steps, in a thread. NoSpace, Corrupt, Unavailable."""
        return await interruptible(lambda watched: self._copy(target, watched), report)

    def _copy(self, target: Path, report: Report) -> str:
        def progress(_: int, left: int, total: int) -> None:
            report("copying the database", total - left, total)

        if not self._path.exists():
            raise Unavailable(
                f"there is no database {self._path} to make a backup of",
                hint="the first start of the service makes it",
            )
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            with (
                closing(sqlite3.connect(self._path, _PATIENCE, isolation_level=None)) as source,
                closing(sqlite3.connect(target)) as copy,
            ):
                source.execute("BEGIN")
                revision = source.execute("SELECT version_num FROM alembic_version").fetchone()
                source.backup(copy, pages=_PAGES, progress=progress)
                source.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._translated(error, target) from error
        return str(revision[0])

    def _translated(self, error: sqlite3.Error, target: Path) -> MltbError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _FULL:
            return no_space(target.parent, self._path.stat().st_size)
        if code in _BROKEN:
            return Corrupt(
                f"the database {self._path} is damaged: {error}",
                hint="restore the newest backup: mltb backup restore",
            )
        return Unavailable(f"the database {self._path} can't be copied: {error}", hint="try again")

    async def check(self, copy: Path) -> Checked:
        """Every page and index, then the store opens it: migrations, unfinished tasks, counts."""
        await asyncio.to_thread(_integrity, copy)
        try:
            counts = await counted(f"sqlite:///{copy}")
        except (ConfigError, InternalFailure) as error:
            raise Corrupt(
                f"the database in the backup can't be opened: {error.message}", hint=error.hint
            ) from error
        return Checked(counts, ["integrity of the database", "migrations", "rows are read"])

    async def set_aside(self, mark: str) -> None:
        """Nothing: its files are moved."""

    async def load(self, copy: Path) -> None:
        """Nothing: its files are moved."""

    async def put_back(self, mark: str) -> None:
        """Nothing: its files are moved."""

    async def prune(self, keep: int) -> None:
        """Nothing: its files are pruned with the others."""


def _integrity(copy: Path) -> None:
    try:
        with closing(sqlite3.connect(copy)) as connection:
            found = connection.execute("PRAGMA integrity_check(5)").fetchall()
    except sqlite3.Error as error:
        found = [(str(error),)]
    if found != [("ok",)]:
        raise Corrupt(
            f"the database in the backup is damaged: {found[0][0]}", hint="take another backup"
        )

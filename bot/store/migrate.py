"""Brings a database to the newest revision at the start, and only then.

There is no way down: a program that is older than its database refuses to start and says so. What
an SQLite file held before a migration stays beside it as a copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.errors import ConfigError, NoSpace
from bot.store.schema import REVISIONS

log = logging.getLogger(__name__)

#: Any number that nothing else takes a lock of PostgreSQL by.
_LOCK = 0x6D6C7462
_VERSION = "SELECT version_num FROM alembic_version"
_DATA = ("tasks", "receipts", "tokens")
_LOCK_WAIT = 60.0
_BEGIN = "BEGIN IMMEDIATE"


@dataclass(frozen=True, slots=True)
class History:
    """The revisions that a program knows, oldest first, and where their scripts lie."""

    revisions: tuple[str, ...] = REVISIONS
    scripts: Path = Path(__file__).parent / "migrations"

    @property
    def newest(self) -> str:
        """What a database has after the start."""
        return self.revisions[-1]

    def is_newest(self, revision: str | None, where: str) -> bool:
        """Whether nothing is to be done. ConfigError where the revision is not a known one."""
        if revision is not None and revision not in self.revisions:
            raise ConfigError(
                f"the database {where} has revision {revision}, which this program does not know;"
                f" it knows {', '.join(self.revisions)}",
                hint="a newer version of the program made it: start that one, or restore the copy"
                " that it made before it migrated; there is no way down",
            )
        return revision == self.newest


def migrate_sqlite(path: Path, history: History) -> None:
    """Bring the file ``path`` to the newest revision, in one transaction.

    ConfigError where that can't be done; NoSpace where the copy before it finds no room.
    """
    with closing(sqlite3.connect(path, timeout=_LOCK_WAIT)) as plain:
        if history.is_newest(_revision_of_sqlite(plain), str(path)):
            return
    engine = sa.create_engine("sqlite://", creator=lambda: _connect(path), poolclass=sa.NullPool)
    # The driver of Python would commit before each change of a table, and a crash in between would
    # leave half a revision; so it is told to stay out of it, and the transaction begins here.
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(_BEGIN))
    try:
        with _locked(path), engine.begin() as connection:
            # Another process may have done it while this one waited for the lock.
            revision = _revision(connection)
            if history.is_newest(revision, str(path)):
                return
            if revision is not None:
                _keep_copy(path, history.newest)
            _upgrade(connection, history)
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        raise _not_migrated(str(path), history, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_LOCK_WAIT, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


async def migrate_postgresql(engine: AsyncEngine, history: History, where: str) -> None:
    """Bring the database to the newest revision, in one transaction. ConfigError where not."""
    async with engine.connect() as connection:
        if history.is_newest(await connection.run_sync(_revision), where):
            return
        await connection.rollback()
        try:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            if not history.is_newest(await connection.run_sync(_revision), where):
                await connection.run_sync(_upgrade, history)
            await connection.commit()
        except sa.exc.DBAPIError as error:
            raise _not_migrated(where, history, error) from error


def _upgrade(connection: sa.Connection, history: History) -> None:
    # Most starts migrate nothing and go without the memory that these take.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    context = MigrationContext.configure(connection)
    scripts = ScriptDirectory(str(history.scripts))
    current = context.get_current_revision()
    path = list(scripts.iterate_revisions(history.newest, current or "base"))
    for script in reversed(path):
        if script.revision == current:
            continue
        log.info("database: revision %s, %s", script.revision, script.doc)
        with Operations.context(context):
            script.module.upgrade()
        context.stamp(scripts, script.revision)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text(_VERSION))
    return found


def _revision_of_sqlite(connection: sqlite3.Connection) -> str | None:
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    ).fetchone()
    row = connection.execute(_VERSION).fetchone() if found else None
    return None if row is None else str(row[0])


def _not_migrated(where: str, history: History, error: Exception) -> ConfigError:
    reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return ConfigError(
        f"the database {where} can't be brought to revision {history.newest}: {reason}",
        hint="it is as it was before; if it belongs to another program, name another DATABASE_URL",
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock beside the file: turning a new file to WAL does not wait for its own locks."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _keep_copy(path: Path, newest: str) -> None:
    """Copy the file, with what is still in its log, if it holds anything at all.

    Another connection keeps writers out meanwhile; what it has not committed is not in the copy.
    """
    with closing(sqlite3.connect(path)) as source:
        names = {row[0] for row in source.execute("SELECT name FROM sqlite_master")}
        if any(
            source.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 - our names
            for table in _DATA
            if table in names
        ):
            target = _copy(source, path, newest)
            log.info("database: a copy of what it was is kept as %s", target)


def _copy(source: sqlite3.Connection, path: Path, newest: str) -> Path:
    target = path.with_name(f"{path.name}.before-{newest}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.before-{newest}.{number}")
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        return part.rename(target)
    except (sqlite3.Error, OSError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise NoSpace(
            f"no copy of the database {path} could be made before its migration: {error}",
            hint=f"make {path.stat().st_size} bytes free there; the database is as it was",
        ) from error

"""The store on PostgreSQL, through asyncpg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.errors import ConfigError, InternalFailure, MltbError
from bot.store import backend, rows
from bot.store.backend import AlreadyThere, Values
from bot.store.migrate import History, migrate_postgresql
from bot.store.rows import Change
from bot.store.schema import metadata, receipts, tasks

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNIQUE = "23505"
_FULL = {"53100", "53200"}
_DAMAGED = {"XX001", "XX002"}
_WRONG_START = {"28000", "28P01", "3D000", "42501"}
_BUSY_CLASSES = ("08", "40", "53", "55", "57")

_CONNECTIONS = 5
_OPTIONS = {"host", "port", "ssl", "sslmode"}
_SAVED = (
    "id",
    "version",
    "updated_at",
    "body",
    "state",
    "engine",
    "size",
    "priority",
    "start_at",
    "finished_at",
    "name",
    "source",
    "destination",
    "name_key",
    "search",
)


async def open_postgresql(url: sa.URL, history: History) -> PostgresqlBackend:
    """Connect, and bring the database to the newest revision.

    ConfigError where it can't be used as it is, Unavailable where it does not answer.
    """
    where = url.render_as_string(hide_password=True)
    engine = create_async_engine(
        for_asyncpg(url, where),
        pool_size=_CONNECTIONS,
        max_overflow=0,
        # A connection may have died with a restart of the server since it was used last.
        pool_pre_ping=True,
    )
    database = PostgresqlBackend(engine, where)
    try:
        await database.migrate(history)
    except MltbError:
        await database.close()
        raise
    return database


def for_asyncpg(url: sa.URL, where: str) -> sa.URL:
    """The URL in the words of the driver; ``sslmode`` is what libpq and most panels call it."""
    options = dict(url.query)
    if "sslmode" in options:
        options["ssl"] = options.pop("sslmode")
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ConfigError(
            f"DATABASE_URL: {where}: nothing is known of the option {unknown[0]!r}",
            hint=f"known are {', '.join(sorted(_OPTIONS))}",
        )
    return url.set(drivername="postgresql+asyncpg", query=options)


class PostgresqlBackend:
    """A database on a server. See ``backend.Backend``."""

    def __init__(self, engine: AsyncEngine, where: str) -> None:
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._where = where
        self._save = _save_statement()
        statement = insert(receipts)
        update = {column.name: statement.excluded[column.name] for column in receipts.c}
        self._receipt = statement.on_conflict_do_update(index_elements=["task"], set_=update)

    async def migrate(self, history: History) -> None:
        """Bring the database to the newest revision."""
        try:
            await migrate_postgresql(self._engine, history, self._where)
        except _FAULTS as error:
            raise self._translated(error) from error

    async def save(self, changes: Sequence[Change]) -> None:
        """Store all of ``changes`` in one transaction, or none."""
        table = [_saved(change) for change in changes]
        columns = {
            f"new_{name}": list(values)
            for name, values in zip(_SAVED, zip(*table, strict=True), strict=True)
        }
        granted = [change.receipt for change in changes if change.receipt is not None]
        try:
            async with self._engine.begin() as connection:
                done = await connection.execute(self._save, columns)
                if done.rowcount != len(changes):
                    raise backend.stale(changes)
                if granted:
                    await connection.execute(self._receipt, granted)
        except _FAULTS as error:
            raise self._translated(error) from error

    async def insert(self, table: sa.Table, values: Sequence[Values]) -> None:
        """Insert the rows in one transaction."""
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(table), values)
        except sa.exc.IntegrityError as error:
            if _state_of(error) == _UNIQUE:
                raise AlreadyThere(str(error.orig)) from error
            raise self._translated(error) from error
        except _FAULTS as error:
            raise self._translated(error) from error

    async def write(self, *statements: sa.UpdateBase) -> int:
        """Execute them in one transaction."""
        try:
            async with self._engine.begin() as connection:
                done = [await connection.execute(statement) for statement in statements]
        except _FAULTS as error:
            raise self._translated(error) from error
        return sum(result.rowcount for result in done)

    async def read(self, query: sa.Select[Any]) -> Sequence[Values]:
        """The rows of a query."""
        try:
            async with self._reader.connect() as connection:
                found: Sequence[Values] = (await connection.execute(query)).mappings().all()
                return found
        except _FAULTS as error:
            raise self._translated(error) from error

    def holds(self, text: str) -> sa.ColumnElement[bool]:
        """The condition that a task has that text; the trigram index, if there is one, helps."""
        return tasks.c.search.contains(text, autoescape=True)

    async def candidates(self, text: str) -> sa.ColumnElement[bool] | None:
        """PostgreSQL has statistics, and chooses by itself."""
        return None

    def unindexed(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """PostgreSQL has statistics, and chooses by itself."""
        return column

    async def complaints(self) -> list[str]:
        """By reading every value of every table, and by the count of failed checksums: the nearest
        to a check of integrity that needs no rights of an administrator."""
        failures = sa.text(
            "SELECT coalesce(checksum_failures, 0) AS n FROM pg_stat_database"
            " WHERE datname = current_database()"
        )
        found: list[str] = []
        try:
            async with self._reader.connect() as connection:
                if count := await connection.scalar(failures):
                    found.append(f"{count} pages failed their checksum")
                for table in metadata.sorted_tables:
                    complaint = await self._read_whole(connection, table.name)
                    found += [] if complaint is None else [complaint]
        except _FAULTS as error:
            raise self._translated(error) from error
        return found

    async def _read_whole(self, connection: AsyncConnection, name: str) -> str | None:
        """Why a table can't be read to its end, or None."""
        query = sa.text(f'SELECT sum(length(t::text)) FROM "{name}" AS t')  # noqa: S608 - ours
        try:
            await connection.execute(query)
        except sa.exc.DBAPIError as error:
            if _state_of(error) not in _DAMAGED:
                raise
            return f"table {name}: {error.orig}"
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    def _translated(self, error: Exception) -> MltbError:
        """The error of the project for one of the driver."""
        reason = str(getattr(error, "orig", None) or error) or type(error).__name__
        state = _state_of(error)
        if state in _FULL:
            return backend.full(self._where)
        if state in _DAMAGED:
            return backend.damaged(self._where, reason)
        if state in _WRONG_START:
            return ConfigError(
                f"the database {self._where} can't be used: {reason}",
                hint="correct DATABASE_URL, or make that user and that database",
            )
        if state is None or state.startswith(_BUSY_CLASSES):
            return backend.busy(self._where, reason)
        return InternalFailure(f"the database {self._where} refused a statement: {reason}")


# asyncpg leaves the errors of connecting as they are: OSError and TimeoutError among them.
_FAULTS = (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError, TimeoutError)


def _state_of(error: BaseException | None) -> str | None:
    """The SQLSTATE of an error or of what caused it; None of one that is not the server's."""
    while error is not None:
        state = getattr(error, "sqlstate", None)
        if isinstance(state, str):
            return state
        error = getattr(error, "orig", None) or error.__cause__
    return None


def _saved(change: Change) -> tuple[Any, ...]:
    name, source, _ = change.text
    return (
        change.id,
        change.version,
        change.updated_at,
        change.body,
        *change.columns,
        *change.text,
        rows.name_key(name),
        rows.search_text(name, source),
    )


def _save_statement() -> sa.Update:
    """One statement for any number of tasks: an array of values for each column."""
    columns = [tasks.c[name] for name in _SAVED]
    arrays = [sa.bindparam(f"new_{column.name}", type_=ARRAY(column.type)) for column in columns]
    given = (
        sa.func.unnest(*arrays)
        .table_valued(*(sa.column(column.name, column.type) for column in columns))
        .render_derived(name="given")
    )
    return (
        sa.update(tasks)
        .where(tasks.c.id == given.c.id, tasks.c.version < given.c.version)
        .values({name: given.c[name] for name in _SAVED if name != "id"})
    )

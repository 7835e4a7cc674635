"""The store on SQLite: one thread that writes, a few that read.

In WAL mode readers see the last commit and wait for nobody; there is one writer at a time anyway.
So all writes go through one thread, each transaction in one call to it, and each query is one call
to a thread that reads: handing every step of it to a thread by itself costs several times what
SQLite needs for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from bot.errors import ConfigError, InternalFailure, MltbError, Unavailable
from bot.store import backend, rows
from bot.store.backend import AlreadyThere, Values
from bot.store.migrate import History, migrate_sqlite
from bot.store.rows import Change
from bot.store.schema import TEXT_INDEX, TEXT_TERMS, receipts, tasks

_T = TypeVar("_T")
_A = TypeVar("_A")

_UNIQUE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_READERS = 2
_OLDEST = (3, 34, 0)  # the first with the trigram tokenizer
#: Tasks that are sorted by hand when a text is found in so few; more are found by walking.
_FEW = 4000
#: Sequences of three characters that are looked up for one text; each costs a walk of its own.
_TRIGRAMS = 12

_WRITER_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-8000",
    "PRAGMA journal_size_limit=67108864",
)
_READER_PRAGMAS = ("PRAGMA query_only=ON", "PRAGMA cache_size=-4000", "PRAGMA temp_store=MEMORY")

# What a save writes, by how much has changed. Each column that it names costs the indexes over it.
# The first two rely on what was stored last, and so on nobody having stored anything since.
_LIGHT = "UPDATE tasks SET updated_at = ?, version = ?, body = ? WHERE id = ? AND version = ?"
_MOVED = (
    "UPDATE tasks SET updated_at = ?, version = ?, body = ?, state = ?, engine = ?, size = ?,"
    " priority = ?, start_at = ?, finished_at = ?"
    " WHERE id = ? AND version = ?"
)
_NAMED = (
    "UPDATE tasks SET updated_at = ?, version = ?, body = ?, state = ?, engine = ?, size = ?,"
    " priority = ?, start_at = ?, finished_at = ?, name = ?, source = ?, destination = ?,"
    " name_key = ?, search = ?"
    " WHERE id = ? AND version < ?"
)


class _Known(NamedTuple):
    """What a task has in its row since it was stored last."""

    version: int
    columns: tuple[Any, ...]
    text: tuple[Any, ...]


async def open_sqlite(path: Path, history: History, busy_timeout: float) -> SqliteBackend:
    """Open or make the database in the file ``path``; ``busy_timeout`` in seconds.

    ConfigError where that can't be done.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise ConfigError(
            f"this Python has SQLite {sqlite3.sqlite_version}; 3.34 or newer is needed",
            hint="use a newer Python, or PostgreSQL by DATABASE_URL",
        )
    thread = ThreadPoolExecutor(1, thread_name_prefix="store")
    opening = thread.submit(_open_writer, path, history, busy_timeout)
    try:
        connection = await asyncio.wrap_future(opening)
    except (MltbError, asyncio.CancelledError):
        thread.shutdown(wait=False)
        raise
    return SqliteBackend(path, thread, connection, _open_readers(path, busy_timeout))


def _open_writer(path: Path, history: History, busy_timeout: float) -> sqlite3.Connection:
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
        with contextlib.suppress(FileExistsError):
            # SQLite gives the mode of this file to those that it makes beside it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        migrate_sqlite(path, history)
        with contextlib.ExitStack() as undo:
            connection = undo.enter_context(
                contextlib.closing(
                    sqlite3.connect(
                        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
                    )
                )
            )
            for pragma in _WRITER_PRAGMAS:
                connection.execute(pragma)
            undo.pop_all()
            return connection
    except OSError as error:
        raise ConfigError(
            f"the database {path} can't be opened: {error.strerror}",
            hint="DATA_DIR or DATABASE_URL must name a place that the service may write to",
        ) from error
    except sqlite3.Error as error:
        raise _translated(error, path) from error


def _open_readers(path: Path, busy_timeout: float) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        isolation_level="AUTOCOMMIT",
        pool_size=_READERS,
        max_overflow=0,
        pool_reset_on_return=None,
        connect_args={"timeout": busy_timeout},
    )

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in _READER_PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    sa.event.listen(engine, "connect", prepare)
    return engine


class SqliteBackend:
    """A database in a file. See ``backend.Backend``."""

    def __init__(
        self,
        path: Path,
        thread: ThreadPoolExecutor,
        connection: sqlite3.Connection,
        reader: sa.Engine,
    ) -> None:
        self._path = path
        self._thread = thread
        self._connection = connection
        self._reader = reader
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        # What the unfinished tasks have in their columns; read and written by the thread alone.
        self._known: dict[str, _Known] = {}
        statement = insert(receipts)
        update = {column.name: statement.excluded[column.name] for column in receipts.c}
        self._receipt = self._compiled(
            statement.on_conflict_do_update(index_elements=["task"], set_=update),
            [column.name for column in receipts.c],
        )

    async def save(self, changes: Sequence[Change]) -> None:
        """Store all of ``changes`` in one transaction, or none."""
        await self._run(self._thread, self._save, changes)

    def _save(self, changes: Sequence[Change]) -> None:
        relied = any(change.id in self._known for change in changes)
        try:
            self._transact(lambda connection: self._update(connection, changes))
        except InternalFailure:
            if not relied:
                raise
            # Another process may have stored one of them since: once more, relying on nothing.
            self._transact(lambda connection: self._update(connection, changes))
        self._known.update(
            (change.id, _Known(change.version, change.columns, change.text))
            for change in changes
            if not change.final
        )

    def _update(self, connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
        light, moved, named, granted = [], [], [], []
        receipt, order = self._receipt
        for change in changes:
            head = (change.updated_at, change.version, change.body)
            known = self._known.pop(change.id, None)
            if known is None or known.text != change.text or known.version >= change.version:
                name, source, _ = change.text
                texts = (*change.text, rows.name_key(name), rows.search_text(name, source))
                key = (change.id, change.version)
                named.append((*head, *change.columns, *texts, *key))
            elif known.columns != change.columns:
                moved.append((*head, *change.columns, change.id, known.version))
            else:
                light.append((*head, change.id, known.version))
            if change.receipt is not None:
                granted.append([change.receipt[name] for name in order])
        changed = 0
        for statement, values in ((_LIGHT, light), (_MOVED, moved), (_NAMED, named)):
            if values:
                changed += connection.executemany(statement, values).rowcount
        if changed != len(changes):
            raise backend.stale(changes)
        if granted:
            connection.executemany(receipt, granted)

    async def insert(self, table: sa.Table, values: Sequence[Values]) -> None:
        """Insert the rows in one transaction."""
        statement, order = self._compiled(sa.insert(table), list(values[0]))

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(statement, ([row[name] for name in order] for row in values))

        await self._run(self._thread, self._transact, work)

    async def write(self, *statements: sa.UpdateBase) -> int:
        """Execute them in one transaction."""
        ready = []
        for statement in statements:
            compiled = statement.compile(
                dialect=self._reader.dialect, compile_kwargs={"render_postcompile": True}
            )
            values = [compiled.params[name] for name in compiled.positiontup or ()]
            ready.append((str(compiled), values))

        def work(connection: sqlite3.Connection) -> int:
            return sum(connection.execute(text, values).rowcount for text, values in ready)

        return await self._run(self._thread, self._transact, work)

    async def read(self, query: sa.Select[Any]) -> Sequence[Values]:
        """The rows of a query."""
        return await self._run(self._readers, self._read, query)

    def _read(self, query: sa.Select[Any]) -> Sequence[Values]:
        try:
            with self._reader.connect() as connection:
                found: Sequence[Any] = connection.execute(query).mappings().all()
                return found
        except sa.exc.DBAPIError as error:
            if not isinstance(error.orig, sqlite3.Error):
                raise
            raise _translated(error.orig, self._path) from error

    def holds(self, text: str) -> sa.ColumnElement[bool]:
        """The condition that a task has that text."""
        return sa.func.instr(tasks.c.search, text) > 0

    async def candidates(self, text: str) -> sa.ColumnElement[bool] | None:
        """The tasks that have sequences of three characters of a text, if they are few."""
        few = _having(text).limit(_FEW + 1).subquery()
        # Counted and gathered by SQLite: thousands of rows cost more than they are worth here.
        count, gathered = sa.func.count(), sa.func.json_group_array(few.c.seq)
        found = (await self.read(sa.select(count.label("count"), gathered.label("seqs"))))[0]
        if found["count"] > _FEW:
            return None
        numbers = sa.func.json_each(found["seqs"]).table_valued("value")
        return tasks.c.seq.in_(sa.select(numbers.c.value))

    def unindexed(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """The column after a plus: https://sqlite.org/optoverview.html#disqualifying_where_terms.

        Without statistics it would take an index by state for a list of all finished tasks.
        """
        return sa.literal_column(f'+tasks."{column.name}"', column.type)

    async def complaints(self) -> list[str]:
        """By https://sqlite.org/pragma.html#pragma_integrity_check, on a connection of its own."""
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=ro", uri=True, timeout=10, check_same_thread=False
        )
        looking = asyncio.ensure_future(asyncio.to_thread(_complaints, connection))
        try:
            return await asyncio.shield(looking)
        except asyncio.CancelledError:
            connection.interrupt()
            await asyncio.wait([looking])
            raise
        except sqlite3.Error as error:
            raise _translated(error, self._path) from error
        finally:
            connection.close()

    async def close(self) -> None:
        """End the write under way, then let go of the file."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._reader.dispose()
        self._connection.close()

    def _compiled(self, statement: sa.Insert, names: list[str]) -> tuple[str, tuple[str, ...]]:
        """The text of an insertion of those columns, and their order in it."""
        compiled = statement.compile(dialect=self._reader.dialect, column_keys=names)
        return str(compiled), tuple(compiled.positiontup or ())

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[_A], _T], argument: _A) -> _T:
        """Call it in one of the ``threads``. A caller that is cancelled leaves nothing half done:
        the call is made as a whole, or not at all.
        """
        try:
            running = threads.submit(call, argument)
        except RuntimeError as error:
            raise Unavailable(f"the database {self._path} is closed") from error
        return await asyncio.wrap_future(running)

    def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if error.sqlite_errorcode in _UNIQUE:
                raise AlreadyThere(str(error)) from error
            raise _translated(error, self._path) from error
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        return result


def _complaints(connection: sqlite3.Connection) -> list[str]:
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(100)")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return [str(error)]
        raise
    return [] if found == ["ok"] else found


def _having(text: str) -> sa.Select[Any]:
    """The query of the tasks that have some of the sequences of three characters of ``text``."""
    if len(text) < 3:
        terms = sa.table(TEXT_TERMS, sa.column("term", sa.Text), sa.column("doc", sa.Integer))
        return sa.select(terms.c.doc.label("seq")).where(
            terms.c.term >= text, terms.c.term < text + chr(0x10FFFF)
        )
    last = len(text) - 3
    count = min(last + 1, _TRIGRAMS)
    starts = {round(last * number / max(1, count - 1)) for number in range(count)}
    found = (text[start : start + 3].replace('"', '""') for start in sorted(starts))
    expression = " AND ".join(f'"{trigram}"' for trigram in found)
    index = sa.table(TEXT_INDEX, sa.column("rowid", sa.Integer))
    return sa.select(index.c.rowid.label("seq")).where(
        sa.literal_column(TEXT_INDEX).op("MATCH")(sa.literal(expression))
    )


def _translated(error: sqlite3.Error, path: Path) -> MltbError:
    """The error of the project for one of SQLite; https://sqlite.org/rescode.html."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    where, reason = str(path), str(error)
    if primary == sqlite3.SQLITE_FULL:
        return backend.full(where)
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return backend.damaged(where, reason)
    if primary in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return Unavailable(
            f"the database {where} can't be written: {reason}",
            hint="look at the rights of the file and of its directory",
        )
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR}:
        return backend.busy(where, reason)
    return InternalFailure(f"the database {where} refused a statement: {reason}")

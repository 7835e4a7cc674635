"""Backups of PostgreSQL, by ``pg_dump`` and ``pg_restore`` (of the server's version, or newer).

Only the tables of this program are dumped, moved and replaced; what others keep in the same
database stays as it is. Before a restore the live tables go into a schema of their own, from which
one transaction brings them back.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bot.engines import children
from bot.errors import ConfigError, Corrupt, InternalFailure, Unavailable, Unsupported
from bot.operations.backup_archive import Report, no_space
from bot.operations.backup_database import Checked, counted
from bot.store.postgresql import for_asyncpg
from bot.store.schema import metadata

_ASIDE = "mltb_before_"
_TABLES = ("alembic_version", *sorted(metadata.tables))
_FAULTS = (sa.exc.DBAPIError, OSError, TimeoutError)
_NO_ROOM = "No space left on device"
_PLAIN = ("--no-owner", "--no-privileges", "--no-password")


class PostgresqlDatabase:
    """The database at ``url``. ``dump`` and ``restore`` are the programs, None for those on PATH.
    See ``Database``."""

    kind = "postgresql"
    copy_path = "database/postgresql.dump"
    files: Sequence[Path] = ()

    def __init__(self, url: sa.URL, *, dump: Path | None, restore: Path | None) -> None:
        self._url = for_asyncpg(url, url.render_as_string(hide_password=True))
        self._dump = dump
        self._restore = restore

    async def size(self) -> int:
        """Bytes of the tables; a dump has no indexes, and is smaller."""
        async with self._connected() as connection:
            schema = await _schema(connection)
            wanted = [f"{schema}.{table}" for table in _TABLES]
            statement = sa.text(
                "SELECT coalesce(sum(pg_table_size(to_regclass(name))), 0)"
                " FROM unnest(CAST(:names AS text[])) AS name"
            )
            return int(await connection.scalar(statement, {"names": wanted}) or 0)

    async def snapshot(self, target: Path, report: Report) -> str:
        """Dump them: one snapshot of all tables. Unavailable, Unsupported, NoSpace."""
        async with self._connected() as connection:
            schema = await _schema(connection)
            revision = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        report("dumping the database", 0, 0)
        program = _program(self._dump, "pg_dump", "PG_DUMP_PATH")
        tables = [f"--table={schema}.{table}" for table in _TABLES]
        format_ = ("--format=custom", "--compress=0", f"--file={target}")
        said = await self._run(self._url, program, *_PLAIN, *format_, *tables)
        if said is not None:
            if _NO_ROOM in said:
                raise no_space(target.parent, target.stat().st_size if target.exists() else 0)
            raise Unavailable(
                f"pg_dump failed: {said}",
                hint="it must be of the server's version or newer; PG_DUMP_PATH names another",
            )
        target.chmod(0o600)
        return str(revision)

    async def check(self, copy: Path) -> Checked:
        """Read its table of contents; where this role may make a database, restore into one, and
        let the store open it."""
        program = _program(self._restore, "pg_restore", "PG_RESTORE_PATH")
        said = await self._run(None, program, "--list", str(copy))
        if said is not None:
            raise Corrupt(f"the dump in the backup can't be read: {said}", hint="take another")
        listed = ["table of contents of the dump"]
        name = f"mltb_verify_{secrets.token_hex(6)}"
        try:
            await self._outside(f"CREATE DATABASE {name} TEMPLATE template0")
        except _FAULTS as error:
            reason = str(getattr(error, "orig", None) or error)
            where = f"no scratch database could be made ({reason})"
            return Checked({}, listed, [f"restoring the dump, migrations and rows: {where}"])
        scratch = self._url.set(database=name)
        try:
            await self._load(scratch, copy)
            counts = await counted(scratch.render_as_string(hide_password=False))
        except (ConfigError, InternalFailure) as error:
            raise Corrupt(
                f"the database in the backup can't be opened: {error.message}", hint=error.hint
            ) from error
        finally:
            with contextlib.suppress(*_FAULTS):
                await self._outside(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        return Checked(counts, [*listed, "restored into a scratch database", "rows are read"])

    async def set_aside(self, mark: str) -> None:
        """Move the live tables into a schema of that mark, in one transaction."""
        aside = _ASIDE + mark
        async with self._connected() as connection:
            schema = await _schema(connection)
            await connection.execute(sa.text(f'CREATE SCHEMA "{aside}"'))
            await _move(connection, schema, aside)
            await connection.commit()

    async def load(self, copy: Path) -> None:
        """Restore the dump, in one transaction. Unavailable."""
        await self._load(self._url, copy)

    async def put_back(self, mark: str) -> None:
        """In one transaction: away with what was restored, back with what was set aside."""
        aside = _ASIDE + mark
        async with self._connected() as connection:
            schema = await _schema(connection)
            if not await _exists(connection, aside):
                return
            for table in _TABLES:
                await connection.execute(sa.text(f'DROP TABLE IF EXISTS "{schema}"."{table}"'))
            await _move(connection, aside, schema)
            await connection.execute(sa.text(f'DROP SCHEMA "{aside}"'))
            await connection.commit()

    async def prune(self, keep: int) -> None:
        """Drop the schemas of older restores."""
        async with self._connected() as connection:
            query = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'mltb\\_before\\_%'"
            found = sorted((await connection.scalars(sa.text(query))).all(), reverse=True)
            for name in found[keep:]:
                await connection.execute(sa.text(f'DROP SCHEMA "{name}" CASCADE'))
            await connection.commit()

    async def _load(self, url: sa.URL, copy: Path) -> None:
        # The index over texts needs it; without the right to make it, it may be there already.
        with contextlib.suppress(*_FAULTS):
            await self._outside("CREATE EXTENSION IF NOT EXISTS pg_trgm", url)
        program = _program(self._restore, "pg_restore", "PG_RESTORE_PATH")
        whole = ("--single-transaction", "--exit-on-error", "--no-comments")
        said = await self._run(url, program, *_PLAIN, *whole, f"--dbname={url.database}", str(copy))
        if said is not None:
            raise Unavailable(
                f"pg_restore failed: {said}",
                hint="it must be of the server's version or newer; PG_RESTORE_PATH names another",
            )

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        engine = create_async_engine(self._url, poolclass=sa.NullPool)
        try:
            async with engine.connect() as connection:
                yield connection
        except _FAULTS as error:
            reason = getattr(error, "orig", None) or error
            raise Unavailable(
                f"the database does not do what a backup needs: {reason}",
                hint="the role of DATABASE_URL must own its tables, and may make schemas",
            ) from error
        finally:
            await engine.dispose()

    async def _outside(self, statement: str, url: sa.URL | None = None) -> None:
        """Execute it outside of a transaction. Raises the errors of the driver."""
        engine = create_async_engine(url or self._url, poolclass=sa.NullPool)
        try:
            async with engine.connect() as connection:
                plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await plain.execute(sa.text(statement))
        finally:
            await engine.dispose()

    async def _run(self, url: sa.URL | None, program: str, *arguments: str) -> str | None:
        """Run a program to its end: None, or the last of what it said where it failed. Where the
        database is, and the password, is in its environment alone."""
        environment = _environment(url) if url is not None else {}
        child = await children.spawn([program, *arguments], more=environment, stderr=PIPE)
        try:
            _, said = await child.communicate()
        finally:
            await children.stop(child)
        if child.returncode == 0:
            return None
        return said.decode(errors="replace").strip()[-1000:] or f"status {child.returncode}"


def _program(given: Path | None, name: str, setting: str) -> str:
    found = str(given) if given is not None else shutil.which(name)
    if found is None or shutil.which(found) is None:
        raise Unsupported(
            f"backups of PostgreSQL need {name}, and there is none",
            hint=f"install postgresql-client, or set {setting}",
        )
    return found


def _environment(url: sa.URL) -> dict[str, str]:
    """https://www.postgresql.org/docs/current/libpq-envars.html"""
    host, ssl = url.query.get("host", url.host), url.query.get("ssl")
    values = {
        "PGHOST": host,
        "PGPORT": url.query.get("port", url.port),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": ssl,
        "LC_ALL": "C",
    }
    return {name: str(value) for name, value in values.items() if value}


async def _schema(connection: AsyncConnection) -> str:
    return str(await connection.scalar(sa.text("SELECT current_schema()")))


async def _exists(connection: AsyncConnection, schema: str) -> bool:
    query = sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    return await connection.scalar(query, {"name": schema}) is not None


async def _move(connection: AsyncConnection, source: str, target: str) -> None:
    query = sa.text("SELECT tablename FROM pg_tables WHERE schemaname = :schema")
    there = set((await connection.scalars(query, {"schema": source})).all())
    for table in _TABLES:
        if table in there:
            move = f'ALTER TABLE "{source}"."{table}" SET SCHEMA "{target}"'
            await connection.execute(sa.text(move))

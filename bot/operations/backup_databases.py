"""The database at a URL, as backups see it."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from bot.operations.backup_database import Database


def database_of(url: str, *, pg_dump: Path | None, pg_restore: Path | None) -> Database:
    """The database that the store opens at ``url``; the programs of PostgreSQL, None for those on
    PATH."""
    parsed = sa.make_url(url)
    if parsed.drivername.startswith("sqlite") and parsed.database:
        from bot.operations.backup_sqlite import SqliteDatabase

        return SqliteDatabase(Path(parsed.database).expanduser().absolute())
    from bot.operations.backup_postgresql import PostgresqlDatabase

    return PostgresqlDatabase(parsed, dump=pg_dump, restore=pg_restore)

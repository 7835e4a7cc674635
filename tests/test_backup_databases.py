"""Snapshots while others write, and PostgreSQL: dumped, verified, put back."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.errors import Corrupt, MltbError, Unavailable, Unsupported
from bot.operations.backup_postgresql import PostgresqlDatabase
from bot.operations.backup_sqlite import SqliteDatabase
from bot.store.repository import open_store
from tests.servers.postgres import PostgresServer
from tests.storing import new_task, receipt


def silent(_step: str, _done: int, _total: int) -> None:
    """Nobody asks."""


# SQLite


async def test_a_snapshot_is_one_moment_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "mltb.db"
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task(n, name="x" * 2000) for n in range(1500)])
    copied, written = asyncio.Event(), 0
    loop = asyncio.get_running_loop()

    def report(_step: str, done: int, _total: int) -> None:
        # Each step of the copy waits for a commit of two tasks, so they really alternate.
        if done:
            asyncio.run_coroutine_threadsafe(write(), loop).result(20)

    async def write() -> None:
        nonlocal written
        await store.add([new_task(10_000 + written), new_task(20_000 + written)])
        written += 1

    revision = await SqliteDatabase(path).snapshot(tmp_path / "copy.db", report)
    copied.set()
    assert written > 2
    await store.close()
    checked = await SqliteDatabase(path).check(tmp_path / "copy.db")
    assert checked.counts["tasks"] == 1500
    assert revision == "0001" or revision.isdigit()


async def test_a_snapshot_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    path = tmp_path / "mltb.db"
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task(n, name="x" * 2000) for n in range(1500)])
    started, loop = asyncio.Event(), asyncio.get_running_loop()

    def report(_step: str, _done: int, _total: int) -> None:
        loop.call_soon_threadsafe(started.set)

    copying = asyncio.ensure_future(SqliteDatabase(path).snapshot(tmp_path / "copy.db", report))
    await started.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await store.add([new_task(5000)])
    await store.close()


async def test_a_damaged_copy_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mltb.db"
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task(n) for n in range(200)])
    await store.close()
    database = SqliteDatabase(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = b"\xff" * 5000
    for number, broken in enumerate((bytes(content), b"no database at all" * 500)):
        copy = tmp_path / f"copy{number}.db"
        copy.write_bytes(broken)
        with pytest.raises(Corrupt):
            await database.check(copy)
    newer = tmp_path / "newer.db"
    newer.write_bytes(path.read_bytes())
    with contextlib.closing(sqlite3.connect(newer)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(Corrupt, match="9999"):
        await database.check(newer)


async def test_there_is_nothing_to_copy(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "none.db")
    assert await database.size() == 0
    with pytest.raises(Unavailable, match=r"none\.db"):
        await database.snapshot(tmp_path / "copy.db", silent)
    assert not (tmp_path / "none.db").exists()


# PostgreSQL


@pytest.fixture
def programs(postgres_server: PostgresServer) -> dict[str, Path]:
    """Those of the version of the server."""
    return {
        "dump": postgres_server.program("pg_dump"),
        "restore": postgres_server.program("pg_restore"),
    }


async def rows(url: str) -> dict[str, int]:
    store = await open_store(url)
    try:
        tasks = sum((await store.count()).values())
        return {"tasks": tasks, "receipts": len(await store.receipts(None, 50))}
    finally:
        await store.close()


async def test_postgresql_goes_back_and_forth(
    tmp_path: Path, postgres_url: str, postgres_server: PostgresServer, programs: dict[str, Path]
) -> None:
    database = PostgresqlDatabase(sa.make_url(postgres_url), **programs)
    store = await open_store(postgres_url)
    await store.add([new_task(1), new_task(2)])
    done = new_task(3, receipt=receipt(3))
    await store.add([done])
    await store.save(done)
    assert await database.size() > 0
    dump = tmp_path / "dump"
    assert (await database.snapshot(dump, silent)).isdigit()
    assert dump.stat().st_mode & 0o777 == 0o600
    checked = await database.check(dump)
    assert (checked.counts["tasks"], checked.counts["receipts"]) == (3, 1)
    assert not checked.unchecked
    assert postgres_server.run("SELECT datname FROM pg_database").count("mltb_verify") == 0

    await store.add([new_task(4)])
    await store.close()
    after = {"tasks": 4, "receipts": 1}
    # A load that fails changes nothing, and what was set aside comes back; twice is no harm.
    await database.set_aside("m1")
    (tmp_path / "broken").write_bytes(dump.read_bytes()[:-2000])
    with pytest.raises(Unavailable):
        await database.load(tmp_path / "broken")
    await database.put_back("m1")
    await database.put_back("m1")
    assert await rows(postgres_url) == after
    # A load that works, and is undone all the same.
    await database.set_aside("m2")
    await database.load(dump)
    assert await rows(postgres_url) == {"tasks": 3, "receipts": 1}
    await database.put_back("m2")
    assert await rows(postgres_url) == after
    # And one that stays.
    for mark in ("m3", "m4"):
        await database.set_aside(mark)
        await database.load(dump)
    await database.prune(1)
    assert await rows(postgres_url) == {"tasks": 3, "receipts": 1}
    await database.put_back("m3")
    assert await rows(postgres_url) == {"tasks": 3, "receipts": 1}
    await database.put_back("m4")
    assert await rows(postgres_url) == {"tasks": 3, "receipts": 1}


async def test_what_postgresql_does_not_let_us_check_is_said(
    tmp_path: Path, postgres_url: str, postgres_server: PostgresServer, programs: dict[str, Path]
) -> None:
    await (await open_store(postgres_url)).close()
    url = sa.make_url(postgres_url)
    role = f"{url.database}_role"
    postgres_server.run(f"CREATE ROLE {role} LOGIN")
    try:
        dump = tmp_path / "dump"
        await PostgresqlDatabase(url, **programs).snapshot(dump, silent)
        poor = PostgresqlDatabase(url.set(username=role, password=None), **programs)
        checked = await poor.check(dump)
        assert checked.passed == ["table of contents of the dump"]
        assert "permission denied to create database" in checked.unchecked[0]
        dump.write_bytes(b"no dump")
        with pytest.raises(Corrupt, match="dump"):
            await poor.check(dump)
    finally:
        postgres_server.run(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"dump": Path("/nowhere/pg_dump")}, Unsupported),
        ({"dump": Path("/bin/false")}, Unavailable),
    ],
)
async def test_a_pg_dump_that_does_not_work_is_told(
    tmp_path: Path, postgres_url: str, changed: dict[str, Any], error: type[MltbError]
) -> None:
    await (await open_store(postgres_url)).close()
    database = PostgresqlDatabase(sa.make_url(postgres_url), **({"restore": None} | changed))
    with pytest.raises(error, match="pg_dump"):
        await database.snapshot(tmp_path / "dump", silent)


async def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    url = sa.make_url("postgresql://someone:secret@127.0.0.1:1/none")
    with pytest.raises(Unavailable) as caught:
        await PostgresqlDatabase(url, dump=None, restore=None).snapshot(tmp_path / "x", silent)
    assert "secret" not in str(caught.value)

"""What each kind of database does by itself: opening, faults, the plan of a query."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.domain.ports import TaskQuery
from bot.domain.task import TaskState
from bot.errors import ConfigError, InternalFailure, MltbError, NoSpace, Unavailable
from bot.store.repository import Store, open_store
from tests.storing import new_task

# URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://root@localhost/x",
        "postgresql+psycopg2://localhost/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/x.db?mode=ro",
        "postgresql://localhost/x?application_name=y",
    ],
)
async def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        await open_store(url)


async def test_a_server_that_does_not_answer_is_named_without_its_password(free_port: int) -> None:
    with pytest.raises(Unavailable) as caught:
        await open_store(f"postgresql://me:hunter2@127.0.0.1:{free_port}/mltb")
    assert f"127.0.0.1:{free_port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_database_that_is_not_there_is_a_wrong_setting(postgres_url: str) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        await open_store(postgres_url.replace("/test_", "/missing_"))


async def test_the_usual_spellings_of_postgresql(postgres_url: str) -> None:
    for scheme in ("postgres", "postgresql"):
        store = await open_store(postgres_url.replace("postgresql+asyncpg", scheme))
        await store.count()
        await store.close()


async def test_connections_that_were_cut_are_made_again(postgres_url: str) -> None:
    import asyncpg

    store = await open_store(postgres_url)
    task = new_task()
    await store.add([task])
    admin = await asyncpg.connect(postgres_url.replace("postgresql+asyncpg", "postgresql"))
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    await admin.close()
    for _ in range(3):
        await store.save(task)
        assert await store.get(task.id) == task
    await store.close()


async def test_what_the_server_says_is_an_error_of_the_project(postgres_url: str) -> None:
    import asyncpg

    store = await open_store(postgres_url)
    task = new_task()
    await store.add([task])
    admin = await asyncpg.connect(postgres_url.replace("postgresql+asyncpg", "postgresql"))
    await admin.execute("ALTER TABLE tasks RENAME TO elsewhere")
    for asked in (store.save(task), store.get(task.id), store.add([new_task(2)])):
        with pytest.raises(MltbError):
            await asked
    await admin.execute("ALTER TABLE elsewhere RENAME TO tasks")
    await admin.close()
    await store.save(task)
    assert await store.get(task.id) == task
    await store.close()


# SQLite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{path}", busy_timeout=0.05)
    yield opened
    await opened.close()


async def test_nobody_else_can_read_a_new_database(store: Store, path: Path) -> None:
    await store.add([new_task()])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = list(path.parent.iterdir())
    assert {file.name for file in files} >= {"store.db", "store.db-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_a_commit_waits_for_the_disk(store: Store, path: Path) -> None:
    # Of the connection that writes: each has its own setting, and only this one is of interest.
    writer = store.database._connection  # type: ignore[attr-defined]
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.parametrize("place", ["file/store.db", ".", "dangling"])
async def test_a_place_that_cannot_be_written_is_a_wrong_setting(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "missing" / "x")
    with pytest.raises(MltbError) as caught:
        await open_store(f"sqlite:///{tmp_path / place}")
    assert caught.value.hint


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_bytes(b"my thesis, the only copy " * 500)
    with pytest.raises(InternalFailure, match="not a database"):
        await open_store(f"sqlite:///{file}")
    assert file.read_bytes() == b"my thesis, the only copy " * 500


async def test_another_program_that_holds_the_lock_is_waited_for_then_reported(
    store: Store, path: Path
) -> None:
    task, other = new_task(1), new_task(2)
    await store.add([task, other])
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        done = await asyncio.gather(store.save(task), store.save(other), return_exceptions=True)
        assert [type(result) for result in done] == [Unavailable, Unavailable]
        # Reading goes on meanwhile.
        assert await store.get(task.id) == task
        with pytest.raises(Unavailable):
            await store.add([new_task(3)])
        with pytest.raises(Unavailable):
            await store.delete([task.id])
        holder.execute("ROLLBACK")
    # The first save after a fault writes every column, whatever was stored when.
    task.state, task.size = TaskState.FAILED, 5
    await store.save(task)
    assert await store.get(task.id) == task
    page = await store.page(TaskQuery(states=(TaskState.FAILED,)))
    assert page.items == [task]


async def test_a_full_disk_fails_those_who_wait_and_nobody_after(store: Store) -> None:
    task, other = new_task(1), new_task(2)
    await store.add([task, other])
    writer = store.database._connection  # type: ignore[attr-defined]
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    # What SQLite says when the file may not grow is what it says when the disk is full.
    writer.execute(f"PRAGMA max_page_count = {pages + 1}")
    task.note = "x" * 1_000_000
    done = await asyncio.gather(store.save(task), store.save(other), return_exceptions=True)
    assert [type(result) for result in done] == [NoSpace, NoSpace]
    assert (task.version, other.version) == (0, 0)
    with pytest.raises(NoSpace):
        await store.add([new_task(number) for number in range(10, 500)])
    writer.execute("PRAGMA max_page_count = 1073741823")
    await store.save(task)
    await store.save(other)
    assert await store.get(task.id) == task
    assert await store.get(new_task(10).id) is None


async def test_a_damaged_file_is_named_with_what_to_do(path: Path) -> None:
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task(number) for number in range(2000)])
    await store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        # The newest half: the tables themselves were made at the beginning.
        file.seek(size // 2)
        file.write(b"\xaa" * (size - size // 2))
    store = await open_store(f"sqlite:///{path}")

    async def read_all() -> None:
        for number in range(2000):
            await store.get(new_task(number).id)

    with pytest.raises(InternalFailure, match=r"damaged.*restore"):
        await read_all()
    with pytest.raises(InternalFailure, match=r"damaged.*restore"):
        await store.add([new_task(number) for number in range(2000, 4000)])
    await store.close()


@pytest.mark.parametrize("sort", ["created", "updated", "size", "name", "priority"])
@pytest.mark.parametrize(
    "query",
    [
        TaskQuery(),
        TaskQuery(states=(TaskState.DONE,), user="ann", engine="http"),
        TaskQuery(since=1.0, until=2.0, states=(TaskState.DONE, TaskState.RUNNING)),
    ],
)
async def test_a_page_walks_the_index_of_its_order_alone(
    store: Store, path: Path, sort: str, query: TaskQuery
) -> None:
    """Neither a sort of all that fits, nor a look at each row: that is what makes pages quick."""
    import msgspec

    plan = await _plan(store, path, msgspec.structs.replace(query, sort=sort))
    assert f"SCAN tasks USING COVERING INDEX tasks_by_{sort}" in plan
    inner = plan[: plan.index("SCAN chosen")]
    assert not any("TEMP B-TREE" in step for step in inner)


async def test_the_unfinished_and_rare_texts_are_found_by_an_index(
    store: Store, path: Path
) -> None:
    await store.add([new_task(1)])
    plan = await _plan(store, path, TaskQuery(states=(TaskState.RUNNING, TaskState.QUEUED)))
    assert "SEARCH tasks USING INDEX tasks_by_state (state=?)" in plan
    for text in ("example", "1."):
        plan = await _plan(store, path, TaskQuery(text=text, sort="size"))
        assert plan[1] == "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"


async def _plan(store: Store, path: Path, query: TaskQuery) -> list[str]:
    from sqlalchemy.dialects.sqlite.pysqlite import dialect

    from bot.store.pages import page_query

    statement = await page_query(query, store.database)
    compiled = statement.compile(
        dialect=dialect(),
        compile_kwargs={"render_postcompile": True},
    )
    values = [compiled.params[name] for name in compiled.positiontup or ()]
    with closing(sqlite3.connect(path)) as database:
        return [row[-1] for row in database.execute(f"EXPLAIN QUERY PLAN {compiled}", values)]


async def test_a_text_that_most_tasks_have_is_found_as_well(store: Store) -> None:
    """Above some thousand matches the index of the order is walked instead."""
    everyone = [new_task(number, name=f"common {number}") for number in range(4500)]
    await store.add(everyone)
    page = await store.page(TaskQuery(text="COMMON", limit=3, descending=False))
    assert page.items == everyone[:3]


_IMPORTS = """
import asyncio, sys
from bot.store.repository import open_store
async def main():
    store = await open_store(sys.argv[1])
    await store.unfinished()
    await store.close()
asyncio.run(main())
assert not [name for name in sys.modules if name.startswith(("alembic", "asyncpg"))]
"""


async def test_a_usual_start_does_without_the_libraries_of_migrations(
    store: Store, path: Path
) -> None:
    subprocess.run([sys.executable, "-c", _IMPORTS, f"sqlite:///{path}"], check=True, timeout=60)


# Crashes

_SAVER = """
import asyncio, os, sys
from bot.store.repository import open_store

async def keep_saving(store, task):
    while True:
        task.note = f"{task.version + 1} " + "x" * 3000
        await store.save(task)
        os.write(1, f"{task.id} {task.version}\\n".encode())

async def main():
    store = await open_store(sys.argv[1])
    await asyncio.gather(*(keep_saving(store, task) for task in await store.unfinished()))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    url = f"sqlite:///{path}"
    store = await open_store(url)
    await store.add([new_task(number) for number in range(5)])
    await store.close()
    chance = random.Random()
    acknowledged: dict[str, int] = {}
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", _SAVER, url], stdout=subprocess.PIPE, bufsize=0
        ) as child:
            assert child.stdout is not None
            told = b""
            # Random in the work that is done, not in time: that holds on a slow machine too.
            goal = chance.randrange(1, 20_000)
            while len(told) < goal:
                part = child.stdout.read(chance.randrange(1, 2000))
                assert part, "the child ended by itself"
                told += part
            child.send_signal(signal.SIGKILL)
            told += child.stdout.read()
        for line in told.decode().splitlines():
            name, version = line.split()
            acknowledged[name] = int(version)
        store = await open_store(url)
        for name, least in acknowledged.items():
            task = await store.get(name)
            assert task is not None
            assert task.version >= least
            assert task.note is not None
            assert task.note.startswith(f"{task.version} x"), "half a save"
        await store.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_row_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await store.add([new_task()])
    with closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        database.execute("UPDATE tasks SET body = '{\"stages\": 5}'")
    with pytest.raises(InternalFailure, match=new_task().id):
        await store.get(new_task().id)
    await store.close()

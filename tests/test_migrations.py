"""Databases of every earlier revision come up to the newest with what they hold."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from bot.domain.access import Account
from bot.domain.alerts import Severity
from bot.domain.plugins import PluginKey, PluginRecord
from bot.domain.ports import TaskQuery
from bot.domain.task import TaskState
from bot.errors import ConfigError, NoSpace
from bot.store.access import Access
from bot.store.alerts import AlertStore
from bot.store.migrate import History
from bot.store.plugins import Plugins
from bot.store.repository import open_store
from bot.store.schema import REVISIONS, metadata
from bot.store.series import Block, SeriesStore
from tests.storing import new_task

#: For each revision, what a program of that time left in its tables: a task that is done with its
#: receipt, one that waits, and a token. Never changed afterwards. A new revision adds its own.
DATA: dict[str, tuple[str, ...]] = {
    "0001": (
        """
        INSERT INTO tasks (id, "user", state, engine, name, source, destination, size, priority,
            created_at, updated_at, start_at, finished_at, key, position, version, name_key,
            search, body)
        VALUES ('done1', 'ann', 'done', 'http', 'Film.mkv', 'https://example.org/Film.mkv',
            '/srv', 5, 1, 100.5, 101.5, NULL, 102.5, 'k', 0, 7, 'film.mkv',
            'film.mkv\nhttps://example.org/film.mkv\n\n',
            '{"stages":[{"kind":"fetch","name":"http","state":"done","token":{"etag":"x"}}]}')
        """,
        """
        INSERT INTO tasks (id, "user", state, engine, name, source, destination, size, priority,
            created_at, updated_at, start_at, finished_at, key, position, version, name_key,
            search, body)
        VALUES ('wait1', 'bob', 'queued', NULL, NULL, 'magnet:?xt=1', '/srv', -1, 0, 200.5,
            200.5, 300.5, NULL, NULL, NULL, 0, '', '\nmagnet:?xt=1\n\n', '{"force":true}')
        """,
        """
        INSERT INTO receipts (task, "user", source, source_key, destination, path, size, sha256,
            finished_at, body)
        VALUES ('done1', 'ann', 'https://example.org/Film.mkv',
            '75d91101667dbe32cbccc2acaf3cdceb', '/srv', '/srv/Film.mkv', 5, 'abc', 102.5,
            '{"files":[],"method":"read-back","steps":["fetch"],"created_at":100.5}')
        """,
        """
        INSERT INTO tokens (id, name, scope, "user", created_at, expires_at, last_used_at, digest)
        VALUES ('t1', 'laptop', 'admin', 'ann', 50.5, NULL, NULL, '\\x0102')
        """,
    ),
}
#: Alerts came with this one: one that fires, one silence, and one notification that is yet to go.
DATA["0002"] = (
    *DATA["0001"],
    """
    INSERT INTO alerts (id, rule, severity, state, started_at, resolved_at, body)
    VALUES ('a1', 'disk_low', 'high', 'firing', 100.5, NULL,
        '{"id":"a1","rule":"disk_low","severity":"high","title":"Low","message":"m","labels":{},
        "started_at":100.5,"last_at":101.5,"state":"firing","announced":true}')
    """,
    """
    INSERT INTO alert_silences (id, until, body)
    VALUES ('s1', 900.5, '{"id":"s1","until":900.5,"reason":"r","by":"ann","created_at":1.5}')
    """,
    """
    INSERT INTO alert_notifications (notification, channel, state, created_at, finished_at,
        attempts, tried_for, error, body)
    VALUES ('n1', 'ops', 'pending', 100.5, NULL, 2, 7.5, 'down',
        '{"id":"n1","kind":"raised","severity":"high","title":"t","body":"b","rules":["disk_low"],
        "at":100.5,"alerts":["a1"]}')
    """,
)
#: The history of metrics came with this one: a block of buckets.
DATA["0003"] = (
    *DATA["0002"],
    "INSERT INTO series_blocks (step, start, settled, body) VALUES (60, 3600, TRUE, '\\x0102')",
)
#: A check that was limited, what it found, and a start that never ended.
DATA["0004"] = (
    *DATA["0003"],
    """
    INSERT INTO checks (id, "user", owner, scope, target, state, started_at, finished_at, seconds,
        files, bytes, wrong, findings, body)
    VALUES ('c1', 'ann', NULL, 'all', NULL, 'partial', 300.5, 301.5, 1.0, 2, 5, 1, 1,
        '{"order":{"scope":"all","limit":1},"receipts":1,"cursor":"[102.5,\\"done1\\"]"}')
    """,
    """
    INSERT INTO findings (check_id, number, condition, task, path, expected, found)
    VALUES ('c1', 1, 'missing', 'done1', '/srv/Film.mkv', '5', NULL)
    """,
    """
    INSERT INTO starts (id, started_at, ended_at, body)
    VALUES ('s1', 400.5, NULL, '{"id":"s1","started_at":400.5,"version":"0.1.0",
        "recovery":{"resumed":[{"task":"t","user":"ann","stage":"fetch","kept":7}]}}')
    """,
)
#: Plugins: the operator's word about one, and a value that it keeps.
DATA["0005"] = (
    *DATA["0004"],
    """INSERT INTO plugins (id, body) VALUES ('p1', '{"id":"p1","enabled":false}')""",
    "INSERT INTO plugin_values (plugin, key, value) VALUES ('p1', 'k', '\\x0102')",
)
#: The keys of those who make plugins.
DATA["0006"] = (
    *DATA["0005"],
    """INSERT INTO plugin_keys (key, body) VALUES ('k1',
        '{"key":"k1","name":"n","revoked":true,"at":5.5}')""",
)
#: Access: somebody with a password, logged in, and what they did.
DATA["0007"] = (
    *DATA["0006"],
    """INSERT INTO accounts (name, role, password, created_at, changed_at)
        VALUES ('ann', 'operator', 'hash', 5.5, 6.5)""",
    """INSERT INTO sessions (id, digest, "user", scope, token, created_at, seen_at, expires_at)
        VALUES ('s1', '\\x0102', 'ann', 'view', NULL, 5.5, 6.5, 900.5)""",
    """INSERT INTO audit (seq, at, "user", via, action, target, address, outcome, request, details)
        VALUES (1, 5.5, 'ann', 'session', 'POST /x', NULL, NULL, 201, 'r', '{"a":1}')""",
)


def until(revision: str) -> History:
    """What a program of that revision knew."""
    return History(REVISIONS[: REVISIONS.index(revision) + 1])


async def fill(url: str, statements: Sequence[str]) -> None:
    """Execute them without any of our code."""
    engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    async with engine.begin() as connection:
        for statement in statements:
            is_sqlite = engine.dialect.name == "sqlite"
            await connection.exec_driver_sql(
                statement.replace("'\\x0102'", "X'0102'") if is_sqlite else statement
            )
    await engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_data_of_each_revision_is_read_after_the_migration(
    store_url: str, revision: str
) -> None:
    store = await open_store(store_url, history=until(revision))
    await store.close()
    await fill(store_url, DATA[revision])
    store = await open_store(store_url)
    done, waiting = await store.get("done1"), await store.get("wait1")
    assert done is not None
    assert done.stages[0].token == {"etag": "x"}
    assert (done.state, done.size, done.version, done.key) == (TaskState.DONE, 5, 7, "k")
    assert done.receipt is not None
    assert (done.receipt.method, done.receipt.path) == ("read-back", "/srv/Film.mkv")
    assert waiting is not None
    assert (waiting.size, waiting.force, waiting.start_at) == (None, True, 300.5)
    assert await store.unfinished() == [waiting]
    assert (await store.page(TaskQuery(text="FILM"))).items == [done]
    assert (await store.page(TaskQuery(sort="name"))).items == [done, waiting]
    assert await store.usage("ann", 0) == 5
    assert await store.receipts(done.source, 5) == [done.receipt]
    token = await store.find_token(b"\x01\x02")
    assert token is not None
    assert token.name == "laptop"
    waiting.note = "goes on"
    await store.save(waiting)
    await store.add([new_task(1)])
    if revision >= "0002":
        await alerts_are_read(AlertStore(store.database))
    if revision >= "0003":
        block = await SeriesStore(store.database).get(60, 3600)
        assert block == Block(60, 3600, True, b"\x01\x02")
    if revision >= "0005":
        assert await Plugins(store.database).records() == [PluginRecord("p1", enabled=False)]
    if revision >= "0006":
        keys = await Plugins(store.database).publisher_keys()
        assert keys == [PluginKey("k1", "n", revoked=True, at=5.5)]
    if revision >= "0007":
        access = Access(store.database)
        assert await access.find_account("ann") == (Account("ann", "operator", 5.5, 6.5), "hash")
        deeds = await access.find_deeds(user="ann", action=None, since=0, before=None, limit=9)
        assert [(deed.seq, deed.outcome, deed.details) for deed in deeds] == [(1, 201, {"a": 1})]
    await store.close()


async def alerts_are_read(alerts: AlertStore) -> None:
    """What revision 0002 left."""
    (alert,) = await alerts.live()
    assert (alert.id, alert.severity, alert.announced) == ("a1", Severity.HIGH, True)
    assert [silence.id for silence in await alerts.silences()] == ["s1"]
    (delivery,) = await alerts.pending("ops", 5)
    assert (delivery.attempts, delivery.notification.alerts) == (2, ("a1",))


def test_each_revision_has_data_here_and_a_script() -> None:
    scripts = ScriptDirectory(str(History().scripts))
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS
    assert tuple(DATA) == REVISIONS
    for script in scripts.walk_revisions():
        assert not hasattr(script.module, "downgrade"), "there is no way down, and none is promised"


async def test_the_migrated_tables_are_those_that_the_program_expects(store_url: str) -> None:
    store = await open_store(store_url)
    await store.close()

    def compare(connection: sa.Connection) -> list[object]:
        def ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
            # The text index: SQLite has tables behind it, PostgreSQL an index by expression.
            return not (name or "").startswith("tasks_text")

        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": ours}
        )
        return list(compare_metadata(context, metadata))

    engine = create_async_engine(store_url.replace("sqlite:", "sqlite+aiosqlite:"))
    async with engine.connect() as connection:
        assert await connection.run_sync(compare) == []
    await engine.dispose()


# A revision that is yet to come


@pytest.fixture
def next_scripts(tmp_path: Path) -> Path:
    """The scripts of a program to come, which adds a column."""
    scripts = tmp_path / "scripts"
    shutil.copytree(History().scripts, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    add_script(
        scripts, "op.add_column('tasks', sa.Column('color', sa.Text(), server_default='red'))"
    )
    return scripts


def add_script(scripts: Path, *lines: str) -> None:
    body = "\n    ".join(lines)
    (scripts / "versions" / "r9999_next.py").write_text(
        f'"""A column."""\nimport sqlalchemy as sa\nfrom alembic import op\nrevision = "9999"\n'
        f'down_revision = "{REVISIONS[-1]}"\n\n\ndef upgrade() -> None:\n    {body}\n'
    )


def to_come(scripts: Path) -> History:
    return History((*REVISIONS, "9999"), scripts)


async def test_a_database_that_is_newer_is_left_alone(store_url: str, next_scripts: Path) -> None:
    store = await open_store(store_url, history=to_come(next_scripts))
    await store.add([new_task()])
    await store.close()
    with pytest.raises(ConfigError, match=r"9999.*newer"):
        await open_store(store_url)
    store = await open_store(store_url, history=to_come(next_scripts))
    assert await store.get(new_task().id) == new_task()
    await store.close()


async def test_data_is_kept_over_a_migration_and_beside_it(
    tmp_path: Path, next_scripts: Path
) -> None:
    path = tmp_path / "store.db"
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task(number) for number in range(100)])
    # No close: what is only in the log of SQLite must be in the copy as well.
    migrated = await open_store(f"sqlite:///{path}", history=to_come(next_scripts))
    await store.close()
    assert len(await migrated.unfinished()) == 100
    await migrated.close()
    copy = tmp_path / "store.db.before-9999"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part*"))
    # The program of before starts on the copy, as its refusal says.
    shutil.copy(copy, tmp_path / "restored.db")
    store = await open_store(f"sqlite:///{tmp_path / 'restored.db'}")
    assert len(await store.unfinished()) == 100
    await store.close()


async def test_a_copy_that_is_there_is_never_overwritten(
    tmp_path: Path, next_scripts: Path
) -> None:
    path = tmp_path / "store.db"
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task()])
    await store.close()
    (tmp_path / "store.db.before-9999").write_text("precious")
    store = await open_store(f"sqlite:///{path}", history=to_come(next_scripts))
    await store.close()
    assert (tmp_path / "store.db.before-9999").read_text() == "precious"
    assert (tmp_path / "store.db.before-9999.2").stat().st_size > 4096


async def test_an_empty_database_needs_no_copy(tmp_path: Path, next_scripts: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    await (await open_store(url)).close()
    await (await open_store(url, history=to_come(next_scripts))).close()
    assert not list(tmp_path.glob("*before*"))


async def test_without_room_for_the_copy_nothing_is_migrated(
    tmp_path: Path, next_scripts: Path
) -> None:
    path = tmp_path / "store.db"
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task()])
    await store.close()
    # A directory in its place: it can't be written, as on a full disk.
    (tmp_path / "store.db.before-9999.part").mkdir()
    with pytest.raises(NoSpace, match="no copy"):
        await open_store(f"sqlite:///{path}", history=to_come(next_scripts))
    store = await open_store(f"sqlite:///{path}")
    assert await store.get(new_task().id) == new_task()
    await store.close()


async def test_a_migration_that_fails_leaves_all_as_it_was(
    store_url: str, next_scripts: Path
) -> None:
    add_script(
        next_scripts,
        "op.add_column('tasks', sa.Column('color', sa.Text()))",
        "op.execute('DELETE FROM tasks')",
        "op.execute('INSERT INTO nowhere VALUES (1)')",
    )
    store = await open_store(store_url)
    await store.add([new_task()])
    await store.close()
    with pytest.raises(ConfigError, match=r"nowhere.*as it was before"):
        await open_store(store_url, history=to_come(next_scripts))
    store = await open_store(store_url)
    assert await store.get(new_task().id) == new_task()
    await store.save(new_task())
    await store.close()


async def test_a_database_of_another_program_is_left_alone(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        Path(store_url.removeprefix("sqlite:///")).parent.mkdir()
    await fill(store_url, ["CREATE TABLE tasks (mine TEXT)", "INSERT INTO tasks VALUES ('x')"])
    with pytest.raises(ConfigError, match="another program"):
        await open_store(store_url)
    engine = create_async_engine(store_url.replace("sqlite:", "sqlite+aiosqlite:"))
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT * FROM tasks")).all() == [("x",)]
    await engine.dispose()


_OPENER = """
import asyncio, sys
from pathlib import Path
from bot.store.alerts import AlertStore
from bot.store.migrate import History
from bot.store.repository import open_store
from bot.store.schema import REVISIONS

async def main():
    history = History((*REVISIONS, "9999"), Path(sys.argv[2]))
    store = await open_store(sys.argv[1], history=history)
    await store.count()
    await store.close()

print("ready", flush=True)
sys.stdin.read(1)
asyncio.run(main())
"""


@pytest.mark.parametrize("present", [False, True])
async def test_processes_that_start_at_once_migrate_once(
    store_url: str, next_scripts: Path, present: bool
) -> None:
    if present:
        store = await open_store(store_url)
        await store.add([new_task()])
        await store.close()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENER, store_url, str(next_scripts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"x")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors.decode()
    store = await open_store(store_url, history=to_come(next_scripts))
    assert len(await store.unfinished()) == present
    await store.close()
    if store_url.startswith("sqlite"):
        path = Path(store_url.removeprefix("sqlite:///"))
        assert len(list(path.parent.glob("*before*"))) == present
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [
                ("9999",)
            ]

"""Restores: with and without a service, after a loss, after SIGKILL at every step."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bot.app import opened_store, running
from bot.app.operations_backups import build_restorer, offline_backups
from bot.app.parts import SystemClock
from bot.config import Settings, load
from bot.lock import Doorplate
from bot.operations.backup_restore import Outcome
from bot.services import OWNER
from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Resource
from tests.serving import Service
from tests.storing import new_task


def test_everything_is_there_again_after_the_data_directory_was_deleted(
    tmp_path: Path, http_server: HttpServer
) -> None:
    url = http_server.add("/a.bin", Resource(Generated(1000)))
    with Service(tmp_path, BACKUP_DIR=str(tmp_path / "backups")) as service:
        task = service.fetch(url)
        assert task["state"] == "done"
        before = service.task(task)
        token = Doorplate(service.data).token
        name = service.client.post("/backups/create", {})["name"]
        service.terminate()
        shutil.rmtree(service.data)
        listed = service.run("backup", "list", "--json")
        assert [item["name"] for item in listed.lines] == [name]
        ran = service.run("backup", "restore", name, "--yes", "--json")
        assert ran.status == 0, ran
        assert ran.lines[0]["state"] == "restored"
        service.start()
        assert service.task(task) == before
        assert Doorplate(service.data).token == token
        assert len(service.client.get("/receipts")["items"]) == 1
        assert service.fetch(url, again=True)["state"] == "done"


def test_a_running_service_takes_a_backup_in_place(tmp_path: Path, http_server: HttpServer) -> None:
    url = http_server.add("/a.bin", Resource(Generated(1000)))
    with Service(tmp_path) as service:
        name = service.client.post("/backups/create", {})["name"]
        task = service.fetch(url)
        where = service.url
        pid = service.process_now.pid
        ran = service.run("backup", "restore", name, "--yes", "--json")
        assert ran.status == 0, ran
        outcome = ran.lines[0]
        assert outcome["state"] == "restored"
        service.reconnect()
        assert service.process_now.pid == pid
        assert service.running
        assert service.url == where
        assert service.client.get("/tasks")["items"] == []
        kept = Path(outcome["kept"])
        assert (kept / "mltb.db").is_file()
        assert service.fetch(url)["state"] == "done"
        assert task["id"] not in {each["id"] for each in service.client.get("/tasks")["items"]}


# Without a service: what a kill, or a state that does not come up, leaves


def settings_in(directory: Path) -> Settings:
    """A data directory with one task, and a token file."""
    environ = {"DATA_DIR": str(directory / "data"), "DOWNLOAD_DIR": str(directory / "files")}
    return load(environ, directory).settings


async def changed(settings: Settings) -> str:
    """A backup of a state with one task; after that there are two, and another token file."""
    async with opened_store(settings) as store:
        await store.add([new_task(1)])
    (settings.data_dir / "token").write_text("old")
    async with offline_backups(settings, SystemClock()) as maker:
        name: str = (await maker.create().result()).name
    async with opened_store(settings) as store:
        await store.add([new_task(2)])
    (settings.data_dir / "token").write_text("new")
    return name


async def state(settings: Settings) -> tuple[int, str]:
    """Start everything, which settles a restore; how many tasks there are, and the token file."""
    async with running(settings, restore=False) as app:
        tasks = sum((await app.services.tasks.count(OWNER)).values())
    assert not (settings.data_dir / "restore.json").exists()
    assert not (settings.data_dir / "backup-work").exists()
    return tasks, (settings.data_dir / "token").read_text()


async def swapped(settings: Settings, name: str) -> None:
    """Put the backup in place, and end before a service proves it."""
    async with offline_backups(settings, SystemClock()) as maker:
        _, job = maker.restore(name, None, config=False)
        await maker.restorer.swap(await job.result())


def outcome(settings: Settings) -> Outcome:
    found = build_restorer(settings, SystemClock()).outcome
    assert found is not None
    return found


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from bot.app.operations_backups import offline_backups
from bot.app.parts import SystemClock
from bot.config import load

async def main(name, last):
    def step(what):
        if what == last:
            os.kill(os.getpid(), signal.SIGKILL)
    settings = load(directory=Path(sys.argv[3])).settings
    async with offline_backups(settings, SystemClock()) as maker:
        _, job = maker.restore(name, None, config=False)
        await maker.restorer.swap(await job.result(), step)

asyncio.run(main(*sys.argv[1:3]))
"""


@pytest.mark.parametrize(
    ("step", "after"),
    [
        ("journal", (2, "new")),
        ("aside 0", (2, "new")),
        ("placed 0", (2, "new")),
        ("aside 1", (2, "new")),
        ("database loaded", (2, "new")),
        ("in place", (1, "old")),
    ],
)
async def test_a_kill_leaves_the_old_state_or_the_new(
    tmp_path: Path, step: str, after: tuple[int, str]
) -> None:
    settings = settings_in(tmp_path)
    name = await changed(settings)
    environ = os.environ | {
        "DATA_DIR": str(settings.data_dir),
        "DOWNLOAD_DIR": str(settings.download_dir),
    }
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _KILLED, name, step, str(tmp_path)],
        env=environ,
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert await state(settings) == after
    wanted = "restored" if step == "in place" else "rolled_back"
    assert outcome(settings).state == wanted
    assert await state(settings) == after


async def test_a_state_that_does_not_come_up_goes_back(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    await swapped(settings, await changed(settings))
    (settings.data_dir / "mltb.db").write_bytes(b"broken" * 1000)
    assert await state(settings) == (2, "new")
    assert outcome(settings).state == "rolled_back"
    assert "did not start" in outcome(settings).message
    assert not list(settings.data_dir.glob("before-restore-*"))


async def test_a_state_whose_starts_end_without_a_word_goes_back(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    await swapped(settings, await changed(settings))
    restorer = build_restorer(settings, SystemClock())
    for _ in range(3):
        assert await restorer.settle() is not None
    assert await restorer.settle() is None
    assert await state(settings) == (2, "new")
    assert "in 3 starts" in outcome(settings).message


async def test_the_newest_replaced_states_are_kept(tmp_path: Path) -> None:
    environ = {
        "DATA_DIR": str(tmp_path / "data"),
        "DOWNLOAD_DIR": str(tmp_path / "files"),
        "BACKUP_KEEP_REPLACED": "1",
    }
    settings = load(environ, tmp_path).settings
    name = await changed(settings)
    for _ in range(2):
        await swapped(settings, name)
        assert await state(settings) == (1, "old")
    (kept,) = settings.data_dir.glob("before-restore-*")
    assert str(kept) == outcome(settings).kept
    assert sorted(path.name for path in kept.iterdir()) == ["mltb.db", "token"]


async def test_the_configuration_comes_back_only_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MAX_ACTIVE=3\n")
    settings = settings_in(tmp_path)
    name = await changed(settings)
    (tmp_path / ".env").write_text("MAX_ACTIVE=4\n")
    await swapped(settings, name)
    await state(settings)
    assert (tmp_path / ".env").read_text() == "MAX_ACTIVE=4\n"
    async with offline_backups(settings, SystemClock()) as maker:
        _, job = maker.restore(name, None, config=True)
        await maker.restorer.swap(await job.result())
    assert (tmp_path / ".env").read_text() == "MAX_ACTIVE=3\n"
    await state(settings)
    (kept,) = tmp_path.glob(".env.before-restore-*")
    assert kept.read_text() == "MAX_ACTIVE=4\n"

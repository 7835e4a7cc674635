"""Backups with the real service: made, listed, verified, handed out, removed."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.cli.client import ServiceError
from bot.lock import Doorplate
from bot.operations.backup_names import is_name
from tests.servers.http import HttpServer
from tests.servers.rclone import Serve
from tests.servers.routes import Generated, Resource
from tests.serving import Service, eventually, sha256


def test_a_backup_of_a_running_service(tmp_path: Path) -> None:
    with HttpServer() as server, Service(tmp_path) as service:
        url = server.add("/a.bin", Resource(Generated(1000)))
        assert service.fetch(url)["state"] == "done"
        client = service.client
        made = client.post("/backups/create", {})
        assert made["status"] == "ok"
        assert made["state"] == "good"
        assert is_name(made["name"])
        assert made["verification"]["counts"] == {
            "tasks": 1,
            "unfinished": 0,
            "receipts": 1,
            "tokens": 1,
        }
        path = service.data / "backups" / made["name"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert sha256(path) == made["sha256"]
        assert client.get("/backups/list")["items"] == [
            {key: value for key, value in made.items() if key != "status"}
        ]
        assert client.get(f"/backups/{made['name']}") == made
        stats = client.get("/backups/stats")
        assert (stats["count"], stats["good"], stats["size"]) == (1, 1, made["size"])
        request = urllib.request.Request(
            f"{service.url}/api/v3/backups/{made['name']}/download",
            headers={"Authorization": f"Bearer {Doorplate(service.data).token}"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == path.read_bytes()
        with pytest.raises(ServiceError, match="only good backup"):
            client.delete(f"/backups/{made['name']}")
        second = client.post("/backups/create", {})
        client.delete(f"/backups/{made['name']}")
        assert [item["name"] for item in client.get("/backups/list")["items"]] == [second["name"]]
        assert not path.exists()
        assert list((service.data / "backup-work").iterdir()) == []
        ran = service.run("backup", "create", "--json")
        assert ran.lines[0]["state"] == "good", ran
    listed = service.run("backup", "list", "--json").lines
    assert {item["name"] for item in listed} == {second["name"], ran.lines[0]["name"]}
    assert service.run("backup", "verify", second["name"]).status == 0


def _refused(call: Callable[[], object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value


def _noise(service: Service, size: int) -> None:
    """A part of the state that no compression makes small: what a torrent goes on from."""
    torrents = service.data / "torrents"
    torrents.mkdir(parents=True, exist_ok=True)
    (torrents / "noise.resume").write_bytes(os.urandom(size))


def test_a_backup_at_a_remote_comes_back_after_everything_here_is_lost(
    tmp_path: Path, http_server: HttpServer
) -> None:
    config, root = tmp_path / "rclone.conf", tmp_path / "s3"
    (root / "bucket").mkdir(parents=True)
    url = http_server.add("/a.bin", Resource(Generated(1000)))
    with Serve("s3", root) as served:
        served.write_config(config, "store")
        service = Service(
            tmp_path / "s", RCLONE_CONFIG=str(config), BACKUP_DESTINATIONS="store:bucket/mltb"
        )
        with service:
            task = service.fetch(url)
            made = service.client.post("/backups/create", {})
            copy = root / "bucket" / "mltb" / made["name"]
            assert sha256(copy) == made["sha256"]
            service.terminate()
            shutil.rmtree(service.data)
            listed = service.run("backup", "list", "--remotes", "--json").lines
            assert [item["name"] for item in listed] == [made["name"]]
            ran = service.run("backup", "restore", made["name"], "--yes", "--json")
            assert ran.status == 0, ran
            service.start()
            assert service.task(task)["state"] == "done"


def test_a_backup_with_a_passphrase_says_nothing_without_it(tmp_path: Path) -> None:
    service = Service(tmp_path, BACKUP_PASSPHRASE="correct horse battery")
    with service:
        made = service.client.post("/backups/create", {})
        assert made["name"].endswith(".age")
        content = (service.data / "backups" / made["name"]).read_bytes()
        assert b"age-encryption.org/v1" in content[:200]
        assert b"manifest" not in content
        token = Doorplate(service.data).token
        service.terminate()
    wrong = service.run("backup", "verify", made["name"], BACKUP_PASSPHRASE="another one")
    assert wrong.status != 0
    assert "Traceback" not in wrong.err
    (service.data / "token").unlink()
    right = service.run("backup", "restore", made["name"], "--yes")
    assert right.status == 0, right
    assert Doorplate(service.data).token == token


def test_a_disk_that_fills_up_leaves_no_half_backup(tmp_path: Path) -> None:
    service = Service(tmp_path, file_size=3 << 20)
    _noise(service, 2 << 20)
    (service.data / "torrents" / "more.resume").write_bytes(os.urandom(2 << 20))
    with service:
        error = _refused(lambda: service.client.post("/backups/create", {}))
        assert error.name == "no_space"
        assert service.client.get("/backups/list")["items"] == []
        assert list((service.data / "backup-work").iterdir()) == []
        assert list((service.data / "backups").iterdir()) == []
        (service.data / "torrents" / "more.resume").unlink()
        assert service.client.post("/backups/create", {})["state"] == "good"


def _names(directory: Path) -> list[str]:
    """What lies in a directory, which may not be there."""
    return [name for _, names, files in os.walk(directory) for name in (*names, *files)]


@pytest.mark.parametrize("moment", ["gathering", "packing"])
def test_a_kill_in_the_middle_of_a_backup_leaves_the_state_alone(
    tmp_path: Path, http_server: HttpServer, moment: str
) -> None:
    url = http_server.add("/a.bin", Resource(Generated(1000)))
    service = Service(tmp_path)
    _noise(service, 48 << 20)
    with service:
        task = service.fetch(url)
        asking = threading.Thread(target=lambda: service.run("backup", "create"))
        asking.start()
        work = service.data / "backup-work"
        watched = work if moment == "gathering" else service.data / "backups"
        eventually(lambda: bool(_names(watched)) or not asking.is_alive(), lambda: service.log)
        service.kill()
        asking.join()
        (service.data / "torrents" / "noise.resume").unlink()
        service.start()
        assert service.task(task)["state"] == "done"
        assert not work.exists()
        for item in service.client.get("/backups/list")["items"]:
            assert service.client.post(f"/backups/{item['name']}/verify", {})["state"] == "good"
        assert service.client.post("/backups/create", {})["state"] == "good"

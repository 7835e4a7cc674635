"""Backups with the real service: made, listed, verified, handed out, removed."""

from __future__ import annotations

import stat
import urllib.request
from pathlib import Path

import pytest

from bot.cli.client import ServiceError
from bot.lock import Doorplate
from bot.operations.backup_names import is_name
from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Resource
from tests.serving import Service, sha256


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

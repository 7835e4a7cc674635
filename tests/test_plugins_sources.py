"""Source plugins: a link that stands for others, asked about before any engine sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.cli.client import ServiceError
from tests import plugging
from tests.servers.http import HttpServer
from tests.servers.routes import Literal, Resource
from tests.serving import Service, visible

_LISTING = """
from bot.core.plugin_manager import SourcePlugin

class Listing(SourcePlugin):
    async def execute(self, link):
        print("asked", link)
        page = await self.http.get(link)
        if page.status != 200:
            return None
        return [{"url": link + name, "name": "the " + name} for name in page.text.split()]

    async def on_task_completed(self, done):
        try:
            await self.http.get(done.task.source)
        except Exception as error:
            print("later:", error)
"""

_HOSTILE = """
from bot.core.plugin_manager import SourcePlugin

class Hostile(SourcePlugin):
    async def execute(self, link):
        how = link.rpartition("/")[2]
        if how == "raise":
            raise ValueError("a plugin's own fault")
        if how == "other":
            return [(await self.http.get("http://127.0.0.1:1/")).text]
        return {
            "file": ["file:///etc/passwd"],
            "path": ["/etc/passwd"],
            "remote": ["remote:secret"],
            "many": ["http://127.0.0.1:1/x"] * 1001,
            "shape": [{"url": "http://127.0.0.1:1/x", "mode": 1}],
            "line": ["http://127.0.0.1:1/x\\n"],
            "text": "http://127.0.0.1:1/x",
        }[how]
"""


def test_a_listing_becomes_its_files(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path)
    root = http_server.add("/pub/", Resource(Literal(b"a.bin b.bin")))
    other = http_server.add("/other/", Resource(Literal(b"page")))
    for name in ("a.bin", "b.bin"):
        http_server.add(f"/pub/{name}", Resource(Literal(name.encode())))
    manifest = f'type = "source"\nrights.link = true\nsource.match = ["{root}*"]\n'
    plugging.folder(service, "listing", _LISTING, manifest)
    with service:
        assert "asks for link" in plugging.until(service, "listing", "refused")["reason"]
        plugging.grant(service, "listing")
        first = service.client.post("/tasks", {"source": root}, key="one")
        again = service.client.post("/tasks", {"source": root}, key="one")
        assert first["id"] == again["id"]
        tasks = service.client.get("/tasks")["items"]
        assert len(tasks) == 2
        for task in tasks:
            assert service.until(task)["state"] == "done"
        assert visible(service.files) == ["the a.bin", "the b.bin"]
        assert "1 of 2 links" in first["note"]
        assert service.client.post("/plan", {"source": root})["name"] == "the a.bin"
        # What is not matched is not asked about, nor are the links that came out.
        assert service.fetch(other, options={"name": "page"})["state"] == "done"
        asked = [line for line in plugging.lines(service, "listing") if line.startswith("asked")]
        assert set(asked) == {f"asked {root}"}
        plugging.until_said(service, "listing", "later: plugin listing may not reach")


def test_a_hostile_source_gives_nothing(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path, RETRY_ATTEMPTS="1")
    root = http_server.url("/h/")
    manifest = f'type = "source"\nrights.link = true\nsource.match = ["{root}*", "magnet:*"]\n'
    plugging.folder(service, "hostile", _HOSTILE, manifest)
    ways = ["file", "path", "remote", "many", "shape", "line", "text", "raise", "other"]
    for way in ways:
        http_server.add(f"/h/{way}", Resource(Literal(way.encode())))
    with service:
        plugging.grant(service, "hostile")
        tasks = [service.mirror(root + way) for way in ways]
        for way, task in zip(ways, tasks, strict=True):
            # It goes to the engines as it is.
            assert task["source"] == root + way
            assert service.until(task)["state"] == "done"
        assert visible(service.files) == sorted(ways)
        assert len(service.client.get("/tasks")["items"]) == len(ways)
        service.terminate()
    for line in ("no link that a plugin may give", "a wrong answer", "own fault", "may not reach"):
        assert line in service.log


def test_a_plugin_without_the_right_reaches_nothing(
    tmp_path: Path, http_server: HttpServer
) -> None:
    service = Service(tmp_path)
    root = http_server.add("/pub/", Resource(Literal(b"a.bin")))
    plugging.folder(service, "listing", _LISTING, f'type = "source"\nsource.match = ["{root}*"]\n')
    with service:
        plugging.until(service, "listing")
        assert service.fetch(root, options={"name": "page"})["state"] == "done"
        assert visible(service.files) == ["page"]
        assert service.client.get("/tasks")["items"][0]["source"] == root
        with pytest.raises(ServiceError, match="no host"):
            plugging.run(service, "listing", link=root)

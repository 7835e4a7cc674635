"""Task plugins: steps that a submission names, done by a plugin in a real service."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bot.cli.client import ServiceError
from tests import plugging
from tests.servers.behaviours import Gate, Gated
from tests.servers.http import HttpServer
from tests.servers.routes import Literal, Resource
from tests.serving import Service, eventually, sha256, visible

_TIDY = """
import hashlib, os
from bot.core.plugin_manager import TaskPlugin

class Tidy(TaskPlugin):
    async def execute(self, files, params):
        lines = []
        for file in files:
            with await file.open() as reader:
                lines.append(hashlib.sha256(reader.read()).hexdigest() + " " + file.path)
                try:
                    os.write(reader.fileno(), b"spoilt")
                    return "it could be written to"
                except OSError:
                    pass
            await files.report(file.size, file.size)
        with await files.create("sums/list.txt") as out:
            out.write("\\n".join(lines).encode())
        self._kept = os.dup(out.fileno()) if not out.closed else None
        return [{"index": 0, "path": params["to"]}]
"""


def test_a_plugin_is_a_step(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path)
    plugging.write(service, "tidy", _TIDY)
    film = b"film" * 1000
    url = http_server.add("/film.bin", Resource(Literal(film)))
    with service:
        plugging.until(service, "tidy")
        steps = [{"name": "tidy", "params": {"to": "Films/Film (2001).bin"}}]
        assert "tidy" in service.client.post("/plan", {"source": url, "steps": steps})["stages"]
        done = service.fetch(url, steps=steps, options={"name": "set"})
        assert done["state"] == "done"
        assert visible(service.files) == ["set/Films/Film (2001).bin", "set/sums/list.txt"]
        assert sha256(service.files / "set/Films/Film (2001).bin") == _hex(film)
        told = (service.files / "set/sums/list.txt").read_text()
        assert told == f"{_hex(film)} set"
        with pytest.raises(ServiceError, match="there is no step 'untidy'"):
            service.mirror(url, steps=[{"name": "untidy"}])
        service.expect_clean()


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_HOSTILE = """
import asyncio, os
from bot.core.plugin_manager import TaskPlugin

class Hostile(TaskPlugin):
    async def execute(self, files, params):
        if "path" in params:
            return [{"index": 0, "path": params["path"]}]
        if "answer" in params:
            return params["answer"]
        if "create" in params:
            (await files.create(params["create"])).close()
            (await files.create(params["create"])).close()
        if "index" in params:
            files[0].index = params["index"]
            await files[0].open()
        if "other" in params:
            files[0]._job = "0" * 16
            await files[0].open()
        if "many" in params:
            for number in range(params["many"]):
                (await files.create(f"{number}")).close()
        if "later" in params:
            out = await files.create("new.txt")
            out.write(b"first")
            out.flush()
            asyncio.get_running_loop().call_later(0.0, self.spoil, os.dup(out.fileno()))

    def spoil(self, fd):
        os.pwrite(fd, b"spoilt!", 0)
        self.fd = fd
        asyncio.get_running_loop().call_later(0.001, self.spoil, fd)
"""

WRONG = [
    {"path": "../../escape"},
    {"path": "/etc/passwd"},
    {"path": ".hidden"},
    {"path": "a/.mltb/b"},
    {"path": "a//b"},
    {"path": "x" * 300},
    {"path": "a/" * 3000 + "b"},
    {"path": "a\nb"},
    {"path": "a\\b"},
    {"path": ""},
    {"answer": {"index": 0}},
    {"answer": [{"index": 7}]},
    {"answer": [{"index": 0}, {"index": 0}]},
    {"answer": [{"index": 0, "mode": 511}]},
    {"answer": [{"index": 0, "drop": True}]},
    {"create": "../new"},
    {"create": "twice"},
    {"index": 1},
    {"index": -1},
    {"other": True},
    {"many": 65},
]


def test_no_answer_of_a_plugin_leads_out_of_its_task(
    tmp_path: Path, http_server: HttpServer
) -> None:
    service = Service(tmp_path, RETRY_ATTEMPTS="1", MAX_ACTIVE="2")
    plugging.write(service, "hostile", _HOSTILE)
    url = http_server.add("/film.bin", Resource(Literal(b"film")))
    with service:
        plugging.until(service, "hostile")
        tasks = [service.mirror(url, steps=[{"name": "hostile", "params": each}]) for each in WRONG]
        for params, task in zip(WRONG, tasks, strict=True):
            found = service.until(task)
            assert (found["state"], found["error"]["stage"]) == ("failed", "hostile"), params
            assert "hostile" in found["error"]["message"], params
        assert visible(service.files) == []
        # What it holds on to afterwards is no file of ours.
        steps = [{"name": "hostile", "params": {"later": True}}]
        done = service.fetch(url, steps=steps, options={"name": "set"})
        assert done["state"] == "done"
        for entry in done["receipt"]["files"]:
            assert sha256(service.files / entry["path"]) == entry["sha256"]
        assert plugging.plugin(service, "hostile")["state"] == "running"


_FRAGILE = """
import asyncio, os
from bot.core.plugin_manager import TaskPlugin

class Fragile(TaskPlugin):
    async def execute(self, files, params):
        tries = await self.state.get("tries", 0) + 1
        await self.state.set("tries", tries)
        (await files.create(f"try-{tries}")).close()
        if params.get("hang"):
            print("hangs")
            await asyncio.sleep(3600)
        if tries == 1:
            os._exit(3)
"""


def test_a_crash_is_tried_again_and_a_cancel_ends_it(
    tmp_path: Path, http_server: HttpServer
) -> None:
    service = Service(tmp_path, RETRY_ATTEMPTS="50", RETRY_BASE="0.2", RETRY_MAX="0.2")
    plugging.write(service, "fragile", _FRAGILE)
    gate = Gate()
    film = Resource(Literal(b"film"))
    url = http_server.add("/film.bin", film)
    slow = http_server.add("/slow.bin", Gated(film, gate))
    with service:
        plugging.until(service, "fragile")
        done = service.fetch(url, steps=[{"name": "fragile"}], options={"name": "set"})
        assert done["state"] == "done"
        assert visible(service.files) == ["set/set", "set/try-2"]
        task = service.mirror(url, steps=[{"name": "fragile", "params": {"hang": True}}])
        plugging.until_said(service, "fragile", "hangs")
        service.client.post(f"/tasks/{task['id']}/cancel", {})
        assert service.until(task)["state"] == "cancelled"
        service.expect_clean()
        # A step whose plugin went waits for it.
        held = service.mirror(slow, steps=[{"name": "fragile"}])
        assert gate.reached.wait(30)
        service.client.post("/plugins/disable", {"plugin_name": "fragile"})
        gate.open()
        eventually(
            lambda: "not there at present" in str(service.task(held).get("error")),
            lambda: str(service.task(held)),
        )
        service.client.post("/plugins/enable", {"plugin_name": "fragile"})
        assert service.until(held)["state"] == "done"

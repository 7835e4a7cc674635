"""The hooks: what plugins are told by a real service, and what they decide for its tasks."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from bot.app.service import running
from bot.config import Settings
from bot.core.plugin_manager import plugin_manager
from bot.errors import InvalidInput
from bot.plugins import hooks
from bot.services import OWNER, Submission
from tests import plugging
from tests.servers.behaviours import FailTimes, Gate, Gated
from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Literal, Resource
from tests.serving import Service, eventually, visible

DECIDES = "rights.decide = true\n"
TELLING = sorted(name for name in hooks.PAYLOADS if name not in hooks.ANSWERS)

_RECORDER = """
from bot.core.plugin_manager import BasePlugin

class Recorder(BasePlugin):
    async def execute(self, names):
        return {name: await self.state.get(name) for name in names}
""" + "\n".join(
    f"    async def {name}(self, payload):\n        await self.state.set({name!r}, repr(payload))"
    for name in TELLING
)


def test_every_telling_hook_fires(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path, RETRY_ATTEMPTS="1")
    plugging.write(service, "recorder", _RECORDER)
    gate = Gate()
    good = http_server.add("/good.bin", Resource(Literal(b"x" * 500)))
    held = http_server.add("/held.bin", Gated(Resource(Generated(4_000_000)), gate))

    def told() -> dict[str, str | None]:
        found: dict[str, str | None] = plugging.run(service, "recorder", names=TELLING)
        return found

    def until_told(name: str) -> str:
        eventually(
            lambda: told()[name] is not None,
            lambda: f"{name}: {told()}\n{service.log[-3000:]}",
        )
        return str(told()[name])

    with service:
        plugging.until(service, "recorder")
        assert service.fetch(good)["state"] == "done"
        assert service.fetch(http_server.url("/missing.bin"))["state"] == "failed"
        task = service.mirror(held)
        service.until(task, "running")
        until_told("on_task_progress")
        service.client.post(f"/tasks/{task['id']}/cancel", {})
        service.until(task, "cancelled")
        gate.open()
        service.client.post("/alerts/trigger", {"title": "Look", "message": "Up"})
        service.client.post("/backups/create", {})
        until_told("on_backup_made")
        service.terminate()
        service.start()
        plugging.until(service, "recorder")
        found = {name: until_told(name) for name in TELLING}
    assert "good.bin" in found["on_task_completed"]
    assert "size=500" in found["on_task_completed"]
    assert "code='source_not_found'" in found["on_task_failed"]
    assert task["id"] in found["on_task_cancelled"]
    assert "Up" in found["on_alert_raised"]


_DECIDER = """
from bot.core.plugin_manager import BasePlugin

class Decider(BasePlugin):
    async def veto_task(self, task):
        print("veto?", task.name, task.size)
        if task.source.endswith("secret.bin"):
            return "secrets stay where they are"

    async def choose_destination(self, task):
        if task.source.endswith(".bin"):
            return task.destination + "/bins"

    async def choose_engine(self, task):
        print("engine?", task.id)
        return "http"

    async def choose_name(self, task):
        return task.name.upper()

    async def choose_retry(self, failure):
        print("retry?", failure.code, failure.attempt, failure.wait)
        if failure.code == "source_not_found":
            return 0.01
        return False
"""

#: Asked before the one above, and never right.
_LIAR = """
from bot.core.plugin_manager import BasePlugin

class Aliar(BasePlugin):
    async def veto_task(self, task):
        return {"no": "way"}

    async def choose_destination(self, task):
        return "/etc"

    async def choose_engine(self, task):
        return "warp"

    async def choose_name(self, task):
        return "../../.ssh/authorized_keys"

    async def choose_retry(self, failure):
        return float("nan")
"""


def test_plugins_decide_and_lies_are_ignored(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path, RETRY_ATTEMPTS="3")
    plugging.folder(service, "decider", _DECIDER, DECIDES)
    plugging.folder(service, "aliar", _LIAR, DECIDES)
    plugging.write(service, "humble", _DECIDER.replace("Decider", "Humble"))
    film = http_server.add("/film.bin", Resource(Literal(b"film")))
    secret = http_server.add("/secret.bin", Resource(Literal(b"secret")))
    shy = http_server.add("/shy.bin", FailTimes(Resource(Literal(b"shy")), 404, 2))
    busy = http_server.add("/busy.bin", FailTimes(Resource(Literal(b"busy")), 503, 99))
    with service:
        assert "asks for decide" in plugging.until(service, "decider", "refused")["reason"]
        plugging.grant(service, "decider", "aliar")
        humble = plugging.until(service, "humble")
        assert humble["inactive_hooks"] == sorted(hooks.ANSWERS)
        assert service.client.post("/plan", {"source": film})["destination"].endswith("/bins")

        done = service.fetch(film)
        assert (done["state"], done["name"]) == ("done", "FILM.BIN")
        assert visible(service.files) == ["bins/FILM.BIN"]
        # What the user says comes first.
        named = service.fetch(film, service.files / "own", options={"name": "mine.bin"})
        assert named["state"] == "done"
        assert "own/mine.bin" in visible(service.files)

        vetoed = service.fetch(secret)
        assert (vetoed["state"], vetoed["error"]["code"]) == ("failed", "policy")
        assert "plugin decider: secrets stay where they are" in vetoed["error"]["message"]

        # Tried again though the service would not, and given up though it would.
        assert service.fetch(shy)["state"] == "done"
        given_up = service.fetch(busy)
        assert (given_up["state"], given_up["error"]["attempt"]) == ("failed", 1)
        plugging.until_said(service, "decider", "retry? source_not_found 1 None")
        service.terminate()
    for hook in hooks.ANSWERS:
        assert f"plugin aliar: {hook} is ignored" in service.log, hook
    assert "not asked without rights.decide" in service.log
    assert "plugin humble: " not in service.log


_SLOW = """
import asyncio
from bot.core.plugin_manager import BasePlugin

class Slow(BasePlugin):
    async def veto_task(self, task):
        await asyncio.sleep(3600)

    choose_destination = choose_engine = choose_name = choose_retry = veto_task
"""


def test_a_slow_hook_costs_its_budget_and_no_plugin(
    tmp_path: Path, http_server: HttpServer
) -> None:
    service = Service(tmp_path, PLUGIN_HOOK_TIMEOUT="0.2", RETRY_ATTEMPTS="1")
    plugging.folder(service, "slow", _SLOW, DECIDES)
    url = http_server.add("/film.bin", Resource(Literal(b"film")))
    with service:
        plugging.grant(service, "slow")
        pid = plugging.plugin(service, "slow")["pid"]
        assert service.fetch(url)["state"] == "done"
        after = plugging.plugin(service, "slow")
        assert (after["state"], after["pid"]) == ("running", pid)
        service.kill()
    assert "plugin slow: choose_destination is ignored: no answer in 0.2 s" in service.log
    assert "plugin slow is not asked veto_task: there is no time for it" in service.log


def test_an_answer_lasts_over_a_restart(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path)
    plugging.folder(service, "decider", _DECIDER, DECIDES)
    gate = Gate()
    url = http_server.add("/film.dat", Gated(Resource(Generated(2_000_000)), gate))
    with service:
        plugging.grant(service, "decider")
        task = service.mirror(url)
        eventually(
            lambda: service.journal(task).get("stages", [{}])[0].get("state") == "running",
            lambda: str(service.journal(task)),
        )
        service.kill()
    gate.open()
    plugging.folder(service, "decider", _DECIDER.replace("return task.name", "return 'x'"), DECIDES)
    with service:
        plugging.until(service, "decider")
        done = service.until(task)
        assert (done["state"], done["name"]) == ("done", "FILM.DAT")
        assert not [each for each in plugging.lines(service, "decider") if "?" in each]


_TYPED = """
from bot.core.plugin_manager import BasePlugin

class Typed(BasePlugin):
    type = "reporter"

    async def execute(self):
        return "reported"
"""


async def test_code_beside_the_service_has_hooks_and_types_too(
    tmp_path: Path, http_server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        download_dir=tmp_path / "files",
        plugins_dir=tmp_path / "plugins",
        egress_allow=["127.0.0.1"],
        web_port=0,
    )
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/typed.py").write_text(_TYPED)
    url = http_server.add("/film.bin", Resource(Literal(b"film")))
    told: asyncio.Queue[object] = asyncio.Queue()

    async def hear(payload: object) -> None:
        await told.put(payload)

    def fail(payload: object) -> None:
        raise ValueError("a listener's own fault")

    async with running(settings) as app:
        parts = plugin_manager._host  # what it serves from
        await parts.started()
        assert "of the type 'reporter'" in str(parts.info("typed").reason)
        parts.register_plugin_type("reporter")
        assert (await parts.reload_plugin("typed")).type == "reporter"
        assert await parts.execute_plugin("typed") == "reported"

        parts.register_hook("on_task_completed", fail)
        forget = parts.register_hook("on_task_completed", hear)
        await app.services.tasks.submit(OWNER, Submission(url))
        done = await told.get()
        assert isinstance(done, hooks.DoneInfo)
        assert (done.task.name, done.size) == ("film.bin", 4)
        forget()
        parts.register_hook("custom.mine", told.put)
        parts.trigger_hook("on_task_completed", done)
        parts.trigger_hook("custom.mine", {"any": "thing"})
        assert await told.get() == {"any": "thing"}
        for name in ("on_nothing", "veto_task"):
            with pytest.raises(InvalidInput, match="no hook"):
                parts.register_hook(name, hear)
        with pytest.raises(InvalidInput, match="on_task_completed"):
            parts.trigger_hook("on_task_completed", {"task": 1})
    assert "fail failed at the hook on_task_completed" in caplog.text


def test_the_table_in_the_docs_has_every_hook() -> None:
    text = Path("docs/plugins-reference.md").read_text(encoding="utf-8")
    _, _, table = text.partition("## Hooks\n")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)
    assert {name: kind for name, kind, _ in rows} == {
        name: kind.__name__ for name, kind in hooks.PAYLOADS.items()
    }
    assert {name for name, _, answer in rows if answer.strip() != "-"} == set(hooks.ANSWERS)

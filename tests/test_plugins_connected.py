"""What plugins are given: alerts, readings, backups; each by a real service to a real worker."""

from __future__ import annotations

import json
import os
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bot.cli.client import ServiceError
from bot.errors import InvalidInput
from bot.lock import Doorplate
from bot.operations.backup_catalog import Record
from bot.operations.plugin_backups import PluginTaker
from bot.plugins import landlock, tiers
from bot.plugins.sandbox import Worker, Zygote
from bot.plugins.tiers import Tier
from bot.plugins.worker import Spec
from tests.serving import Json, Service, eventually

MIB = 1024 * 1024
_PAGER = """
import json, os
from bot.core.plugin_manager import AlertPlugin

class Pager(AlertPlugin):
    async def execute(self, alert_data):
        tries = await self.state.get("tries", 0) + 1
        await self.state.set("tries", tries)
        if tries == 1 and alert_data["rule"] == "manual":
            os._exit(3)
        if self.get_config().get("deaf"):
            return False
        print(json.dumps(alert_data))
        return True
"""
_LAMP = """
from bot.core.plugin_manager import MonitorPlugin

class Lamp(MonitorPlugin):
    async def execute(self, metrics):
        glow = self.get_config().get("glow", 1)
        return {"glow": glow, "seen": len(metrics), "nan": float("nan"),
                "uptime": metrics["uptime_seconds"]}
"""
_RULES = [
    {
        "name": "glow",
        "reading": "plugin:lamp:glow",
        "comparison": ">",
        "threshold": 5,
        "severity": "critical",
    }
]


def _write(service: Service, name: str, code: str) -> None:
    service.plugins.mkdir(exist_ok=True)
    (service.plugins / f"{name}.py").write_text(textwrap.dedent(code))


def _told(service: Service, name: str) -> list[Json]:
    lines = service.client.get(f"/plugins/{name}/logs")["items"]
    return [json.loads(line) for line in lines if line.startswith("{")]


def _channels(service: Service) -> list[str]:
    return [each["name"] for each in service.client.get("/alerts/channels")["items"]]


def _configure(service: Service, name: str, **config: Any) -> None:
    service.client.post("/plugins/config", {"plugin_name": name, "config": config})


def _page(service: Service) -> str:
    token = {"Authorization": f"Bearer {Doorplate(service.data).token}"}
    request = urllib.request.Request(f"{service.url}/metrics", headers=token)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: str = answer.read().decode()
    return found


def _until_told(service: Service, name: str, rule: str, state: str = "firing") -> Json:
    """What a plugin was told of a rule, once it was."""

    def found() -> list[Json]:
        told = _told(service, name)
        return [each for each in told if (each["rule"], each["state"]) == (rule, state)]

    eventually(lambda: bool(found()), lambda: service.log[-4000:])
    return found()[0]


def test_alert_plugins_are_channels_that_lose_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path, ALERT_GROUP_WAIT="0")
    _write(service, "pager", _PAGER)
    with service:
        eventually(lambda: "plugin:pager" in _channels(service), lambda: service.log)
        raised = service.client.post(
            "/alerts/trigger",
            {"title": "Smoke", "message": "in the cellar", "severity": "critical"},
        )
        # It dies while it is told, and is told again when it is back; of its death as well.
        told = _until_told(service, "pager", "manual")
        assert told["id"] == raised["id"]
        assert _until_told(service, "pager", "plugin_crashed")["labels"] == {"plugin": "pager"}
        assert told["severity"] == "critical"
        assert told["message"] == "in the cellar"
        assert (told["rule"], told["state"], told["count"]) == ("manual", "firing", 1)
        eventually(lambda: _delivered(service) >= 2, lambda: service.log)
        service.client.post("/alerts/channels/plugin:pager/test")
        assert _until_told(service, "pager", "test")["severity"] == "low"
        _configure(service, "pager", deaf=True)
        with pytest.raises(ServiceError, match="did not get there"):
            service.client.post("/alerts/channels/plugin:pager/test")
        service.client.post("/plugins/disable", {"plugin_name": "pager"})
        eventually(lambda: _channels(service) == [], lambda: str(_channels(service)))
        service.client.post("/plugins/enable", {"plugin_name": "pager"})
        eventually(lambda: _channels(service) == ["plugin:pager"], lambda: service.log)


def _delivered(service: Service) -> int:
    (channel,) = service.client.get("/alerts/channels")["items"]
    return int(channel["delivered"])


def test_what_monitor_plugins_say_is_shown_kept_and_watched(tmp_path: Path) -> None:
    service = Service(
        tmp_path,
        METRICS_SAMPLE_INTERVAL="1",
        ALERT_INTERVAL="1",
        ALERT_RULES=json.dumps(_RULES),
    )
    _write(service, "lamp", _LAMP)
    _write(service, "pager", _PAGER)
    with service:
        eventually(lambda: "plugin:pager" in _channels(service), lambda: service.log)
        eventually(lambda: f"{_lamp('glow')} 1.0" in _page(service), lambda: _page(service))
        assert f"{_lamp('nan')} " not in _page(service)
        _configure(service, "lamp", glow=9)
        assert _until_told(service, "pager", "glow")["value"] == 9.0
        _configure(service, "lamp", glow=2)
        _until_told(service, "pager", "glow", "resolved")
        (kept,) = service.client.get("/metrics/history", name="plugin:lamp:glow")["items"]
        assert 9.0 in kept["max"]
        # What is no gauge is told once, and what was said before is not good for ever.
        _configure(service, "lamp", glow="bright")
        eventually(lambda: _lamp("glow") not in _page(service), lambda: _page(service))
        assert service.log.count("no numbers by name") == 1
        _configure(service, "lamp", glow=3)
        eventually(lambda: f"{_lamp('glow')} 3.0" in _page(service), lambda: _page(service))
        service.client.post("/plugins/disable", {"plugin_name": "lamp"})
        assert _lamp("glow") not in _page(service)


def _lamp(name: str) -> str:
    return f'mltb_plugin_value{{name="{name}",plugin="lamp"}}'


_TAKER = """
import hashlib
from bot.core.plugin_manager import BackupPlugin

class Taker(BackupPlugin):
    async def execute(self, source_path, backup_name):
        tries = await self.state.get("tries", 0) + 1
        await self.state.set("tries", tries)
        if tries < self.get_config()["at"]:
            raise OSError("the tape is full")
        with open(source_path, "rb") as file:
            data = file.read()
        same = hashlib.sha256(data).hexdigest() == self.archive.sha256
        print("took", backup_name, len(data) == self.archive.size, same)
        return True
"""


def _backup(service: Service) -> Json:
    found: Json = service.client.post("/backups/create", {"wait": 50})
    return found


def test_backup_plugins_are_given_every_archive(tmp_path: Path) -> None:
    service = Service(tmp_path, BACKUP_VERIFY="false", BACKUP_KEEP_LAST="1", ALERT_GROUP_WAIT="0")
    _write(service, "taker", _TAKER)
    with service:
        eventually(lambda: _state(service, "taker") == "running", lambda: service.log)
        _configure(service, "taker", at=2)
        # The first try fails, the second one takes it.
        made = _backup(service)
        lines = service.client.get("/plugins/taker/logs")["items"]
        assert lines == [f"took {made['name']} True True"]
        (copy,) = made["copies"]
        assert (copy["destination"], copy["done"], copy["error"]) == ("plugin taker", True, None)
        _configure(service, "taker", at=9)
        again = _backup(service)
        (copy,) = again["copies"]
        assert not copy["done"]
        assert "the tape is full" in copy["error"]
        eventually(lambda: "the tape is full" in _alerts(service), lambda: _alerts(service))
        # What a plugin has taken can't be asked back: the one before is not listed any more.
        assert len(service.client.get("/backups/list")["items"]) == 1


def _state(service: Service, name: str) -> str:
    found = {each["id"]: each["state"] for each in service.client.get("/plugins/list")["items"]}
    return str(found.get(name))


def _alerts(service: Service) -> str:
    items = service.client.get("/alerts/recent")["items"]
    return " ".join(each["message"] for each in items if each["state"] == "firing")


_READER = """
import os
from bot.core.plugin_manager import BackupPlugin

class Reader(BackupPlugin):
    async def execute(self, source_path, backup_name):
        if backup_name == "path":
            with open(source_path, "rb") as file:
                return len(file.read())
        if backup_name == "file":
            return len(self.open_archive().read())
        if backup_name == "nothing":
            return True
        for each in range(3, 64):
            try:
                fd = os.open(f"/proc/self/fd/{each}", os.O_WRONLY | os.O_NONBLOCK)
                os.write(fd, b"spoilt")
            except OSError:
                continue
        return True
"""


@pytest.mark.parametrize("tier", list(Tier))
async def test_an_archive_can_be_read_in_every_tier_and_not_be_changed(
    tmp_path: Path, tier: Tier
) -> None:
    if tier.landlock and landlock.version() < landlock.OLDEST:
        pytest.skip("this kernel has no Landlock that is new enough")
    if tier.wrapped and not tiers.bubblewrap_works():
        pytest.skip("bubblewrap can't make namespaces here")
    code, own, archive = tmp_path / "code", tmp_path / "own", tmp_path / "archive"
    code.mkdir()
    own.mkdir()
    (code / "reader.py").write_text(_READER)
    archive.write_bytes(content := os.urandom(3 * MIB))
    zygote = Zygote(tier, code=[str(code)], state=[str(own)])
    spec = Spec(
        plugin="reader",
        module="reader",
        code=str(code / "reader.py"),
        directory=str(own),
        memory=128 * MIB,
        disk=MIB,
        open_files=64,
        readable=[*tiers.readable(), str(code)],
        landlock=tier.landlock,
    )
    worker, answers = Worker(spec, broker=_nothing, log=print, on_end=print), []

    async def call(_: str, method: str, *args: Any, fds: list[int]) -> Any:
        answers.append(await worker.call(method, *args, timeout=30, fds=fds))
        return answers[-1]

    try:
        await worker.start(zygote, 30)
        taker = PluginTaker("reader", call)
        for how in ("path", "file", "nothing", "write"):
            await taker.take(Record(how, 0.0), archive)
    finally:
        await worker.stop()
        await zygote.close()
    assert answers == [3 * MIB, 3 * MIB, True, True]
    assert archive.read_bytes() == content


async def _nothing(method: str, _: dict[str, Any]) -> Any:
    raise InvalidInput(f"nobody does {method}")

"""What plugins are given: alerts, readings, backups; each by a real service to a real worker."""

from __future__ import annotations

import json
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bot.cli.client import ServiceError
from bot.lock import Doorplate
from tests.serving import Json, Service, eventually

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


def _until_told(service: Service, name: str, count: int) -> list[Json]:
    eventually(lambda: len(_told(service, name)) >= count, lambda: service.log[-4000:])
    return _told(service, name)


def test_alert_plugins_are_channels_that_lose_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path, ALERT_GROUP_WAIT="0")
    _write(service, "pager", _PAGER)
    with service:
        eventually(lambda: "plugin:pager" in _channels(service), lambda: service.log)
        raised = service.client.post(
            "/alerts/trigger",
            {"title": "Smoke", "message": "in the cellar", "severity": "critical"},
        )
        # It dies while it is told, and is told again when it is back.
        (told,) = _until_told(service, "pager", 1)
        assert told["id"] == raised["id"]
        assert told["severity"] == "critical"
        assert told["message"] == "in the cellar"
        assert (told["rule"], told["state"], told["count"]) == ("manual", "firing", 1)
        eventually(lambda: _delivered(service) == 1, lambda: service.log)
        service.client.post("/alerts/channels/plugin:pager/test")
        assert _until_told(service, "pager", 2)[1]["rule"] == "test"
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
        told = _until_told(service, "pager", 1)[0]
        assert (told["rule"], told["state"], told["value"]) == ("glow", "firing", 9.0)
        _configure(service, "lamp", glow=2)
        assert _until_told(service, "pager", 2)[1]["state"] == "resolved"
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

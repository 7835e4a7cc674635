"""Plugins as their author and their operator meet them: a file in a directory, a real service."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from bot.cli.client import ServiceError
from bot.plugins.manifest import Broken, discover
from tests.servers.http import HttpServer
from tests.servers.routes import Literal, Resource
from tests.serving import Service, eventually

_TEMPLATE = """
from bot.core.plugin_manager import BasePlugin, PluginMetadata

class MyCustomPlugin(BasePlugin):
    \"\"\"My custom plugin description\"\"\"

    async def initialize(self):
        print(f"Initializing {self.metadata.name}")
        return True

    async def shutdown(self):
        print(f"Shutting down {self.metadata.name}")

    async def execute(self, *args, **kwargs):
        count = await self.state.get("count", 0) + 1
        await self.state.set("count", count)
        return {"status": "success", "count": count, "given": kwargs}

    async def on_task_completed(self, done):
        print("completed", done.task.name, done.size, done.sha256)
"""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def _write(service: Service, name: str, code: str) -> None:
    service.plugins.mkdir(exist_ok=True)
    (service.plugins / f"{name}.py").write_text(textwrap.dedent(code))


def _plugin(service: Service, name: str) -> dict[str, object]:
    found: dict[str, object] = service.client.get(f"/plugins/{name}")
    return found


def _until(service: Service, name: str, state: str) -> dict[str, object]:
    eventually(
        lambda: name in {each["id"] for each in service.client.get("/plugins/list")["items"]},
        lambda: str(service.client.get("/plugins/list")),
    )
    eventually(
        lambda: _plugin(service, name)["state"] == state, lambda: str(_plugin(service, name))
    )
    return _plugin(service, name)


def _run(service: Service, name: str, **data: object) -> Any:
    answer = service.client.post("/plugins/execute", {"plugin_name": name, "data": data})
    return answer["result"]


def test_a_file_in_the_directory_runs_and_keeps_its_values(
    service: Service, http_server: HttpServer
) -> None:
    _write(service, "my_custom_plugin", _TEMPLATE)
    url = http_server.add("/film.bin", Resource(Literal(b"film" * 100)))
    with service:
        found = _until(service, "my_custom_plugin", "running")
        assert found["description"] == "My custom plugin description"
        assert found["tier"]
        assert _run(service, "my_custom_plugin", a=1) == {
            "status": "success",
            "count": 1,
            "given": {"a": 1},
        }
        assert service.fetch(url)["state"] == "done"
        eventually(
            lambda: any(
                line.startswith("completed film.bin 400 ")
                for line in service.client.get("/plugins/my_custom_plugin/logs")["items"]
            ),
            lambda: str(service.client.get("/plugins/my_custom_plugin/logs")),
        )
        service.kill()
    with service:
        _until(service, "my_custom_plugin", "running")
        assert _run(service, "my_custom_plugin")["count"] == 2


_ASKS = """
from bot.core.plugin_manager import BasePlugin

class Asks(BasePlugin):
    async def execute(self, url):
        answer = await self.http.get(url)
        return [answer.status, answer.text]
"""


def _folder(service: Service, name: str, code: str, manifest: str) -> None:
    root = service.plugins / name
    root.mkdir(parents=True, exist_ok=True)
    (root / "plugin.py").write_text(textwrap.dedent(code))
    (root / "plugin.toml").write_text(textwrap.dedent(manifest))


def test_rights_are_granted_by_the_operator_alone(
    service: Service, http_server: HttpServer
) -> None:
    url = http_server.add("/page", Resource(Literal(b"hello")))
    host = url.split("/")[2]
    _folder(service, "asks", _ASKS, f'id = "asks"\nversion = "1.0.0"\nrights.net = ["{host}"]\n')
    with service:
        refused = _until(service, "asks", "refused")
        assert host in str(refused["reason"])
        assert service.run("plugins", "enable", "asks").status == 1
        assert service.run("plugins", "enable", "asks", "--grant").status == 0
        assert _run(service, "asks", url=url) == [200, "hello"]
        for other in ("http://127.0.0.1:1/x", "http://example.org/", "ftp://127.0.0.1/x"):
            with pytest.raises(ServiceError, match=r"may not reach|http and https"):
                _run(service, "asks", url=other)
        # A version that asks for more waits, and the one before it goes on.
        more = f'id = "asks"\nversion = "1.1.0"\nrights.net = ["{host}", "example.org:443"]\n'
        _folder(service, "asks", _ASKS, more)
        with pytest.raises(ServiceError, match="not granted"):
            service.client.post("/plugins/reload", {"plugin_name": "asks"})
        assert _run(service, "asks", url=url) == [200, "hello"]
        service.terminate()
        service.start()
        _until(service, "asks", "refused")


BROKEN = {
    "no_python": ("def (", None, "no Python"),
    "no_class": ("x = 1", None, "subclass of BasePlugin"),
    "wrong_base": ("class WrongBase: pass", None, "no subclass of BasePlugin"),
    "dies": ("import os; os._exit(7)", None, "status 7"),
    "raises": ("raise ValueError('at import')", None, "at import"),
    "says_no": (
        (
            "from bot.core.plugin_manager import BasePlugin\n"
            "class SaysNo(BasePlugin):\n    async def initialize(self): return False"
        ),
        None,
        "said no",
    ),
    "hangs": (
        (
            "from bot.core.plugin_manager import BasePlugin\n"
            "class Hangs(BasePlugin):\n    async def initialize(self):\n        while True: pass"
        ),
        None,
        "did not answer",
    ),
    "unknown_field": ("x = 1", 'id = "unknown_field"\nrihgts = {}\n', "rihgts"),
    "newer_api": ("x = 1", 'id = "newer_api"\napi = ">=2"\n', "needs the interface"),
    "deep": ("x = 1", "a = " + "[" * 20_000 + "]" * 20_000, "no manifest"),
    "huge": ("x = 1", 'id = "huge"\napi = ">=' + "9" * 10_000 + '"\n', "no range"),
    "other_name": ("x = 1", 'id = "another"\n', "holds the plugin another"),
}


def test_broken_plugins_say_why_and_harm_nobody(tmp_path: Path) -> None:
    service = Service(tmp_path, PLUGIN_TIMEOUT="3")
    _write(service, "my_custom_plugin", _TEMPLATE)
    for name, (code, manifest, _) in BROKEN.items():
        if manifest is None:
            _write(service, name, code)
        else:
            _folder(service, name, code, manifest)
    _write(service, "twice", _TEMPLATE)
    _folder(service, "twice", _TEMPLATE, 'id = "twice"\n')
    with service:
        for name, (_, _, reason) in BROKEN.items():
            assert reason in str(_until(service, name, "failed")["reason"])
        assert "one of them has to go" in str(_until(service, "twice", "failed")["reason"])
        assert _run(service, "my_custom_plugin")["status"] == "success"
        assert service.client.get("/plugins/list")["status"] == "ok"


def test_words_of_the_interface_are_no_names(tmp_path: Path) -> None:
    (tmp_path / "list.py").write_text("x = 1")
    (found,) = discover(tmp_path)
    assert isinstance(found, Broken)
    assert "no plugin can be called 'list'" in found.reason


_CRASHES = """
from bot.core.plugin_manager import BasePlugin

class Crashes(BasePlugin):
    async def execute(self, how):
        import os
        os._exit(how)
"""


def test_a_plugin_that_crashes_is_started_anew(service: Service) -> None:
    _write(service, "crashes", _CRASHES)
    with service:
        first = _until(service, "crashes", "running")
        with pytest.raises(ServiceError, match="status 9"):
            _run(service, "crashes", how=9)
        eventually(
            lambda: _plugin(service, "crashes")["pid"] not in {None, first["pid"]},
            lambda: str(_plugin(service, "crashes")),
        )
        assert _until(service, "crashes", "running")["crashes"] == 1


def test_a_reload_that_fails_keeps_what_runs(service: Service) -> None:
    _write(service, "my_custom_plugin", _TEMPLATE)
    with service:
        before = _until(service, "my_custom_plugin", "running")
        _write(service, "my_custom_plugin", "def (")
        with pytest.raises(ServiceError, match="no Python"):
            service.client.post("/plugins/reload", {"plugin_name": "my_custom_plugin"})
        assert _run(service, "my_custom_plugin")["count"] == 1
        assert _plugin(service, "my_custom_plugin")["digest"] == before["digest"]
        _write(service, "my_custom_plugin", _TEMPLATE.replace('"success"', '"again"'))
        after = service.client.post("/plugins/reload", {"plugin_name": "my_custom_plugin"})
        assert after["digest"] != before["digest"]
        assert _run(service, "my_custom_plugin")["status"] == "again"


def test_the_system_can_be_off(tmp_path: Path) -> None:
    service = Service(tmp_path, ENABLE_PLUGIN_SYSTEM="false")
    _write(service, "my_custom_plugin", _TEMPLATE)
    with service, pytest.raises(ServiceError, match="off"):
        service.client.get("/plugins/list")


def test_what_is_new_can_wait(tmp_path: Path) -> None:
    service = Service(tmp_path, AUTO_LOAD_PLUGINS="false")
    _write(service, "my_custom_plugin", _TEMPLATE)
    with service:
        _until(service, "my_custom_plugin", "disabled")
        assert service.run("plugins", "enable", "my_custom_plugin").status == 0
        assert _run(service, "my_custom_plugin")["count"] == 1
        service.terminate()
        service.start()
        _until(service, "my_custom_plugin", "running")
        assert service.run("plugins", "disable", "my_custom_plugin").status == 0
        assert _plugin(service, "my_custom_plugin")["pid"] is None


def test_imports_are_a_matter_of_the_settings(tmp_path: Path) -> None:
    service = Service(tmp_path, PLUGIN_ALLOWED_IMPORTS="asyncio,json")
    _write(service, "fine", "import json\n" + _TEMPLATE.replace("MyCustomPlugin", "Fine"))
    _write(service, "curious", "import socket\n" + _TEMPLATE.replace("MyCustomPlugin", "Curious"))
    with service:
        _until(service, "fine", "running")
        reason = str(_until(service, "curious", "failed")["reason"])
        assert "socket may not be imported" in reason


_LOUD = """
from bot.core.plugin_manager import BasePlugin

class Loud(BasePlugin):
    async def execute(self):
        for number in range(20000):
            print("line", number)
        return "said"
"""


def test_a_plugin_that_never_stops_talking_does_not_fill_the_log(service: Service) -> None:
    _write(service, "loud", _LOUD)
    with service:
        _until(service, "loud", "running")
        assert _run(service, "loud") == "said"
        eventually(
            lambda: service.client.get("/plugins/loud/logs")["items"][-1:] == ["line 19999"],
            lambda: str(service.client.get("/plugins/loud/logs")["items"][-1:]),
        )
        service.terminate()
    told = [line for line in service.log.splitlines() if "plugins.loud: line" in line]
    assert 100 <= len(told) < 20_000 // 2

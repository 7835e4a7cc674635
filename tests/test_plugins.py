"""Plugins as their author and their operator meet them: a file in a directory, a real service."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

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


def _run(service: Service, name: str, **data: object) -> dict[str, object]:
    answer = service.client.post("/plugins/execute", {"plugin_name": name, "data": data})
    result: dict[str, object] = answer["result"]
    return result


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

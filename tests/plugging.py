"""Plugins in a real service, for the tests of what they are for."""

from __future__ import annotations

import textwrap
from typing import Any

from tests.serving import Json, Service, eventually


def write(service: Service, name: str, code: str) -> None:
    """A plugin of one file."""
    service.plugins.mkdir(exist_ok=True)
    (service.plugins / f"{name}.py").write_text(textwrap.dedent(code))


def folder(service: Service, name: str, code: str, manifest: str = "") -> None:
    """A plugin with a manifest; its id is written for it."""
    root = service.plugins / name
    root.mkdir(parents=True, exist_ok=True)
    (root / "plugin.py").write_text(textwrap.dedent(code))
    (root / "plugin.toml").write_text(f'id = "{name}"\n{textwrap.dedent(manifest)}')


def plugin(service: Service, name: str) -> Json:
    found: Json = service.client.get(f"/plugins/{name}")
    return found


def until(service: Service, name: str, state: str = "running") -> Json:
    """The plugin once it is in that state."""

    def listed() -> Json:
        items = service.client.get("/plugins/list")["items"]
        return {each["id"]: each["state"] for each in items}

    eventually(lambda: listed().get(name) == state, lambda: f"{listed()}\n{service.log[-2000:]}")
    return plugin(service, name)


def grant(service: Service, *names: str) -> None:
    """Give them what they ask for; they run."""
    for name in names:
        until(service, name, "refused")
        service.client.post("/plugins/enable", {"plugin_name": name, "grant": True})
        until(service, name)


def run(service: Service, name: str, **data: object) -> Any:
    answer = service.client.post("/plugins/execute", {"plugin_name": name, "data": data})
    return answer["result"]


def lines(service: Service, name: str) -> list[str]:
    found: list[str] = service.client.get(f"/plugins/{name}/logs")["items"]
    return found


def until_said(service: Service, name: str, line: str) -> None:
    """Until a plugin has written a line that begins so."""
    eventually(
        lambda: any(each.startswith(line) for each in lines(service, name)),
        lambda: f"{line}: {lines(service, name)}\n{service.log[-2000:]}",
    )

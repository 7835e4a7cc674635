"""How plugins change while the service runs: new code, new configuration, new state."""

from __future__ import annotations

import textwrap
import threading
from pathlib import Path
from typing import Any, Self

from bot.cli.client import Client, ServiceError
from bot.lock import Doorplate
from tests.serving import Service, eventually

Json = dict[str, Any]

_COUNTS = """
import asyncio
from bot.core.plugin_manager import BasePlugin

class Counts(BasePlugin):
    async def health(self):
        return {health}

    async def execute(self, nap=0, **given):
        await asyncio.sleep(nap)
        return {answer!r}
"""


def write(service: Service, name: str, code: str) -> None:
    """As an editor does: a new file takes the place of the old one."""
    service.plugins.mkdir(exist_ok=True)
    part = service.plugins / f".{name}.part"
    part.write_text(textwrap.dedent(code))
    part.rename(service.plugins / f"{name}.py")


def folder(root: Path, name: str, code: str, manifest: str) -> Path:
    """A plugin as a folder."""
    place = root / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "plugin.py").write_text(textwrap.dedent(code))
    (place / "plugin.toml").write_text(textwrap.dedent(manifest))
    return place


def counts(answer: str, health: object = True) -> str:
    return _COUNTS.format(answer=answer, health=health)


def plugins(service: Service) -> dict[str, Json]:
    return {each["id"]: each for each in service.client.get("/plugins/list")["items"]}


def until(service: Service, name: str, **wanted: object) -> Json:
    """Wait until a plugin is there with these fields."""

    def met() -> bool:
        found = plugins(service).get(name)
        return found is not None and all(found[key] == value for key, value in wanted.items())

    eventually(met, lambda: str(plugins(service)))
    return plugins(service)[name]


def until_reason(service: Service, name: str, reason: str) -> None:
    """Wait until a plugin says why its newer version does not run."""
    eventually(
        lambda: reason in str(plugins(service)[name]["reload_error"]),
        lambda: str(plugins(service)),
    )


def run(service: Service, name: str, **data: object) -> Any:
    answer = service.client.post("/plugins/execute", {"plugin_name": name, "data": data})
    return answer["result"]


def answers(service: Service, name: str, wanted: object) -> None:
    """Wait until a plugin is there and answers that."""
    until(service, name, state="running")
    eventually(lambda: run(service, name) == wanted, lambda: str(plugins(service)))


class Caller:
    """Calls a plugin from a thread of its own, again and again, until it is left."""

    def __init__(self, service: Service, name: str, **data: object) -> None:
        plate = Doorplate(service.data)
        address, token = plate.address(), plate.token
        assert address is not None
        assert token is not None
        self._client = Client(address.socket, token)
        self._body = {"plugin_name": name, "data": data}
        self._left = threading.Event()
        self.answers: list[Any] = []
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._left.is_set():
            try:
                self.answers.append(self._client.post("/plugins/execute", self._body)["result"])
            except ServiceError as error:
                self.errors.append(str(error))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        self._client.close()


def test_code_that_changes_takes_over_without_losing_a_call(tmp_path: Path) -> None:
    service = Service(tmp_path)  # PLUGINS_DIR is not there yet
    with service:
        write(service, "counts", counts("first"))
        first = until(service, "counts", state="running")
        # A call that is under way ends in the version that it began in, whatever comes meanwhile.
        with Caller(service, "counts", nap=1) as slow, Caller(service, "counts") as quick:
            eventually(lambda: "first" in quick.answers, lambda: str(plugins(service)))
            write(service, "counts", counts("second"))
            eventually(lambda: "second" in quick.answers, lambda: str(plugins(service)))
            eventually(lambda: "second" in slow.answers, lambda: str(plugins(service)))
            assert "first" in slow.answers
            # What does not come up changes nothing, and says why.
            for bad, reason in (
                ("def (", "no Python"),
                (counts("third", health=False), "health said no"),
            ):
                write(service, "counts", bad)
                until_reason(service, "counts", reason)
            seen = len(quick.answers)
            eventually(lambda: len(quick.answers) > seen + 3, lambda: str(plugins(service)))
            assert quick.answers[-1] == "second"
        assert slow.errors == quick.errors == []
        found = until(service, "counts", state="running")
        assert found["digest"] != first["digest"]
        assert watches(service)
        assert found["calls"] >= len(quick.answers) + len(slow.answers)
        assert found["crashes"] == 0
        # The old worker and the copy of its code are gone.
        eventually(
            lambda: (
                [each.name for each in (service.data / "plugins/code").iterdir()]
                == [found["digest"]]
            ),
            lambda: str(list((service.data / "plugins/code").iterdir())),
        )
        write(service, "counts", counts("fourth"))
        answers(service, "counts", "fourth")
        assert until(service, "counts", state="running")["reload_error"] is None


def test_what_comes_goes_and_changes_in_one_burst(tmp_path: Path) -> None:
    service = Service(tmp_path)
    write(service, "stays", counts("stays"))
    write(service, "goes", counts("goes"))
    manifest = 'id = "folded"\nversion = "1.0.0"\n'
    folder(service.plugins, "folded", counts("1"), manifest)
    with service:
        before = until(service, "stays", state="running")
        until(service, "goes", state="running")
        until(service, "folded", state="running")
        service.client.post("/plugins/disable", {"plugin_name": "stays"})
        for number in range(30):  # many writes, each half done for a moment
            folder(service.plugins, "folded", counts(str(number)), manifest)
        (service.plugins / "goes.py").unlink()
        write(service, "comes", counts("comes"))
        until(service, "comes", state="running")
        answers(service, "folded", "29")
        eventually(lambda: "goes" not in plugins(service), lambda: str(plugins(service)))
        assert service.log.count("plugin folded: loaded anew") == 1
        assert plugins(service)["stays"]["state"] == "disabled"
        assert before["pid"] not in {each["pid"] for each in plugins(service).values()}
        # The directory itself may go and come back.
        service.plugins.rename(tmp_path / "away")
        eventually(lambda: plugins(service) == {}, lambda: str(plugins(service)))
        (tmp_path / "away").rename(service.plugins)
        answers(service, "folded", "29")


def test_nothing_is_loaded_by_itself_where_that_is_off(tmp_path: Path) -> None:
    service = Service(tmp_path, PLUGIN_HOT_RELOAD="false")
    write(service, "counts", counts("first"))
    with service:
        until(service, "counts", state="running")
        write(service, "counts", counts("second"))
        service.client.post("/plugins/reload", {"plugin_name": "counts"})
        assert run(service, "counts") == "second"
        assert not watches(service)


def watches(service: Service) -> bool:
    """Whether the service has the kernel tell it of changes."""
    open_files = Path(f"/proc/{service.process_now.pid}/fd").iterdir()
    return any(str(each.readlink()) == "anon_inode:inotify" for each in open_files)

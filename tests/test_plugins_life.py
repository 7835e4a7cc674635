"""How plugins change while the service runs: new code, new configuration, new state."""

from __future__ import annotations

import os
import re
import textwrap
import threading
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from bot.cli.client import Client, ServiceError
from bot.errors import PluginFailed
from bot.lock import Doorplate
from bot.plugins import wire
from bot.plugins.config_schema import ConfigSchema
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


_CONFIGURED = """
from bot.core.plugin_manager import BasePlugin

class Tells(BasePlugin):
    async def initialize(self):
        self.set_config({"greeting": "hello"})
        self.told = []

    async def configured(self):
        if self.get_config()["every"] == 13:
            raise ValueError("not 13, says " + self.get_config()["token"])
        self.told.append(self.get_config()["every"])

    async def execute(self):
        print("the token is", self.get_config()["token"])
        return [self.get_config(), self.told]
"""

_SCHEMA = """
id = "tells"
version = "1.0.0"

[config]
required = ["url", "token"]
additionalProperties = false

[config.properties]
url = { type = "string", format = "uri" }
every = { "$ref" = "#/$defs/seconds" }
token = { type = "string", writeOnly = true, pattern = "^(s+)+[a-z-]*$" }
logins = { type = "array", items = { properties = { secret = { writeOnly = true } } } }

[config."$defs"]
seconds = { type = "integer", minimum = 1, default = 60 }
"""


def test_a_configuration_fits_its_schema_and_keeps_its_secrets(tmp_path: Path) -> None:
    service = Service(tmp_path)
    folder(service.plugins, "tells", _CONFIGURED, _SCHEMA)
    secret, other = "sssss-hidden", "another-hidden"
    whole = {"url": "http://a.example/", "token": secret, "logins": [{"secret": other}]}

    def shown() -> Json:
        found: Json = service.client.get("/plugins/tells/config")
        return found

    def configure(**config: object) -> Json:
        body = {"plugin_name": "tells", "config": config}
        found: Json = service.client.post("/plugins/config", body)
        return found

    with service:
        down = until(service, "tells", state="failed")
        assert "required" in down["reason"]
        assert "mltb plugins config tells" in down["reason"]
        for config, words in (
            ({}, ("url", "required")),
            ({**whole, "every": 0}, ("config.every", "minimum of 1")),
            ({**whole, "url": "no link"}, ("config.url", "uri")),
            ({**whole, "more": 1}, ("more", "url, every, token, logins")),
            ({**whole, "token": "s" * 5000 + "!"}, ("config.token", "does not match")),
            ({**whole, "token": "***"}, ("config.token", "there is none")),
            ({**whole, "logins": "x" * 70_000}, ("70", "at most")),
        ):
            with pytest.raises(ServiceError) as refused:
                configure(**config)
            assert all(word in str(refused.value) for word in words), str(refused.value)
            assert secret not in str(refused.value)
        # What it lacked, it has now: it runs, with defaults of the schema and of its own.
        assert configure(**whole)["state"] == "running"
        expected = {**whole, "every": 60, "greeting": "hello"}
        assert run(service, "tells") == [expected, []]
        stars = {**whole, "every": 60, "token": "***", "logins": [{"secret": "***"}]}
        assert shown()["config"] == stars
        assert shown()["schema"]["properties"]["token"]["writeOnly"] is True
        # Changed while it runs; the stars leave what they stand for.
        pid = until(service, "tells", state="running")["pid"]
        assert service.run("plugins", "config", "tells", "--set", "every=5").status == 0
        assert run(service, "tells") == [{**expected, "every": 5}, [5]]
        # What it refuses is not kept.
        with pytest.raises(ServiceError, match="not 13") as rejected:
            configure(**{**stars, "every": 13})
        assert secret not in str(rejected.value)
        assert run(service, "tells") == [{**expected, "every": 5}, [5]]
        assert shown()["config"]["every"] == 5
        assert until(service, "tells", state="running")["pid"] == pid
        lines = service.client.get("/plugins/tells/logs")["items"]
        assert "the token is ***" in lines
        out = service.run("plugins", "config", "tells").out
        assert '"every": 5' in out
        service.kill()
        service.start()
        until(service, "tells", state="running")
        assert run(service, "tells") == [{**expected, "every": 5}, []]
        for text in (out, service.log, str(lines), str(shown())):
            assert secret not in text
            assert other not in text


HOSTILE: dict[str, tuple[Json, str]] = {
    "no schema": ({"type": "strin"}, "object"),
    "wrong keyword": ({"properties": {"a": {"type": "strin"}}}, "properties.a.type"),
    "misspelt": ({"requierd": ["a"]}, "requierd"),
    "an address": ({"properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}, "leads to no"),
    "a circle": ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}, "circ"),
    "a dynamic circle": ({"properties": {"a": {"$dynamicRef": "#"}}}, "dynamicRef"),
    "an explosion": (
        {
            "$ref": "#/$defs/a0",
            "$defs": {
                f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} if n < 25 else {}
                for n in range(26)
            },
        },
        "schemas in one",
    ),
    "none": ({"not": {"not": {"not": {"not": None}}}}, "schema is expected"),
    "a lookahead": ({"properties": {"a": {"pattern": "(?=x)"}}}, "regex"),
    "a huge pattern": ({"properties": {"a": {"pattern": "((a{99}){99}){99}"}}}, "regex"),
    "a long pattern": ({"properties": {"a": {"pattern": "a" * 201}}}, "characters in one"),
    "many patterns": ({"patternProperties": {f"{n}": {} for n in range(33)}}, "patterns"),
    "a date": ({"properties": {"a": {"const": datetime(2026, 1, 1)}}}, "no JSON"),  # noqa: DTZ001
    "no number": ({"properties": {"a": {"const": float("nan")}}}, "no JSON"),
    "another draft": ({"$schema": "http://json-schema.org/draft-04/schema#"}, "schema"),
    "a list": ({"properties": []}, "properties"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_can_harm_nobody(name: str) -> None:
    schema, reason = HOSTILE[name]
    with pytest.raises(PluginFailed, match=re.escape(reason)):
        ConfigSchema(schema)


def test_without_a_schema_names_say_what_is_secret() -> None:
    schema = ConfigSchema({})
    config = {"user": "me", "api_key": "k", "deep": [{"password": {"a": "b"}}]}
    shown = schema.shown(config)
    assert shown == {"user": "me", "api_key": "***", "deep": [{"password": "***"}]}
    assert schema.restored({**shown, "user": "you"}, config) == {**config, "user": "you"}
    assert sorted(schema.secrets(config)) == ["b", "k"]


_KEEPS = """
from bot.core.plugin_manager import BasePlugin

class Keeps(BasePlugin):
    state_version = {version}

    async def migrate_state(self, old):
        for key in await self.state.keys():
            await self.state.set("new " + key, [old, await self.state.get(key)])
            await self.state.delete(key)

    async def initialize(self):
        return {starts}

    async def execute(self, **values):
        for key, value in values.items():
            await self.state.set(key, value)
        return {{key: await self.state.get(key) for key in await self.state.keys()}}
"""


def test_values_have_a_version_and_survive(tmp_path: Path) -> None:
    service = Service(tmp_path)

    def version(number: int, starts: object = True) -> str:
        return _KEEPS.format(version=number, starts=starts)

    with service:
        write(service, "keeps", version(1))
        until(service, "keeps", state="running")
        assert run(service, "keeps", a=1, b=2) == {"a": 1, "b": 2}
        service.kill()
        service.start()
        until(service, "keeps", state="running")
        # One that migrates and then does not start has changed nothing.
        write(service, "keeps", version(2, starts=False))
        until_reason(service, "keeps", "said no")
        assert run(service, "keeps") == {"a": 1, "b": 2}
        write(service, "keeps", version(2))
        answers(service, "keeps", {"new a": [1, 1], "new b": [1, 2]})
        service.kill()
        service.start()
        until(service, "keeps", state="running")
        assert run(service, "keeps") == {"new a": [1, 1], "new b": [1, 2]}
        # Going back would read what it does not know.
        write(service, "keeps", version(1))
        until_reason(service, "keeps", "of version 2")
        assert run(service, "keeps") == {"new a": [1, 1], "new b": [1, 2]}


_INSTALLED = """
raise RuntimeError("nobody imports this in the service")
"""


def _install(site: Path, distribution: str, package: str, points: dict[str, str]) -> None:
    """As an installer does: files, and a list of them beside the entry points."""
    info = site / f"{distribution}-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[mltb.plugins]\n{lines}\n")
    root = site / package
    files = [each.relative_to(site).as_posix() for each in root.rglob("*") if each.is_file()]
    names = [*files, f"{info.name}/METADATA", f"{info.name}/entry_points.txt"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))


def test_plugins_of_installed_packages_wait_for_the_operator(tmp_path: Path) -> None:
    site = tmp_path / "site"
    root = folder(site / "acme", "alerts", counts("installed"), 'id = "acme_alerts"\n')
    folder(site / "acme", "other", counts("other"), 'id = "counts"\n')
    for package in (site / "acme", root):
        (package / "__init__.py").write_text(_INSTALLED)
    _install(
        site,
        "acme",
        "acme",
        {"acme_alerts": "acme.alerts", "counts": "acme.other", "nothing": "acme.nothing"},
    )
    service = Service(tmp_path, PYTHONPATH=str(site))
    write(service, "counts", counts("mine"))
    with service:
        found = until(service, "acme_alerts", state="disabled")
        assert "acme" in found["reason"]
        clash = until(service, "counts", state="failed")["reason"]
        assert "acme" in clash
        assert str(service.plugins) in clash
        assert "acme/nothing/plugin.toml" in until(service, "nothing", state="failed")["reason"]
        assert service.run("plugins", "enable", "acme_alerts").status == 0
        assert run(service, "acme_alerts") == "installed"
        service.terminate()
        service.start()
        until(service, "acme_alerts", state="running")
        # The operator's word was about that one, and not about whoever has the name next.
        service.terminate()
        (site / "acme-1.0.0.dist-info").rename(site / "evil-1.0.0.dist-info")
        metadata = site / "evil-1.0.0.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text().replace("acme", "evil"))
        service.start()
        assert "evil" in until(service, "acme_alerts", state="disabled")["reason"]


def test_names_that_nobody_can_show_are_refused(tmp_path: Path) -> None:
    service = Service(tmp_path)
    folder(service.plugins, "named", counts("named"), 'id = "named"\n')
    Path(os.fsdecode(os.fsencode(service.plugins / "named") + b"/\xff.txt")).write_text("")
    Path(os.fsdecode(os.fsencode(service.plugins) + b"/b\xff\x1b.py")).write_text("")
    with service:
        assert "\\udcff.txt" in until(service, "named", state="failed")["reason"]
        assert "no name of a plugin" in until(service, "b\\udcff\\x1b", state="failed")["reason"]
        assert "\x1b" not in service.run("plugins", "list").out


def test_an_extension_of_messagepack_is_a_violation() -> None:
    answer = msgspec.msgpack.encode(["answer", 1, msgspec.msgpack.Ext(5, b"x")])
    frame, splitter = len(answer).to_bytes(4, "big") + answer, wire.Splitter()
    splitter.room[: len(frame)] = frame
    with pytest.raises(wire.Violation, match="extension of type 5"):
        splitter.took(len(frame))

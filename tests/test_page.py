"""The files of the page: what is vendored, how they are served, how much the first view weighs."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Message

from bot.errors import InvalidInput
from bot.web.pages import router
from tests.stepping import Bench

_STATIC = Path(__file__).parents[1] / "bot/web/static"
_VENDOR = _STATIC / "vendor"
_BUDGET = 150 * 1024


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def content(self) -> bytes:
        packed = self.headers.get("content-encoding") == "gzip"
        return gzip.decompress(self.raw) if packed else self.raw

    @property
    def text(self) -> str:
        return self.content.decode()


class Server:
    """The static files, without a network."""

    def __init__(self) -> None:
        self._app = FastAPI()
        self._app.state.served = SimpleNamespace(dashboard=True)
        self._app.include_router(router)

    async def get(self, path: str, **headers: str) -> Answer:
        headers = {"accept_encoding": "gzip", **headers}
        answer = Answer(0, {}, b"")
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                answer.raw += message.get("body", b"")

        await self._app(scope, receive, send)
        return answer

    async def assets(self) -> list[str]:
        """All that the page loads by itself."""
        text = (await self.get("/api/v3/dashboard")).text
        return sorted(set(re.findall(r'"(/api/v3/static/[^"]+)"', text)))


@pytest.fixture
def server() -> Server:
    return Server()


def test_what_is_vendored_is_what_the_list_says() -> None:
    listed = json.loads((_VENDOR / "vendor.json").read_text())
    for entry in listed:
        assert set(entry) == {"package", "version", "licence", "file", "sha256"}
        assert entry["version"] in entry["file"]
        found = hashlib.sha256((_VENDOR / entry["file"]).read_bytes()).hexdigest()
        assert found == entry["sha256"], entry["file"]
    names = {path.name for path in _VENDOR.iterdir()} - {"vendor.json"}
    assert names == {entry["file"] for entry in listed}


def test_what_is_vendored_is_what_checks_the_page() -> None:
    versions = json.loads((_STATIC.parents[2] / "tools/web/package.json").read_text())
    checked = versions["devDependencies"]
    for entry in json.loads((_VENDOR / "vendor.json").read_text()):
        assert checked.get(entry["package"], entry["version"]) == entry["version"]


async def test_the_first_view_fits_its_budget(server: Server) -> None:
    assets = await server.assets()
    charts = [f"/api/v3/static/vendor/{name.name}" for name in _VENDOR.glob("uplot-*")]
    assert len(charts) == 2
    weight = 0
    for path in ["/api/v3/dashboard", *assets, *charts]:
        answer = await server.get(path)
        assert answer.status == 200, path
        weight += len(answer.raw)
    assert 20_000 < weight <= _BUDGET


async def test_files_are_kept_by_version_and_compressed(server: Server) -> None:
    assets = await server.assets()
    path = next(path for path in assets if path.endswith("/app/main.js"))
    answer = await server.get(path)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["vary"]
    plain = await server.get(path, accept_encoding="identity")
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content == (_STATIC / "app/main.js").read_bytes()
    known = await server.get(path, if_none_match=answer.headers["etag"])
    assert (known.status, known.content) == (304, b"")
    bare = await server.get("/api/v3/static/app/main.js")
    assert (bare.headers["cache-control"], bare.content) == ("no-cache", plain.content)


async def test_the_policy_knows_the_import_map_and_nothing_inline(server: Server) -> None:
    answer = await server.get("/api/v3/dashboard")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    inline = re.findall(r"<script(?![^>]*src=)[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    assert len(inline) == 1
    for name in json.loads(inline[0])["imports"].values():
        assert (await server.get(name)).status == 200
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style", answer.text)
    known = await server.get("/api/v3/dashboard", if_none_match=answer.headers["etag"])
    assert known.status == 304


def test_no_module_writes_markup_from_text() -> None:
    for path in (_STATIC / "app").glob("*.js"):
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path.name
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", " eval("):
            assert way not in text, (path.name, way)
        assert not re.search(r"<[a-z]+[^>`]*\sstyle=\"", text), path.name
        assert gzip.compress(text.encode())  # it is text


def test_the_steps_of_the_form_are_those_of_the_service(tmp_path: Path) -> None:
    text = (_STATIC / "app/stepslist.js").read_text()
    text = text[text.index("BUILT_IN =") + 10 :].strip().rstrip(";")
    listed: dict[str, list[dict[str, Any]]] = json.loads(text)
    steps = Bench(tmp_path).steps
    assert set(listed) == set(steps)
    for name, fields in listed.items():
        needed = {"convert": {"video": "mp4"}}.get(name, {})
        needed |= {field["name"]: _sample(field) for field in fields if field.get("needed")}
        for field in fields:
            for choice in field.get("choices", [_sample(field)]):
                # What the form offers is taken; what it does not know would be refused.
                steps[name].check(needed | {field["name"]: choice})
        with pytest.raises(InvalidInput):
            steps[name].check(needed | {"no such parameter": 1})


def _sample(field: dict[str, Any]) -> Any:
    kinds = {"number": field.get("least"), "flag": True, "text": "a", "secret": "a", "list": ["a"]}
    return field.get("choices", [field.get("example", kinds[field["kind"]])])[0]

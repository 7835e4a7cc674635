"""The plugins in ``plugins/examples``: in the real sandbox of a real service, with real peers."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bot.cli.client import ServiceError
from bot.plugins.manifest import Package, discover
from tests.servers.http import HttpServer
from tests.servers.rclone import Serve
from tests.servers.routes import Literal, Resource
from tests.serving import Json, Service, eventually, sha256, visible

EXAMPLES = Path(__file__).resolve().parents[1] / "plugins/examples"
MIB = 1024 * 1024


class Peer:
    """Keeps the requests that come: method, path, body. ``answers`` are given before the 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.url = ""


@contextmanager
def peer() -> Iterator[Peer]:
    """A web server on loopback that takes everything."""
    found = Peer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.requests.append((self.command, self.path, body))
            status, headers = found.answers.pop(0) if found.answers else (200, {})
            self.send_response(status)
            for name, value in (headers | {"Content-Length": "0"}).items():
                self.send_header(name, value)
            self.end_headers()

        do_PUT = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def install(service: Service, name: str) -> None:
    """As an operator does it: copy the folder."""
    shutil.copytree(EXAMPLES / name, service.plugins / name)


def state(service: Service, name: str) -> str:
    """How a plugin is; empty while it is not known."""
    found = {each["id"]: each["state"] for each in service.client.get("/plugins/list")["items"]}
    return str(found.get(name, ""))


def configure(service: Service, name: str, **config: Any) -> None:
    """Configure it, and grant it the hosts that this names."""
    eventually(lambda: state(service, name) == "failed", lambda: service.log)
    service.client.post("/plugins/config", {"plugin_name": name, "config": config})
    assert state(service, name) == "refused"
    service.client.post("/plugins/enable", {"plugin_name": name, "grant": True})
    assert state(service, name) == "running"


def lines(service: Service, name: str) -> list[str]:
    """What it wrote."""
    found: list[str] = service.client.get(f"/plugins/{name}/logs")["items"]
    return found


def test_alerts_go_to_discord_and_to_slack(tmp_path: Path) -> None:
    service = Service(tmp_path, ALERT_GROUP_WAIT="0")
    install(service, "discord_alert")
    with peer() as hook, service:
        configure(service, "discord_alert", webhook_url=f"{hook.url}/api/webhooks/1/token")
        hook.answers = [(429, {"Retry-After": "0.01"})]
        alert = {"title": "Smoke", "message": "see *this* @everyone " + "x" * 3000}
        service.client.post("/alerts/trigger", {**alert, "severity": "critical"})
        eventually(lambda: len(hook.requests) == 2, lambda: service.log)
        refused, taken = hook.requests
        assert refused == taken
        message = json.loads(taken[2])
        (embed,) = message["embeds"]
        assert embed["title"] == "Smoke"
        assert embed["description"].startswith(r"see \*this\* @")
        assert len(embed["description"]) <= 2000
        assert message["allowed_mentions"] == {"parse": []}
        # Another host is another right; the same host with another path is not.
        url = f"{hook.url}/services/T0/B0/token"
        config = {"webhook_url": url, "format": "slack"}
        service.client.post("/plugins/config", {"plugin_name": "discord_alert", "config": config})
        eventually(lambda: bool(channels(service)), lambda: service.log)
        service.client.post("/alerts/channels/plugin:discord_alert/test")
        method, path, body = hook.requests[2]
        assert (method, path) == ("POST", "/services/T0/B0/token")
        assert json.loads(body)["blocks"][0]["text"]["text"] == "[test] mltb"
        hook.answers = [(404, {})]
        with pytest.raises(ServiceError, match="answered 404") as refusal:
            service.client.post("/alerts/channels/plugin:discord_alert/test")
        assert "token" not in str(refusal.value)


def channels(service: Service) -> list[Json]:
    """The channels of alerts."""
    found: list[Json] = service.client.get("/alerts/channels")["items"]
    return found


def test_readings_go_to_a_pushgateway(tmp_path: Path) -> None:
    service = Service(tmp_path, METRICS_SAMPLE_INTERVAL="1")
    install(service, "pushgateway_monitor")
    with peer() as gateway, service:
        configure(service, "pushgateway_monitor", gateway=gateway.url, instance="a/b")
        eventually(lambda: bool(gateway.requests), lambda: service.log)
        method, path, body = gateway.requests[0]
        assert (method, path) == ("PUT", "/metrics/job/mltb/instance@base64/YS9i")
        text = body.decode()
        assert "# TYPE mltb_tasks_done_total counter\nmltb_tasks_done_total 0.0\n" in text
        assert "\nmltb_uptime_seconds " in text
        eventually(lambda: gauge(service, "pushed") >= 1, lambda: service.log)
        assert gauge(service, "last_push") > 1e9


def gauge(service: Service, name: str) -> float:
    """A gauge of the plugin; 0 while there is none."""
    items = service.client.get("/metrics/current")["items"]
    found = {each["name"]: each["value"] for each in items}
    return float(found.get(f"plugin:pushgateway_monitor:{name}", 0))


def test_backups_go_to_s3(tmp_path: Path) -> None:
    bucket = tmp_path / "s3" / "bucket"
    bucket.mkdir(parents=True)
    service = Service(tmp_path / "service", BACKUP_VERIFY="false")
    install(service, "s3_backup")
    with Serve("s3", tmp_path / "s3") as server, service:
        access = {"access_key": server.user, "secret_key": server.password}
        where = {"endpoint": server.endpoint, "bucket": "bucket", "prefix": "mltb/"}
        configure(service, "s3_backup", **where, **access)
        for size in (0, 17 * MIB):
            # It keeps something, which is in the next backup.
            (service.data / "plugins/state/s3_backup/kept").write_bytes(os.urandom(size))
            made = service.client.post("/backups/create", {"wait": 50})
            (copy,) = made["copies"]
            assert copy["done"], copy["error"]
            stored = bucket / "mltb" / made["name"]
            eventually(stored.exists, lambda: server.output)
            assert stored.stat().st_size == made["size"]
            assert sha256(stored) == sha256(service.data / "backups" / made["name"])
        assert made["size"] > 17 * MIB
        wrong = {**where, **access, "secret_key": "wrong"}
        service.client.post("/plugins/config", {"plugin_name": "s3_backup", "config": wrong})
        (copy,) = service.client.post("/backups/create", {"wait": 50})["copies"]
        assert "answered 403" in copy["error"]
        assert server.password not in service.log


def logic(name: str) -> Any:
    """The module of an example, without a sandbox."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / name / "plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_AT = "http://example.org/pub/films/"


_PAGES = {
    "nginx": """
        <html><head><title>Index of /pub/films/</title></head><body><hr><pre><a href="../">../</a>
        <a href="a%20b.mkv">a b.mkv</a>  01-Jan-2025 10:00  12
        <a href="more/">more/</a>  01-Jan-2025 10:00  -
        </pre><hr></body></html>""",
    "apache": """
        <table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Size</a></th></tr>
        <tr><td><a href="/pub/">Parent Directory</a></td></tr>
        <tr><td><img alt="[VID]"><a href="a%20b.mkv">a b.mkv</a></td></tr>
        <tr><td><a href="more/">more/</a></td></tr></table>""",
    "lighttpd": """
        <tbody><tr class="d"><td class="n"><a href="../">..</a>/</td></tr>
        <tr><td class="n"><a href="a%20b.mkv">a b.mkv</a></td></tr>
        <tr class="d"><td class="n"><a href="more/">more</a>/</td></tr></tbody>""",
    "caddy": """
        <div class="breadcrumbs"><a href="../../">/</a><a href="../">pub</a></div>
        <a href="./?sort=name&order=desc">Name</a><a href="./a%20b.mkv">a b.mkv</a>
        <a href="./more/">more</a><footer><a href="https://caddyserver.com">Caddy</a></footer>""",
    "one that wants out": """
        <a href="a%20b.mkv"></a><a href="%2e%2e/secret"></a><a href="more/../../x"></a>
        <a href="http://example.org:8080/pub/films/y"></a><a href="//other.org/pub/films/z"></a>
        <a href="http://user@example.org/pub/films/w"></a><a href="http://[/"></a>
        <a href="javascript:x"></a><a href="#top"></a><a href="more/"></a><a href="more/"></a>""",
}


@pytest.mark.parametrize("server", list(_PAGES))
def test_listings_of_web_servers(server: str) -> None:
    found = logic("index_listing").children(_AT, _PAGES[server])
    assert found == [_AT + "a%20b.mkv", _AT + "more/"]


class Listing(SimpleHTTPRequestHandler):
    """The files of a directory, and pages that list them."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_listing_page_is_a_source(tmp_path: Path) -> None:
    root = tmp_path / "www"
    for name in ("pub/a b.bin", "pub/more/c.bin", "pub/more/deep/d.bin", "secret.bin"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    handler = functools.partial(Listing, directory=str(root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site = f"http://127.0.0.1:{server.server_address[1]}/pub/"
    service = Service(tmp_path / "service")
    install(service, "index_listing")
    try:
        with service:
            configure(service, "index_listing", sites=[site])
            assert links(service, site) == [
                f"{site}a%20b.bin",
                f"{site}more/c.bin",
                f"{site}more/deep/d.bin",
            ]
            assert links(service, site.removesuffix("pub/")) is None
            assert links(service, f"{site}a%20b.bin") is None
            first = service.fetch(site)
            assert first["state"] == "done", first
            eventually(
                lambda: {"a b.bin", "c.bin", "d.bin"} <= set(visible(service.files)),
                lambda: str(visible(service.files)),
            )
            config = {"sites": [site], "max_depth": 1, "max_files": 1}
            service.client.post(
                "/plugins/config", {"plugin_name": "index_listing", "config": config}
            )
            with pytest.raises(ServiceError, match="more than 1 files"):
                links(service, site)
    finally:
        server.shutdown()
        server.server_close()


def links(service: Service, link: str) -> Any:
    """What the plugin makes of a link."""
    asked = {"plugin_name": "index_listing", "data": {"link": link}}
    return service.client.post("/plugins/execute", asked)["result"]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("Some.Film.2019.1080p.x264.mkv", "Some Film (2019).mkv"),
        (
            "dir/Blade Runner 2049 (2017) [4K].MP4",
            "Blade Runner 2049 (2017).mp4",
        ),
        ("some_show-s01e02.en.srt", "some show S01E02.en.srt"),
        ("Show.Name.3x07.Title.avi", "Show Name S03E07.avi"),
        ("2049.2017.mkv", "2049 (2017).mkv"),
        ("holiday.mkv", None),
        ("Some.Film.2019.nfo", None),
        ("x264.1080p.mkv", None),
    ],
)
def test_names_of_films_and_episodes(path: str, wanted: str | None) -> None:
    manifest = tomllib.loads((EXAMPLES / "media_renamer/plugin.toml").read_text())
    patterns = {name: each["default"] for name, each in manifest["config"]["properties"].items()}
    assert logic("media_renamer").new_path(path, patterns) == wanted


def test_examples_are_whole_and_run_only_where_they_are_copied_to() -> None:
    assert discover(EXAMPLES.parent) == []
    found = discover(EXAMPLES)
    assert len(found) == 5
    assert all(isinstance(each, Package) for each in found)
    text = (EXAMPLES.parent / "README.md").read_text()
    for each in found:
        assert f"| `{each.id}` | " in text


def test_a_film_is_renamed_on_its_way(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path)
    install(service, "media_renamer")
    film = Resource(Literal(b"film" * 1000))
    with service:
        eventually(lambda: state(service, "media_renamer") == "running", lambda: service.log)
        for name, params in (
            ("Some.Film.2019.1080p.mkv", {}),
            ("some_show-s01e02.mkv", {"episode": "{title} {season}-{episode}"}),
            ("holiday.mkv", {}),
        ):
            steps = [{"name": "media_renamer", "params": params}]
            done = service.fetch(http_server.add(f"/{name}", film), steps=steps)
            assert done["state"] == "done"
        assert visible(service.files) == [
            "Some Film (2019).mkv",
            "holiday.mkv",
            "some show 1-2.mkv",
        ]

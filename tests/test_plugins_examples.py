"""The plugins in ``plugins/examples``: in the real sandbox of a real service, with real peers."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bot.cli.client import ServiceError
from tests.servers.rclone import Serve
from tests.serving import Json, Service, eventually, sha256

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

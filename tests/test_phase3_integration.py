"""The implementation guide, held to its word: each line of its five checklists is a test of that
name, and each of its blocks is run, as it is printed wherever that can be run.

``tests/guide.py`` has the blocks; ``docs/phase3-guide.md`` tells of the differences.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import strawberry
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bot.app import here, running
from bot.config import Settings, load
from bot.core import graphql_api
from bot.core.plugin_manager import PluginManager, plugin_manager
from bot.lock import Doorplate
from bot.services import OWNER
from tests import guide, plugging
from tests.rig import ManualClock
from tests.servers.collector import Collector
from tests.servers.ports import free_port
from tests.serving import PATIENCE, Json, Service, eventually

ROOT = Path(__file__).resolve().parents[1]
LIVE = "/api/v3/ws/live-metrics"
#: The blocks of the guide that are settings.
CONFIGS = {
    name: getattr(guide, name)
    for name in (
        "STEP_2_CONFIG",
        "REDIS_CONFIG",
        "GRAPHQL_SECURITY",
        "PLUGIN_SECURITY",
        "DASHBOARD_SECURITY",
        "TUNED_QUERIES",
        "TUNED_PLUGINS",
        "TUNED_DASHBOARD",
    )
}


@dataclass
class Place:
    """Something that serves HTTP, and a token for it."""

    url: str
    token: str

    def ask(
        self, method: str, path: str, body: Json | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers (in lower case) of an answer. ``authorization=""`` for none."""
        host = urlsplit(self.url).netloc
        given = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        sent = {name: value for name, value in (given | headers).items() if value}
        connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content, {k.lower(): v for k, v in response.getheaders()}

    def get(self, path: str) -> Any:
        """The JSON of a good answer."""
        status, body, _ = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def status(self, path: str, method: str = "GET") -> int:
        return self.ask(method, path)[0]

    def graphql(self, query: str) -> Json:
        """``data`` and ``errors``."""
        found: Json = json.loads(self.ask("POST", "/graphql", {"query": query})[1])
        return found

    def live(self, token: str | None = None) -> ClientConnection:
        """A client of the live metrics."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return connect(self.url.replace("http", "ws", 1) + LIVE, additional_headers=headers)


def _place(service: Service) -> Place:
    token = Doorplate(service.data).token
    assert token is not None
    return Place(service.url, token)


def _service(directory: Path, config: str, plugins: dict[str, str]) -> Service:
    """With that as its ``config.py``."""
    service = Service(directory)
    (service.home / "config.py").write_text(config)
    for name, code in plugins.items():
        plugging.write(service, name, code)
    return service


@dataclass
class Guided:
    """A service as the guide sets it up, and where its metrics go."""

    service: Service
    place: Place
    collector: Collector
    datadog: socket.socket


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guided]:
    """Step 2 of the guide, and everything that its checklists turn on."""
    with (
        Collector() as collector,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datadog,
    ):
        datadog.bind(("127.0.0.1", 0))
        datadog.settimeout(PATIENCE)
        more = f"""
            ENABLE_LIVE_METRICS = True
            AUTO_LOAD_PLUGINS = True
            INDEX_HOT_QUERIES = True
            DASHBOARD_REFRESH = 1
            EXTERNAL_METRICS_URL = {collector.url!r}
            DATADOG_ENABLED = True
            DOGSTATSD_PORT = {datadog.getsockname()[1]}
            METRICS_BATCH_INTERVAL = 1
            METRICS_BATCH_SIZE = 50
            GRAPHQL_SECURITY["max_queries_per_minute"] = 10000
        """
        config = guide.STEP_2_CONFIG + textwrap.dedent(more)
        with _service(tmp_path_factory.mktemp("guided"), config, guide.PLUGINS) as service:
            yield Guided(service, _place(service), collector, datadog)


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each switch of step 2, turned the other way."""
    config = guide.STEP_2_CONFIG.replace("True", "False")
    with _service(tmp_path_factory.mktemp("off"), config, guide.PLUGINS) as service:
        yield _place(service)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The guide's security for GraphQL and plugins, and the switches within GraphQL, plugins and
    the dashboard off."""
    config = f"""{guide.GRAPHQL_SECURITY}\n{guide.PLUGIN_SECURITY}
ENABLE_QUERY_OPTIMIZATION = False
QUERY_CACHE_ENABLED = False
AUTO_LOAD_PLUGINS = False
ENABLE_LIVE_METRICS = False
"""
    plugins = {
        "my_custom_plugin": guide.PLUGIN_TEMPLATE,
        "reaching": f"import json, socket\n{guide.PLUGIN_TEMPLATE}",
    }
    with _service(tmp_path_factory.mktemp("strict"), config, plugins) as service:
        yield service


# Step 3: an application that is not ours


def _foreign_code() -> str:
    """Step 3 within the startup of an application, where ``await`` may stand, with ``graphql_app``
    in place of the package that can't know our service."""
    block = guide.STEP_3_STARTUP.replace(
        "from starlette_graphene import graphene_app",
        "from bot.core.graphql_api import graphql_app",
    ).replace("graphene_app(schema)", "graphql_app")
    return f"""
from contextlib import asynccontextmanager
from fastapi import FastAPI
from bot.core.enhanced_startup_phase3 import shutdown_phase3_services

@asynccontextmanager
async def lifespan(app):
{textwrap.indent(block, "    ")}
    yield
    await shutdown_phase3_services()

app = FastAPI(lifespan=lifespan)

@app.get("/mine")
async def mine():
    return {{"whose": "mine"}}
"""


@dataclass
class Foreign:
    """An application that is not ours, with our service in it."""

    place: Place
    said: Callable[[], str]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    """Under a real uvicorn, in a directory with a ``config.py`` and ``plugins``."""
    home, port = tmp_path_factory.mktemp("foreign"), free_port()
    (home / "theirs.py").write_text(_foreign_code())
    (home / "config.py").write_text(f"{guide.STEP_2_CONFIG}\nTORRENT_DHT = False\n")
    (home / "plugins").mkdir()
    (home / "plugins" / "my_custom_plugin.py").write_text(guide.PLUGIN_TEMPLATE)
    log = home / "uvicorn.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "theirs:app", "--port", str(port)],
            cwd=home,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(
            lambda: "Uvicorn running on" in log.read_text() or process.poll() is not None,
            log.read_text,
        )
        assert process.poll() is None, log.read_text()
        token = Doorplate(home / "data").token
        assert token is not None
        yield Foreign(Place(f"http://127.0.0.1:{port}", token), log.read_text)
        process.terminate()
        assert process.wait(PATIENCE) in {0, -15}, log.read_text()
        # It took the service along.
        assert "Application shutdown complete" in log.read_text(), log.read_text()
        assert Doorplate(home / "data").address() is None
    finally:
        process.kill()
        process.wait()


# What the tests share


def _config(directory: Path, text: str, **environ: str) -> Settings:
    (directory / "config.py").write_text(text)
    return load(environ, directory).settings


def _apart(directory: Path, text: str = "") -> Settings:
    """Settings for a service in this process."""
    return _config(directory, f"TORRENT_DHT = False\n{text}", **_places(directory))


def _places(directory: Path) -> dict[str, str]:
    names = {"DATA_DIR": "data", "DOWNLOAD_DIR": "files", "PLUGINS_DIR": "plugins"}
    return {name: str(directory / place) for name, place in names.items()}


async def _ask(query: str) -> Json:
    found = await graphql_api.execute(query)
    assert "errors" not in found, found
    data: Json = found["data"]
    return data


async def _stats() -> Json:
    found: Json = (await _ask("{ cacheStats { enabled hits misses hitRatio } }"))["cacheStats"]
    return found


def _page(place: Place) -> str:
    """The page of metrics, for Prometheus."""
    status, body, _ = place.ask("GET", "/metrics")
    assert status == 200
    return body.decode()


#: Of a size that is refused, so that nothing but reading it takes time.
_WIDE = " ".join(f"a{n}: tasks(first: 500) {{ nodes {{ id name state }} }}" for n in range(25))


def _seconds_to_read(place: Place) -> float:
    """How long a large document takes that is refused once it is read and checked: the least of
    several tries, without what a connection costs."""
    best = float("inf")
    for _ in range(7):
        begun = time.perf_counter()
        assert place.graphql(f"{{ {_WIDE} }}")["errors"]
        whole = time.perf_counter() - begun
        begun = time.perf_counter()
        place.graphql("{ viewer { user } }")
        best = min(best, max(whole - (time.perf_counter() - begun), 1e-6))
    return best


class TestGraphQLAPI:
    """The checklist of the GraphQL API."""

    @pytest.mark.parametrize(
        "name", ["requirements-phase3.txt", "requirements-phase3.txt[datadog]"]
    )
    def test_install_dependencies(self, name: str) -> None:
        assert f"pip install -r {name}" in guide.INSTALL.splitlines()
        # This environment was made from the lock: whatever the file wants has to be in it.
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-r", name],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Would install" not in done.stdout
        for each in ("strawberry-graphql", "fastapi", "datadog", "pytest"):
            assert f"satisfied: {each}" in done.stdout, each

    def test_set_enable_graphql_api_true(self, guided: Guided, off: Place) -> None:
        assert "data" in guided.place.graphql("{ viewer { user } }")
        assert off.ask("POST", "/graphql", {"query": "{ viewer { user } }"})[0] == 404

    def test_mount_graphql_endpoint(self, foreign: Foreign) -> None:
        for path in ("/graphql", "/graphql/"):
            status, body, _ = foreign.place.ask("POST", path, {"query": "{ viewer { user } }"})
            assert (status, json.loads(body)["data"]["viewer"]) == (200, {"user": "admin"})
        assert isinstance(graphql_api.schema, strawberry.Schema)

    def test_test_with_post_graphql(self, guided: Guided) -> None:
        query = {"query": "{ tasks(first: 5) { nodes { id } } systemStatus { version } }"}
        status, body, headers = guided.place.ask("POST", "/graphql", query)
        assert (status, json.loads(body)["data"]["tasks"]) == (200, {"nodes": []})
        assert "json" in headers["content-type"]
        assert guided.place.ask("POST", "/graphql", query, authorization="")[0] == 401

    def test_access_introspection_at_get_graphql_query_schema(self, guided: Guided) -> None:
        path = f"/graphql?query={quote('{__schema{queryType{name}}}')}"
        found = guided.place.get(path)
        assert found == {"data": {"__schema": {"queryType": {"name": "Query"}}}}

    def test_enable_disable_introspection_based_on_environment(
        self, guided: Guided, strict: Service, tmp_path: Path
    ) -> None:
        asked = "{ __schema { queryType { name } } }"
        assert "data" in guided.place.graphql(asked)
        refused = _place(strict).graphql(asked)
        assert "introspection" in refused["errors"][0]["message"].lower()
        # The environment decides over the file.
        assert _config(tmp_path, guide.GRAPHQL_SECURITY).graphql_introspection is False
        over = _config(tmp_path, guide.GRAPHQL_SECURITY, GRAPHQL_INTROSPECTION="true")
        assert over.graphql_introspection is True

    def test_configure_rate_limiting_100_queries_min(self, strict: Service) -> None:
        body = {"name": "often", "scope": "view", "user": "somebody"}
        often = Place(strict.url, strict.client.post("/tokens", body)["secret"])
        query = {"query": "{ viewer { user } }"}
        statuses = [often.ask("POST", "/graphql", query)[0] for _ in range(101)]
        assert statuses[:100] == [200] * 100
        status, _, headers = often.ask("POST", "/graphql", query)
        assert status == 429
        assert 0 < int(headers["retry-after"]) <= 60


class TestPluginSystem:
    """The checklist of the plugins, and the guide's plugins."""

    def test_set_enable_plugin_system_true(self, guided: Guided, off: Place) -> None:
        assert guided.place.get("/api/v3/plugins/list")["items"]
        status, body, _ = off.ask("GET", "/api/v3/plugins/list")
        assert (status, json.loads(body)["code"]) == (503, "unavailable")

    def test_create_plugins_directory(self, foreign: Foreign) -> None:
        # In the working directory, by its default name.
        def states() -> dict[str, str]:
            items = foreign.place.get("/api/v3/plugins/list")["items"]
            return {each["id"]: each["state"] for each in items}

        eventually(lambda: states() == {"my_custom_plugin": "running"}, lambda: str(states()))

    def test_create_sample_plugin(self, guided: Guided) -> None:
        service, name = guided.service, "my_custom_plugin"
        plugging.until(service, name)
        assert plugging.run(service, name, any="data") == {"status": "success"}
        plugging.until_said(service, name, f"Initializing {name}")
        service.client.post("/plugins/disable", {"plugin_name": name})
        eventually(lambda: f"Shutting down {name}" in service.log, lambda: service.log[-2000:])
        service.client.post("/plugins/enable", {"plugin_name": name})
        plugging.until(service, name)

    def test_set_auto_load_plugins_true(self, guided: Guided, strict: Service) -> None:
        plugging.until(guided.service, "my_custom_plugin")
        eventually(
            lambda: bool(strict.client.get("/plugins/list")["items"]), lambda: "no plugin is known"
        )
        for name in ("reaching",):
            assert plugging.plugin(strict, name)["state"] != "running"
            assert plugging.plugin(strict, name)["pid"] is None

    def test_test_plugin_loading(self, guided: Guided) -> None:
        service = guided.service
        kinds = {name: plugging.until(service, name)["type"] for name in guide.TYPED}
        assert list(kinds.values()) == ["backup", "alert", "monitor"]
        run = plugging.run
        assert run(service, "custom_backup_plugin", source_path="/a", backup_name="b") is True
        assert run(service, "custom_alert_plugin", alert_data={"title": "full"}) is True
        metrics = {"cpu_percent": 1.5}
        assert run(service, "custom_monitor_plugin", metrics=metrics) == metrics
        plugging.until(service, "configured")
        assert run(service, "configured") == {
            "api_key": "your_api_key",
            "endpoint": "https://api.example.com",
            "batch_size": 100,
        }

    async def test_register_custom_plugin_types(self, tmp_path: Path) -> None:
        (tmp_path / "plugins").mkdir()
        code = guide.PLUGIN_TEMPLATE.replace(
            "    async def initialize", "    type = 'reporter'\n\n    async def initialize", 1
        )
        (tmp_path / "plugins" / "my_custom_plugin.py").write_text(code)
        async with running(_apart(tmp_path)):
            await plugin_manager.started()
            (found,) = plugin_manager.list_plugins()
            assert (found.state, "reporter" in (found.reason or "")) == ("failed", True)
            plugin_manager.register_plugin_type("reporter")
            assert (await plugin_manager.load_plugin(found.id)).type == "reporter"

    def test_configure_plugin_security_settings(self, strict: Service) -> None:
        enable = {"plugin_name": "my_custom_plugin"}
        found = strict.client.post("/plugins/enable", enable)
        assert found["state"] == "running"
        assert found["tier"] not in {None, "none", "off"}
        assert plugging.run(strict, "my_custom_plugin") == {"status": "success"}
        status, body, _ = _place(strict).ask(
            "POST", "/api/v3/plugins/enable", {"plugin_name": "reaching"}
        )
        assert status >= 400 or json.loads(body)["state"] == "failed"
        assert "socket may not be imported" in plugging.plugin(strict, "reaching")["reason"]
        values = {line["name"]: line["value"] for line in strict.run("config", "--json").lines}
        assert values["PLUGIN_MEMORY_LIMIT"] == "256"
        assert values["PLUGIN_TIMEOUT"] == "300.0"
        assert values["PLUGIN_SECURITY__VERIFY_CHECKSUM"] == "True"

    async def test_the_block_that_triggers_plugins_from_tasks(self, tmp_path: Path) -> None:
        class Application:
            """What the block uses of a task queue."""

            def task(self, function: Any) -> Any:
                return function

        (tmp_path / "plugins").mkdir()
        (tmp_path / "plugins" / "my_custom_plugin.py").write_text(guide.PLUGIN_TEMPLATE)
        names: dict[str, Any] = {"celery_app": Application(), "plugin_manager": plugin_manager}
        # It awaits, so it has to be a coroutine.
        exec(guide.CELERY.replace("def run", "async def run"), names)
        async with running(_apart(tmp_path)):
            await plugin_manager.started()
            found = await names["run_plugin_task"]("my_custom_plugin", {"a": 1})
        assert found == {"status": "success"}
        assert isinstance(plugin_manager, PluginManager)


class TestAdvancedDashboard:
    """The checklist of the dashboard."""

    def test_set_enable_advanced_dashboard_true(self, guided: Guided, off: Place) -> None:
        assert guided.place.status("/api/v3/dashboard") == 200
        assert guided.place.status("/") == 307
        assert [off.status(path) for path in ("/", "/api/v3/dashboard")] == [404, 404]
        assert off.status("/api/v3/sse/live-metrics") == 404
        with pytest.raises(InvalidStatus), off.live():
            pass
        assert off.get("/api/v3/tasks")["items"] == []

    def test_set_enable_live_metrics_true(self, guided: Guided, strict: Service) -> None:
        with guided.place.live() as client:
            assert json.loads(client.recv(PATIENCE))["type"] == "snapshot"
        place = _place(strict)
        with pytest.raises(InvalidStatus), place.live():
            pass
        assert place.status("/api/v3/sse/live-metrics") == 404
        assert place.status("/api/v3/dashboard") == 200

    def test_mount_dashboard_routes(self, foreign: Foreign) -> None:
        place = foreign.place
        assert place.get("/mine") == {"whose": "mine"}
        assert place.get("/api/v3/tasks")["items"] == []
        assert place.ask("GET", "/api/v3/tasks", authorization="")[0] == 401
        assert "/api/v3/tasks" in place.get("/openapi.json")["paths"]
        # What stands before the service's own port stands here too.
        assert place.ask("GET", "/api/v3/tasks")[2]["x-frame-options"] == "DENY"
        _expect_page(place)
        with place.live() as client:
            assert json.loads(client.recv(PATIENCE))["type"] == "snapshot"

    def test_access_at_api_v3_dashboard(self, guided: Guided) -> None:
        _expect_page(guided.place)

    def test_test_websocket_connection(self, guided: Guided) -> None:
        with pytest.raises(ConnectionClosed), guided.place.live("nobody") as client:
            client.recv(PATIENCE)
        with guided.place.live() as client:
            first, second = (json.loads(client.recv(PATIENCE)) for _ in range(2))
        assert first["type"] == "snapshot"
        assert first["metrics"]["uptime_seconds"] > 0
        assert second["seq"] > first["seq"]

    def test_configure_update_interval(self, guided: Guided) -> None:
        with guided.place.live() as client:
            assert json.loads(client.recv(PATIENCE))["interval"] == 1
            client.send('{"type": "interval", "seconds": 2}')
            kinds = []
            while "interval" not in kinds:
                message = json.loads(client.recv(PATIENCE))
                kinds.append(message["type"])
            assert message["seconds"] == 2

    def test_enable_disable_metrics(self, guided: Guided, off: Place) -> None:
        guided.place.get("/api/v3/tasks")
        assert "mltb_http_requests_total{" in _page(guided.place)
        assert "mltb_http_requests_total{" not in _page(off)
        # What the dashboard reads is there all the same.
        assert off.get("/api/v3/metrics/current")["items"]


def _expect_page(place: Place) -> None:
    """The page comes without a token, and so does everything that it names."""
    status, body, headers = place.ask("GET", "/api/v3/dashboard", authorization="")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = set(re.findall(r'(?:href|src)="(/[^"]+)"', body.decode()))
    assert named
    assert all(name.startswith("/api/v3/") for name in named), named
    for name in named:
        assert place.ask("GET", name, authorization="")[0] == 200, name


class TestPhase3Integration:
    """The checklists of performance and monitoring, the settings, the commands."""

    # Performance

    def test_set_enable_query_optimization_true(self, guided: Guided, strict: Service) -> None:
        kept = _seconds_to_read(guided.place)
        assert _seconds_to_read(_place(strict)) > 2 * kept

    def test_set_query_cache_enabled_true(self, guided: Guided, strict: Service) -> None:
        def hits(place: Place) -> tuple[bool, int]:
            for _ in range(3):
                place.graphql("query Often { tasks(first: 7) { nodes { id } } }")
            found = place.graphql("{ cacheStats { enabled hits } }")["data"]["cacheStats"]
            return found["enabled"], found["hits"]

        enabled, found = hits(guided.place)
        assert enabled
        assert found >= 2
        assert hits(_place(strict)) == (False, 0)

    async def test_configure_cache_ttl(self, tmp_path: Path) -> None:
        query = "{ tasks(first: 5) { nodes { id } } }"
        settings = _apart(tmp_path, "QUERY_CACHE_TTL = 1\nINDEX_HOT_QUERIES = False\n")
        async with running(settings), asyncio.timeout(PATIENCE):
            while (await _stats())["hits"] == 0:
                await _ask(query)
            # Nothing changes: it is the time alone that makes it ask anew.
            before = await _stats()
            while (await _stats())["misses"] == before["misses"]:
                await _ask(query)

    def test_monitor_cache_hit_rate(self, guided: Guided) -> None:
        for _ in range(3):
            guided.place.graphql("query Rate { tasks(first: 9) { nodes { id } } }")
        found = guided.place.graphql("{ cacheStats { hitRatio } }")["data"]["cacheStats"]
        assert 0 < found["hitRatio"] <= 1

    def test_profile_slow_queries(self, guided: Guided) -> None:
        (path,) = re.findall(r"^GET (\S+)$", guide.TUNED_QUERIES, re.MULTILINE)
        assert path == "/api/v3/profiler/slow-operations?threshold=1.0&limit=10"
        assert guided.place.get(path)["items"] == []
        (path,) = re.findall(r"^GET (\S+)$", guide.PROMETHEUS, re.MULTILINE)
        assert guided.place.get(path)["status"] == "ok"
        guided.place.graphql("query Slow { tasks(first: 3) { nodes { id } } }")
        items = guided.place.get(f"{path}?threshold=0&limit=500")["items"]
        assert "Slow" in json.dumps([item for item in items if "graphql.query" in str(item)])

    @pytest.mark.parametrize("renews", [True, False])
    async def test_enable_hot_query_indexing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renews: bool
    ) -> None:
        clock = ManualClock()
        monkeypatch.setattr("bot.app.service.SystemClock", lambda: clock)
        settings = _apart(tmp_path, f"INDEX_HOT_QUERIES = {renews}\nENABLE_PLUGIN_SYSTEM = False\n")
        async with running(settings) as app:
            for _ in range(4):
                await _ask("query Hot { tasks(first: 5) { nodes { id } } }")
            (hot,) = (await _ask("{ hotQueries(limit: 1) { operation count hits } }"))["hotQueries"]
            assert (hot["operation"], hot["count"]) == ("Hot", 4)
            assert hot["hits"] >= 2

            def made() -> int:
                found = app.services.profiling.stats(OWNER, "graphql.query")
                return sum(each.count for each in found.operations)

            before = made()
            # In the last tenth of its life an answer that is asked for is made anew.
            for _ in range(300):
                clock.advance(1.0)
                await asyncio.sleep(0)
                if made() > before:
                    break
            for _ in range(50):
                await asyncio.sleep(0)
            assert (made() > before) is renews

    # Monitoring

    def test_set_enable_advanced_metrics_true(self, guided: Guided, off: Place) -> None:
        guided.place.graphql("{ viewer { user } }")
        names = [
            set(re.findall(r"^# TYPE (\w+)", _page(each), re.MULTILINE))
            for each in (guided.place, off)
        ]
        assert names[0] > names[1]
        assert "mltb_graphql_operations" in " ".join(names[0] - names[1])

    def test_configure_external_metrics_endpoint_optional(self, guided: Guided) -> None:
        found = json.loads(guided.collector.arrived().body)
        assert {"name", "kind", "labels", "value"} <= found["points"][0].keys()

    def test_set_up_datadog_prometheus_export_optional(self, guided: Guided) -> None:
        assert guided.datadog.recv(65536).startswith(b"mltb")
        status, body, headers = guided.place.ask(
            "GET", "/metrics", accept="application/openmetrics-text"
        )
        assert (status, body.endswith(b"# EOF\n")) == (200, True)
        assert headers["content-type"].startswith("application/openmetrics-text")

    def test_configure_batch_settings(self, guided: Guided) -> None:
        sizes = [len(json.loads(guided.collector.arrived().body)["points"]) for _ in range(3)]
        assert max(sizes) == 50

    def test_monitor_metric_collection(self, guided: Guided) -> None:
        guided.collector.arrived()
        line = r'^mltb_export_points_total\{exporter="external",outcome="sent"\} ([1-9]\d*)'
        eventually(
            lambda: re.search(line, _page(guided.place), re.MULTILINE) is not None,
            lambda: _page(guided.place),
        )

    # The whole

    def test_the_startup_says_what_runs(self, foreign: Foreign) -> None:
        (line,) = re.findall(r"^Phase 3 Status: (.*)$", foreign.said(), re.MULTILINE)
        for name in ("graphql_api", "plugin_system", "advanced_dashboard", "live_metrics"):
            assert f"'{name}': {{'state': 'running', 'address': '/" in line
        for name in ("query_optimization", "metrics"):
            assert f"'{name}': {{'state': 'running'" in line

    @pytest.mark.parametrize("name", CONFIGS)
    def test_every_setting_of_the_guide_is_one_here(self, tmp_path: Path, name: str) -> None:
        # The line that is a request stands among settings in the guide.
        text = "\n".join(line for line in CONFIGS[name].splitlines() if not line.startswith("GET"))
        settings = _config(tmp_path, text)
        groups: dict[str, Any] = {
            group.upper(): {}
            for group in (
                "graphql_security",
                "plugin_security",
                "plugin_thresholds",
                "dashboard_security",
                "dashboard_thresholds",
            )
        }
        namespace: dict[str, Any] = {key: {} for key in groups}
        exec(text, namespace)
        wanted = {key: value for key, value in namespace.items() if key.isupper() and value != {}}
        assert wanted
        for key, value in wanted.items():
            found = getattr(settings, key.lower())
            if isinstance(value, dict):
                assert {each: getattr(found, each) for each in value} == value
            else:
                assert found == value, key

    @pytest.mark.parametrize("copied", [True, False])
    def test_the_file_of_all_settings_says_their_defaults(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
    ) -> None:
        name = "config_enhancements_phase3"
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        defaults = load({}).settings
        monkeypatch.syspath_prepend(str(ROOT))
        text = (ROOT / f"{name}.py").read_text() if copied else f"from {name} import *\n"
        (tmp_path / "empty" / "config.py").write_text(text)
        found = load({})
        assert found.settings.model_dump() == defaults.model_dump()
        assert found.origins["graphql_security__max_depth"] == "config.py"

    @pytest.mark.parametrize("block", ["COMPOSE", "KUBERNETES"])
    def test_the_settings_of_containers_are_taken(self, tmp_path: Path, block: str) -> None:
        pairs = re.findall(r'^ +([A-Z_]+): "(.*)"$', getattr(guide, block), re.MULTILINE)
        environ = dict(pairs)
        assert len(environ) >= 3
        settings = _config(tmp_path, "", **dict.fromkeys(environ, "false") | environ)
        assert str(settings.plugins_dir) == environ.pop("PLUGINS_DIR")
        assert all(getattr(settings, name.lower()) is True for name in environ)

    def test_the_tests_are_run_as_the_guide_says(self) -> None:
        commands = [
            line
            for block in (
                guide.STEP_4_TESTS,
                guide.UNIT_TESTS,
                guide.INTEGRATION_TESTS,
                guide.PERFORMANCE_TESTS,
            )
            for line in block.splitlines()
            if line and not line.startswith("#")
        ]
        assert len(commands) == 7
        # To collect them shows that each is understood; they run just now.
        words = [command.split() for command in (commands[0], commands[-1])]
        for program, *arguments in words:
            start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
            done = subprocess.run(
                [*start, *arguments, "--collect-only", "-q", "-p", "no:cacheprovider"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            for kind in (TestGraphQLAPI, TestPluginSystem, TestAdvancedDashboard):
                assert kind.__name__ in done.stdout
            assert ("test_benchmark" in done.stdout) is ("--benchmark" in arguments)

    def test_the_load_test_runs_as_the_guide_says(self) -> None:
        (command,) = [line for line in guide.LOAD_TESTS.splitlines() if line[0] != "#"]
        done = subprocess.run(
            [sys.executable, *command.split()[1:], "--seconds", "1", "--clients", "5"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^live: +5 clients, +\d+ messages", done.stdout, re.MULTILINE)
        assert re.search(r"^graphql: +\d+ answers, 0 failed", done.stdout, re.MULTILINE)

    def test_every_line_of_the_checklists_has_its_test(self) -> None:
        places: dict[str, type] = {
            "GraphQL API": TestGraphQLAPI,
            "Plugin System": TestPluginSystem,
            "Advanced Dashboard": TestAdvancedDashboard,
            "Performance Optimization": TestPhase3Integration,
            "Monitoring Integration": TestPhase3Integration,
        }
        assert [*places, "Deployment"] == [*guide.CHECKLISTS]
        missing = [
            (list_, line)
            for list_, kind in places.items()
            for line in guide.CHECKLISTS[list_]
            if not hasattr(kind, _name(line))
        ]
        assert missing == []

    def test_the_page_about_the_guide_leaves_nothing_out(self) -> None:
        page = (ROOT / "docs/phase3-guide.md").read_text()
        whole = "\n".join(CONFIGS.values())
        settings = set(re.findall(r"^([A-Z_]+)\b", whole, re.MULTILINE)) - {"GET"}
        settings |= set(re.findall(r"`([A-Z_]{8,}) = True`", str(guide.CHECKLISTS)))
        for block in (guide.COMPOSE, guide.KUBERNETES):
            settings |= set(re.findall(r'^ +([A-Z_]+): "', block, re.MULTILINE))
        assert [name for name in sorted(settings) if f"`{name}" not in page] == []
        assert [name for name in guide.FILES if f"`{name}" not in page] == []
        assert [
            name
            for name in guide.FILES
            if name not in guide.OF_OTHER_PHASES and not (ROOT / name).exists()
        ] == []
        words = [
            "starlette_graphene",
            "graphene_app(schema)",
            "graphql_app",
            "[datadog]",
            "--benchmark",
            "phase3_load_test.py",
            LIVE,
            "/api/v3/dashboard",
            "slow-operations",
        ]
        assert [word for word in words if word not in page] == []
        links = re.findall(r"\]\(([^)#:]+)\)", page)
        assert [link for link in links if not (ROOT / "docs" / link).exists()] == []

    async def test_the_example_of_that_page_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page = (ROOT / "docs/phase3-guide.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "config.py").write_text("TORRENT_DHT = False\n")
        names: dict[str, Any] = {}
        exec(code, names)
        async with names["lifespan"](names["app"]):
            assert "'graphql_api': {'state': 'running'" in capsys.readouterr().out
        assert here() is None

    @pytest.mark.benchmark
    def test_benchmark_a_kept_answer_and_one_made_anew(
        self, guided: Guided, strict: Service, compared: Callable[[str, float], None]
    ) -> None:
        query = "query Many { tasks(first: 100) { nodes { id name state } } }"

        def seconds(place: Place) -> float:
            begun = time.perf_counter()
            place.graphql(query)
            return time.perf_counter() - begun

        made, kept = (
            min(seconds(place) for _ in range(20)) for place in (_place(strict), guided.place)
        )
        compared("an answer made anew beside one that is kept", made / kept)
        assert made > kept


def _name(line: str) -> str:
    """That of the test of a line."""
    return "test_" + re.sub(r"[^a-z0-9]+", "_", line.lower()).strip("_")

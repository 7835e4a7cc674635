"""A whole service in the process of somebody else's application, started as the guide says."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.types import Message

from bot.app import here, running
from bot.cli.client import Client
from bot.config import load
from bot.core import advanced_dashboard
from bot.core.enhanced_startup_phase3 import initialize_phase3_services, shutdown_phase3_services
from bot.core.plugin_manager import plugin_manager
from bot.errors import ConfigError
from bot.lock import Doorplate, InstanceLock


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A working directory with settings; whatever a test started in it is stopped."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_text("TORRENT_DHT = False\nENABLE_QUERY_OPTIMIZATION = False\n")
    yield tmp_path
    await shutdown_phase3_services()


async def test_it_says_what_runs_and_stops_all_of_it(place: Path) -> None:
    status = await initialize_phase3_services()
    assert {name: part["state"] for name, part in status.items()} == {
        "service": "running",
        "graphql_api": "running",
        "plugin_system": "running",
        "advanced_dashboard": "running",
        "live_metrics": "running",
        "query_optimization": "off",
        "metrics": "running",
    }
    assert status["service"]["address"] == f"unix:{place / 'data' / 'mltb.sock'}"
    assert status["advanced_dashboard"]["address"] == "/api/v3/dashboard"
    assert status["query_optimization"]["address"] is None
    # The command line finds it, and the code beside it has its plugins.
    plate = Doorplate(place / "data")
    client = Client(str(place / "data/mltb.sock"), plate.token or "")
    assert (await asyncio.to_thread(client.get, "/tasks"))["items"] == []
    client.close()
    assert plugin_manager.list_plugins() == []
    await shutdown_phase3_services()
    assert here() is None
    assert plate.address() is None


async def test_both_are_safe_when_called_twice_and_at_once(place: Path) -> None:
    await shutdown_phase3_services()
    first, second = await asyncio.gather(initialize_phase3_services(), initialize_phase3_services())
    app = here()
    assert first == second == await initialize_phase3_services()
    assert here() is app
    # One that comes while it stops starts the next.
    stopping = asyncio.ensure_future(shutdown_phase3_services())
    await asyncio.sleep(0)
    assert await initialize_phase3_services() == first
    await stopping
    assert here() is not app
    assert here() is not None
    await asyncio.gather(shutdown_phase3_services(), shutdown_phase3_services())
    await shutdown_phase3_services()
    assert here() is None


async def test_after_a_start_that_failed_it_can_be_called_again(place: Path) -> None:
    (place / "config.py").write_text("MAX_ACTIV = 1\n")
    with pytest.raises(ConfigError, match="did you mean MAX_ACTIVE"):
        await initialize_phase3_services()
    (place / "config.py").write_text("MAX_ACTIVE = 1\n")
    (place / "data").mkdir()
    with InstanceLock(place / "data"):
        for _ in range(2):
            with pytest.raises(ConfigError, match="another process works in"):
                await initialize_phase3_services()
        await shutdown_phase3_services()
    await initialize_phase3_services()
    assert here() is not None


async def test_a_service_that_runs_already_is_reported_and_not_stopped(place: Path) -> None:
    async with running(load({"ENABLE_PLUGIN_SYSTEM": "false"}, place).settings) as app:
        status = await initialize_phase3_services()
        assert status["plugin_system"] == {"state": "off", "address": None}
        await shutdown_phase3_services()
        assert here() is app


async def test_another_thread_may_ask_and_stop(place: Path) -> None:
    status = await initialize_phase3_services()
    seen: list[object] = []

    def other() -> None:
        seen.append(asyncio.run(initialize_phase3_services()))
        asyncio.run(shutdown_phase3_services())

    thread = threading.Thread(target=other)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert seen == [status]
    assert here() is None


def test_the_end_of_the_event_loop_ends_it(place: Path) -> None:
    code = (
        "import asyncio; from bot.core.enhanced_startup_phase3 import *\n"
        "for _ in range(2): print(asyncio.run(initialize_phase3_services())['service']['state'])"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code],
        cwd=place,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "running\nrunning\n"), done.stderr
    assert Doorplate(place / "data").address() is None


async def test_where_none_runs_the_router_says_so() -> None:
    app = FastAPI()
    app.include_router(advanced_dashboard.router)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/v3/dashboard",
        "raw_path": b"/api/v3/dashboard",
        "query_string": b"",
        "root_path": "",
        "headers": [],
    }
    await app(dict(scope), receive, send)
    assert sent[0]["status"] == 503
    assert b"initialize_phase3_services" in sent[1]["body"]
    sent.clear()
    path = "/api/v3/ws/live-metrics"
    await app({**scope, "type": "websocket", "path": path, "raw_path": path}, receive, send)
    assert [(each["type"], each.get("code")) for each in sent] == [("websocket.close", 1013)]

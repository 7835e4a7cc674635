"""Live metrics: a real service, real clients, and some that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from bot.services import Scope
from tests.serving import PATIENCE, Service

Json = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("live")
    with Service(
        place,
        DASHBOARD_REFRESH="1",
        ENABLE_PLUGIN_SYSTEM="false",
        MAX_ACTIVE="2",
        MAX_DASHBOARD_CONNECTIONS="8",
    ) as it:
        yield it


def _address(it: Service) -> str:
    return it.url.replace("http", "ws") + "/api/v3/ws/live-metrics"


def _token(it: Service, scope: Scope = Scope.ADMIN, user: str = "admin") -> str:
    made = it.client.post("/tokens", {"name": "t", "scope": scope.name.lower(), "user": user})
    secret: str = made["secret"]
    return secret


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def _client(it: Service, token: str | None = None, **how: Any) -> AsyncIterator[Watcher]:
    headers = _bearer(token or _token(it)) | how.pop("headers", {})
    async with websockets.connect(_address(it), additional_headers=headers, **how) as socket:
        yield Watcher(socket)


class Watcher:
    """A client that keeps what it was told together, as a page does."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.tasks: dict[str, Json] = {}
        self.counts: Json = {}
        self.seq = -1
        self.missed = 0

    async def next(self, *kinds: str) -> Json:
        """The next message, of those kinds where some are named."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message: Json = json.loads(await self.socket.recv())
                self._take(message)
                if not kinds or message["type"] in kinds:
                    return message

    def _take(self, message: Json) -> None:
        if message["type"] == "snapshot":
            self.tasks = {each["id"]: each for each in message["tasks"]}
        elif message["type"] == "delta":
            if message["since"] != self.seq:
                self.missed += 1
                return
            for each in message.get("tasks", ()):
                self.tasks[each["id"]] = {**self.tasks.get(each["id"], {}), **each}
            for each in message.get("removed", ()):
                self.tasks.pop(each, None)
        else:
            return
        self.seq = message["seq"]
        self.counts = message.get("counts", self.counts)

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))


def _later(it: Service, number: int, token: str | None = None) -> Json:
    """A task that waits for long."""
    body = {"source": f"http://127.0.0.1:9/{number}", "start_at": "2099-01-01T00:00:00Z"}
    task: Json = it.client.post("/tasks", body)
    return task


async def test_first_a_snapshot_then_ticks(service: Service) -> None:
    async with _client(service) as client:
        first = await client.next()
        assert first["type"] == "snapshot"
        assert first["metrics"]["uptime_seconds"] > 0
        assert first["counts"]["queued"] >= 0
        tick = await client.next("tick")
        assert tick["metrics"]["websocket_clients"] == 1
        assert (await client.next("tick"))["seq"] == tick["seq"] + 1

"""Who follows, in this process: shared executions, slow readers, tokens that end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from bot.app.graphql import _options
from bot.app.operations import opened_operations
from bot.app.plugins import build_plugins, opened_plugins
from bot.cache import open_cache
from bot.graphql.desk import Desk
from bot.graphql.http import GraphqlHttp
from bot.graphql.identity import Identify
from bot.graphql.presence import Presence
from bot.graphql.socket import GraphqlSocket
from bot.graphql.streams import Broken, Follower
from bot.services import Scope
from tests.rig import Rig, rig

_TASKS = "subscription { tasks { id } }"


@dataclass(slots=True)
class Door:
    """The door over a rig."""

    rig: Rig
    desk: Desk
    http: GraphqlHttp
    socket: GraphqlSocket
    heard_by: int

    @property
    def executions(self) -> int:
        """How many hear of events for those who follow."""
        return len(self.rig.hub._listeners) - self.heard_by


@asynccontextmanager
async def opened(directory: Path, presence: Presence) -> AsyncIterator[Door]:
    async with (
        rig(directory) as it,
        opened_plugins(it.base, it.transfers, build_plugins(it.base)) as host,
        opened_operations(
            it.base, it.transfers, it.tasks, it.tokens, host, is_open=lambda: True
        ) as services,
    ):
        settings = it.base.settings
        cache = await open_cache(None, prefix="g_", max_bytes=1_000_000)
        desk = Desk(
            services,
            cache,
            _options(settings),
            hub=it.hub,
            profiler=it.profiler,
            clock=it.clock,
        )
        who = Identify(services, required=True)
        http = GraphqlHttp(
            desk,
            authenticate=who,
            count=None,
            note=lambda *_: None,
            once=cache,
            presence=presence,
            max_body=10_000,
        )
        socket = GraphqlSocket(
            desk, authenticate=who, count=None, presence=presence, max_message=10_000, most=5
        )
        async with desk.open():
            yield Door(it, desk, http, socket, len(it.hub._listeners))


@dataclass
class Client:
    """The other side of one ASGI connection. ``reads`` False takes no message but the first."""

    door: Door
    secret: str
    reads: bool = True
    said: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    heard: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)

    async def receive(self) -> Message:
        return await self.said.get()

    async def send(self, message: Message) -> None:
        if not self.reads and "next" in str(message):
            await asyncio.Event().wait()
        await self.heard.put(message)

    def _scope(self, kind: str, query: bytes = b"", *more: tuple[bytes, bytes]) -> dict[str, Any]:
        authorization = (b"authorization", f"Bearer {self.secret}".encode())
        return {
            "type": kind,
            "method": "GET",
            "query_string": query,
            "subprotocols": ["graphql-transport-ws"],
            "headers": [authorization, *more],
        }

    def connect(self, query: str = _TASKS) -> asyncio.Task[None]:
        """A WebSocket that follows."""
        self.said.put_nowait({"type": "websocket.connect"})
        asked = {"type": "subscribe", "id": "a", "payload": {"query": query}}
        for message in ({"type": "connection_init"}, asked):
            self.said.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
        return asyncio.ensure_future(
            self.door.socket(self._scope("websocket"), self.receive, self.send)
        )

    def listen(self) -> asyncio.Task[None]:
        """An event stream that follows."""
        scope = self._scope("http", f"query={_TASKS}".encode(), (b"accept", b"text/event-stream"))
        return asyncio.ensure_future(self.door.http(scope, self.receive, self.send))

    async def until(self, part: str) -> Message:
        """The first message with that in it."""
        async with asyncio.timeout(20):
            while part not in str(message := await self.heard.get()):
                pass
        return message


async def _followed(door: Door, count: int) -> None:
    """Until so many executions are under way."""
    async with asyncio.timeout(20):
        while door.executions != count:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_one_execution_serves_all_of_a_role_and_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path, Presence(10)) as door:
        secrets = [
            (await door.rig.tokens.create("t", scope, user=user))[0]
            for user, scope in (
                ("admin", Scope.ADMIN),
                ("admin", Scope.ADMIN),
                ("admin", Scope.OPERATE),
                ("bob", Scope.OPERATE),
            )
        ]
        clients = [Client(door, secret) for secret in secrets]
        tasks = [client.connect() for client in clients]
        events = Client(door, secrets[0])
        tasks.append(events.listen())
        await _followed(door, 3)
        await door.rig.submit("a")
        for client in (*clients[:3], events):
            await client.until("next")
        assert clients[3].heard.qsize() <= 2, "bob hears nothing of it"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _followed(door, 0)


@pytest.mark.parametrize("kind", ["connect", "listen"])
async def test_who_does_not_read_is_let_go(tmp_path: Path, kind: str) -> None:
    async with opened(tmp_path, Presence(10, patience=0.05)) as door:
        secret, _ = await door.rig.tokens.create("t", Scope.ADMIN)
        client = Client(door, secret, reads=False)
        task = getattr(client, kind)()
        await _followed(door, 1)
        await door.rig.submit("a")
        async with asyncio.timeout(20):
            await task
        await _followed(door, 0)


@pytest.mark.parametrize("kind", ["connect", "listen"])
async def test_a_token_that_is_revoked_ends_what_follows_with_it(tmp_path: Path, kind: str) -> None:
    async with opened(tmp_path, Presence(10, recheck=0.01)) as door:
        secret, token = await door.rig.tokens.create("t", Scope.ADMIN)
        client = Client(door, secret)
        task = getattr(client, kind)()
        await _followed(door, 1)
        await door.rig.tokens.revoke(token.id)
        told = await client.until("4403" if kind == "connect" else "unauthenticated")
        assert told["type"] in {"websocket.close", "http.response.body"}
        client.said.put_nowait({"type": "http.disconnect"})
        async with asyncio.timeout(20):
            await task
        await _followed(door, 0)


async def test_a_follower_loses_the_oldest_and_is_told_when_it_lost_too_many() -> None:
    follower = Follower()
    for number in range(300):
        follower.push(str(number))
    assert await anext(follower) == "44"
    for number in range(5000):
        follower.push(str(number))
    with pytest.raises(Broken, match="were lost"):
        await anext(follower)


async def test_nothing_new_is_followed_while_the_service_stops(tmp_path: Path) -> None:
    async with opened(tmp_path, Presence(10)) as door:
        secret, _ = await door.rig.tokens.create("t", Scope.ADMIN)
        first, second = Client(door, secret), Client(door, secret)
        tasks = [first.connect()]
        await _followed(door, 1)
        await door.desk.let_go()
        await first.until('"complete"')
        tasks.append(second.connect())
        assert "unavailable" in str(await second.until('"error"'))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

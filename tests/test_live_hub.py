"""The hub of live metrics behind a server that is not ours: with time in the hand of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.types import Message

from bot.app.operations import opened_operations
from bot.domain.events import ClientConnected, ClientLeft
from bot.services import OWNER, Scope, Services, Submission
from bot.web.live.hub import Hub, Options
from bot.web.live.socket import serve
from tests.rig import Rig, rig
from tests.serving import PATIENCE

Json = dict[str, Any]


class Reader:
    """A client behind a server of its own, which takes a message when ``reads`` is set."""

    def __init__(self, hub: Hub, services: Services, token: str) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "scheme": "ws",
            "headers": [(b"host", b"x"), (b"authorization", f"Bearer {token}".encode())],
        }
        self.task = asyncio.ensure_future(serve(hub, services, scope, self._said.get, self._take))

    async def _take(self, message: Message) -> None:
        await self.reads.wait()
        self.sent.put_nowait(message)
        if message["type"] == "websocket.close":
            self.leave()

    def say(self, **message: Any) -> None:
        self._said.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1005})

    async def next(self) -> Json:
        """What it is sent next: a message of ours, or that it has to go."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.sent.get())["type"] == "websocket.accept":
                pass
        found: Json = json.loads(message["text"]) if "text" in message else dict(message)
        return found


@asynccontextmanager
async def live(directory: Path) -> AsyncIterator[tuple[Rig, Hub, Services, str]]:
    """A hub over a rig, and the token of an admin."""
    async with (
        rig(directory) as it,
        opened_operations(
            it.base, it.transfers, it.tasks, it.tokens, None, is_open=lambda: True
        ) as services,
    ):
        token, _ = await it.tokens.create("test", Scope.ADMIN)
        options = Options(most=10, interval=1, compresses=True)
        yield it, Hub(services, it.hub, it.clock, options), services, token


async def _second(it: Rig, reader: Reader) -> None:
    """Let a second pass, until that client has its tick."""
    it.clock.advance(1)
    while (await reader.next())["type"] != "tick":
        pass


async def test_the_newest_is_what_a_slow_client_gets(tmp_path: Path) -> None:
    async with live(tmp_path) as (it, hub, services, token):
        # Long rows, so that a snapshot is more than may wait for a client.
        for number in range(400):
            await it.submit(f"{number}{'x' * 600}", start_at=it.clock.now() + 1e6, again=True)
        slow, quick = Reader(hub, services, token), Reader(hub, services, token)
        first = await slow.next()
        assert first["type"] == "snapshot"
        assert (await quick.next())["seq"] == first["seq"]
        slow.reads.clear()
        slow.say(type="snapshot")
        for _ in range(5):
            await _second(it, quick)
        task = await it.submit("new", start_at=it.clock.now() + 1e6)
        slow.reads.set()
        assert (await slow.next())["seq"] == first["seq"]  # which it had asked for
        await _second(it, quick)
        newest = await slow.next()
        assert newest["type"] == "snapshot"
        assert task.id in {each["id"] for each in newest["tasks"]}
        await _second(it, quick)
        assert (await slow.next())["type"] == "tick"
        for each in (slow, quick):
            each.leave()
            await each.task


async def test_who_does_not_read_for_long_has_to_go(tmp_path: Path) -> None:
    async with live(tmp_path) as (it, hub, services, token):
        for number in range(400):
            await it.submit(f"{number}{'x' * 600}", start_at=it.clock.now() + 1e6, again=True)
        mute, quick = Reader(hub, services, token), Reader(hub, services, token)
        await mute.next()
        await quick.next()
        mute.reads.clear()
        mute.say(type="snapshot")
        for _ in range(15):
            await _second(it, quick)
        assert hub.clients == 2
        for _ in range(5):
            await _second(it, quick)
        assert hub.clients == 1
        page, _ = await services.metrics.page(OWNER, "")
        assert b'mltb_live_drops_total{reason="slow"} 1.0' in page
        mute.reads.set()
        quick.leave()
        await asyncio.gather(mute.task, quick.task)


async def test_nobody_there_nothing_done(tmp_path: Path) -> None:
    async with live(tmp_path) as (it, hub, services, token):

        def busy() -> bool:
            return any("Hub._run" in str(each.get_coro()) for each in asyncio.all_tasks())

        assert not busy()
        reader = Reader(hub, services, token)
        await reader.next()
        assert busy()
        assert hub.clients == 1
        reader.leave()
        await reader.task
        await asyncio.sleep(0)
        assert not busy()
        assert hub.clients == 0
        names = [each.client for each in it.events if isinstance(each, ClientConnected)]
        assert [each.client for each in it.events if isinstance(each, ClientLeft)] == names
        assert len(names) == 1


async def test_too_much_at_once_is_said_so(tmp_path: Path) -> None:
    async with live(tmp_path) as (it, hub, services, token):
        reader = Reader(hub, services, token)
        await reader.next()
        wanted = [
            Submission(f"test:{number}", str(it.root), start_at=it.clock.now() + 1e6)
            for number in range(2100)
        ]
        for start in range(0, 2100, 700):
            await it.tasks.submit_many(OWNER, wanted[start : start + 700])
        it.clock.advance(1)
        assert (await reader.next())["type"] == "tick"
        delta = await reader.next()
        assert delta["more"] is True
        assert delta["counts"]["queued"] == 2100
        assert len(delta["tasks"]) == 500
        reader.leave()
        await reader.task

"""The WebSocket of live metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from bot.errors import MltbError, TooMany
from bot.services import Services
from bot.web.auth import same_site
from bot.web.live.hub import FULL, GONE, UNKNOWN, Client, Hub
from bot.web.live.messages import Message, Parcel
from bot.web.live.pipes import FramePipe, Pipe, QueuePipe
from bot.web.live.visitors import Visitor, says_who, visitor_of, with_token
from bot.web.wire import EXTENSION

_BAD, _REFUSED, _LATE = 4400, 4403, 4408
_INTRODUCTION = 5.0  # seconds that a client has to say who it is
_GRACE = 2.0  # seconds that a client has to take the news of its end
_LARGEST = 4096  # characters of a message
_PER_SECOND = 10  # messages of a client
_SLOWEST = 60  # seconds between two ticks


class _Said(msgspec.Struct):
    type: str
    token: str = ""
    seconds: int = 0


_decode = msgspec.json.Decoder(_Said).decode


class _Closed(Exception):
    """The connection is to be closed, with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def serve(
    hub: Hub | None, services: Services, scope: Scope, receive: Receive, send: Send
) -> None:
    """One client, from its handshake to its end (ASGI)."""
    await receive()  # websocket.connect
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    if hub is None or not same_site(headers):
        await send({"type": "websocket.close", "code": _REFUSED, "reason": "not here"})
        return
    await send({"type": "websocket.accept"})
    connection = _Connection(hub, services, scope, receive, send)
    with contextlib.suppress(OSError):  # it is gone already
        await connection.run(headers)


class _Connection:
    """One client."""

    def __init__(
        self, hub: Hub, services: Services, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._hub = hub
        self._services = services
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._second, self._said = 0, 0
        extension = (scope.get("extensions") or {}).get(EXTENSION)
        self._pipe: Pipe
        if extension is not None:
            self._pipe = FramePipe(extension["channel"])
        else:
            self._pipe = queue = QueuePipe()
            self._sending = self._loop.create_task(self._drain(queue))

    async def run(self, headers: Mapping[bytes, bytes]) -> None:
        """Until it goes, or has to."""
        try:
            await self._serve(headers)
        except _Closed as error:
            await self._close(error.code, error.reason)
        finally:
            if self._sending is not None:
                self._sending.cancel()
            if self._closing is not None:
                await asyncio.gather(self._closing, return_exceptions=True)

    async def _serve(self, headers: Mapping[bytes, bytes]) -> None:
        try:
            async with asyncio.timeout(_INTRODUCTION):
                visitor = await self._introduced(headers)
        except TimeoutError:
            raise _Closed(_LATE, "it did not say who it is") from None
        if visitor is None:
            return
        if self._hub.over:
            raise _Closed(GONE, "the service stops")
        client = Client(visitor, self._pipe, self._leave)
        try:
            try:
                await self._hub.join(client)
            except TooMany as error:
                raise _Closed(FULL, error.message) from None
            while (said := await self._next()) is not None:
                await self._take(client, said)
        finally:
            self._hub.part(client)

    async def _introduced(self, headers: Mapping[bytes, bytes]) -> Visitor | None:
        """Who it is; None where it goes before it says so."""
        try:
            if says_who(self._services, headers):
                return await visitor_of(self._services, headers)
            said = await self._next()
            if said is None:
                return None
            if said.type != "auth":
                raise _Closed(UNKNOWN, "the first message says who it is")
            return await visitor_of(self._services, with_token(headers, said.token))
        except MltbError as error:
            raise _Closed(UNKNOWN, error.message) from None

    async def _next(self) -> _Said | None:
        """Its next message; None where it is gone."""
        event = await self._receive()
        if event["type"] != "websocket.receive":
            return None
        second = int(self._loop.time())
        self._said = self._said + 1 if second == self._second else 1
        self._second = second
        text = event.get("text")
        if text is None or len(text) > _LARGEST or self._said > _PER_SECOND:
            raise _Closed(_BAD, "messages are short texts, and few")
        try:
            return _decode(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise _Closed(_BAD, f"no message: {error}") from None

    async def _take(self, client: Client, said: _Said) -> None:
        if said.type == "snapshot":
            self._hub.again(client)
        elif said.type == "interval" and 1 <= said.seconds <= _SLOWEST:
            self._say({"type": "interval", "seconds": said.seconds})
            await self._hub.choose(client, said.seconds)
        elif said.type == "ping":
            self._say({"type": "pong"})
        else:
            error = "there is no such message, or it has a wrong value"
            self._say({"type": "error", "code": "invalid_input", "message": error})

    def _say(self, content: dict[str, Any]) -> None:
        self._pipe.push(Parcel((Message(content),)))

    # Ends

    def _leave(self, code: int, reason: str) -> None:
        self._closing = self._loop.create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        """Say why, and let go of it, whether it has read that or not."""
        try:
            async with asyncio.timeout(_GRACE):
                if self._sending is not None and not self._sending.done():
                    assert isinstance(self._pipe, QueuePipe)
                    self._pipe.end()
                    await self._sending
                await self._send({"type": "websocket.close", "code": code, "reason": reason[:120]})
        except (TimeoutError, OSError):
            self._pipe.abort()
        else:
            self._loop.call_later(_GRACE, self._pipe.abort)

    async def _drain(self, queue: QueuePipe) -> None:
        with contextlib.suppress(OSError):  # it is gone already
            async for message in queue:
                await self._send({"type": "websocket.send", "text": message.text})

"""GraphQL over WebSocket, after the protocol ``graphql-transport-ws`` (GraphQL over WebSocket
Protocol, enisdenjo/graphql-ws)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from graphql import GraphQLError
from starlette.types import Message, Receive, Scope, Send

from bot.domain.context import ADDRESS
from bot.errors import MltbError, TooMany
from bot.graphql import shaping
from bot.graphql.desk import Desk, Request
from bot.graphql.execution import Answer
from bot.graphql.http import Authenticator, Count
from bot.graphql.presence import Presence
from bot.graphql.streams import Broken, Follower
from bot.services import Caller
from bot.web.auth import same_site

log = logging.getLogger(__name__)

_PROTOCOL = "graphql-transport-ws"
_INIT = 5.0  # seconds that a client has to say who it is

#: The close codes of the protocol.
_BAD, _UNAUTHORISED, _FORBIDDEN, _LATE, _TWICE, _TOO_MANY = 4400, 4401, 4403, 4408, 4409, 4429
_WRONG_PROTOCOL = 4406


class _Message(msgspec.Struct):
    type: str
    id: str | None = None
    payload: dict[str, Any] | None = None


class _Payload(msgspec.Struct):
    query: str | None = None
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - the specification's name
    documentId: str | None = None  # noqa: N815 - the specification's name


_messages = msgspec.json.Decoder(_Message)
_encode = msgspec.json.Encoder().encode


class _Closed(Exception):
    """The connection is to be closed, with a code of the protocol."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class GraphqlSocket:
    """The ASGI application of ``/graphql`` for WebSockets. ``most`` are the operations of one
    connection at a time."""

    def __init__(
        self,
        desk: Desk,
        *,
        authenticate: Authenticator,
        count: Count | None,
        presence: Presence,
        max_message: int,
        most: int,
    ) -> None:
        self._desk = desk
        self._authenticate = authenticate
        self._count = count
        self.presence = presence
        self._max_message = max_message
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await receive()  # websocket.connect
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        client = scope.get("client")
        ADDRESS.set(client[0] if client else None)
        if not same_site(headers):
            await send({"type": "websocket.close", "code": _FORBIDDEN, "reason": "another site"})
            return
        if _PROTOCOL not in scope.get("subprotocols", ()):
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": _WRONG_PROTOCOL, "reason": _PROTOCOL})
            return
        await send({"type": "websocket.accept", "subprotocol": _PROTOCOL})
        connection = _Connection(self, headers, receive, send)
        try:
            await connection.run()
        except _Closed as error:
            await connection.close(error)
        except TimeoutError:
            log.info("a client that followed by WebSocket did not read, and was let go")
        finally:
            await connection.end()

    async def identify(
        self, headers: Mapping[bytes, bytes], payload: Mapping[str, Any] | None
    ) -> Caller:
        """Who connects: the token of the payload of ``connection_init``, else of the handshake."""
        given = (payload or {}).get("Authorization") or (payload or {}).get("authorization")
        if isinstance(given, str):
            headers = {**headers, b"authorization": given.encode("latin-1", "replace")}
        try:
            return (await self._authenticate(headers)).caller
        except MltbError as error:
            raise _Closed(_FORBIDDEN, error.message) from None

    async def counted(self, caller: Caller) -> None:
        """One operation more. TooMany."""
        if self._count is not None:
            await self._count(caller.token_id or caller.user)

    @property
    def desk(self) -> Desk:
        """Where operations go."""
        return self._desk

    @property
    def most(self) -> int:
        """Operations of one connection at a time."""
        return self._most

    def check(self, text: str) -> None:
        """Closed where a message is too large."""
        if len(text) > self._max_message:
            raise _Closed(_BAD, f"a message has at most {self._max_message} characters")


class _Connection:
    """One client. What it does not read in time is not sent, and it is let go; so is one whose
    token is no good any more."""

    def __init__(
        self, door: GraphqlSocket, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        self._door = door
        self._headers = headers
        self._receive = receive
        self._send = send
        self._caller: Caller | None = None
        self._payload: dict[str, Any] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        #: Done where the connection has to end for a reason that no message gave.
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Until the client goes, or has to. TimeoutError where it does not read."""
        try:
            async with asyncio.timeout(_INIT):
                while self._caller is None:
                    if not await self._next():
                        return
        except TimeoutError:
            raise _Closed(_LATE, "Connection initialisation timeout") from None
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._door.presence.one_more(self._caller))
            except TooMany as error:
                raise _Closed(_TOO_MANY, error.message) from None
            await self._say({"type": "connection_ack"})
            await self._listen()

    async def _listen(self) -> None:
        reading = asyncio.ensure_future(self._read())
        try:
            while True:
                done, _ = await asyncio.wait(
                    [reading, self._over],
                    timeout=self._door.presence.recheck,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for each in done:
                    each.result()
                if done:
                    return
                await self._door.identify(self._headers, self._payload)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        while await self._next():
            pass

    async def close(self, error: _Closed) -> None:
        """Say why, to who listens."""
        with contextlib.suppress(TimeoutError):
            await self._put(
                {"type": "websocket.close", "code": error.code, "reason": error.reason[:100]}
            )

    async def end(self) -> None:
        """Stop what runs."""
        self._over.cancel()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _next(self) -> bool:
        """Take one message; whether there may be more."""
        event = await self._receive()
        if event["type"] != "websocket.receive":
            return False
        text = event.get("text")
        if text is None:
            raise _Closed(_BAD, "messages are text")
        self._door.check(text)
        try:
            message = _messages.decode(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise _Closed(_BAD, f"no message: {error}") from None
        await self._take(message)
        return True

    async def _take(self, message: _Message) -> None:
        if message.type == "connection_init":
            if self._caller is not None:
                raise _Closed(_TOO_MANY, "Too many initialisation requests")
            self._caller = await self._door.identify(self._headers, message.payload)
            self._payload = message.payload
        elif message.type == "ping":
            await self._say({"type": "pong"})
        elif message.type == "subscribe":
            self._subscribe(message)
        elif message.type == "complete" and message.id is not None:
            if task := self._running.pop(message.id, None):
                task.cancel()
        elif message.type != "pong":
            raise _Closed(_BAD, f"no message has the type {message.type[:50]!r}")

    def _subscribe(self, message: _Message) -> None:
        if self._caller is None:
            raise _Closed(_UNAUTHORISED, "Unauthorized")
        name = message.id
        if not name or len(name) > 200 or message.payload is None:
            raise _Closed(_BAD, "subscribe has an id and a payload")
        if name in self._running:
            raise _Closed(_TWICE, f"Subscriber for {name} already exists")
        try:
            given = msgspec.convert(message.payload, _Payload)
        except msgspec.ValidationError as error:
            raise _Closed(_BAD, f"no request: {error}") from None
        request = Request(
            given.query,
            given.variables or {},
            given.operationName,
            None if given.query is not None else given.documentId,
        )
        if len(self._running) >= self._door.most:
            raise _Closed(_TOO_MANY, f"more than {self._door.most} operations at a time")
        task = asyncio.ensure_future(self._serve(name, self._caller, request))
        self._running[name] = task
        task.add_done_callback(lambda done: self._done(name, done))

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        if self._running.get(name) is task:
            del self._running[name]
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, TimeoutError) and not self._over.done():
            self._over.set_exception(error)
        else:
            log.debug("a subscription ended: %s", error)  # its client is gone

    async def _serve(self, name: str, caller: Caller, request: Request) -> None:
        try:
            await self._door.counted(caller)
            async with self._door.desk.follow(caller, request) as found:
                last = await self._told(name, found)
        except Broken as error:
            last = {"id": name, "type": "error", "payload": error.errors}
        except (TimeoutError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - the door: what is no answer becomes one
            shaped = shaping.shaped(GraphQLError(str(error), original_error=error))
            last = {"id": name, "type": "error", "payload": [shaped]}

        # The name is free before the client hears of the end.
        if self._running.get(name) is asyncio.current_task():
            del self._running[name]
        await self._say(last)

    async def _told(self, name: str, found: Follower | Answer) -> dict[str, Any]:
        """Tell what there is; the message that ends it."""
        quoted = _encode(name).decode()
        if isinstance(found, Follower):
            async for text in found:
                await self._tell(quoted, text)
        elif found.begun:
            await self._tell(quoted, found.body.decode())
        else:
            errors = msgspec.json.decode(found.body)["errors"]
            return {"id": name, "type": "error", "payload": errors}
        return {"id": name, "type": "complete"}

    async def _tell(self, quoted: str, text: str) -> None:
        await self._put(
            {
                "type": "websocket.send",
                "text": f'{{"id":{quoted},"type":"next","payload":{text}}}',
            }
        )

    async def _say(self, message: dict[str, Any]) -> None:
        await self._put({"type": "websocket.send", "text": _encode(message).decode()})

    async def _put(self, message: Message) -> None:
        async with asyncio.timeout(self._door.presence.patience):
            await self._send(message)

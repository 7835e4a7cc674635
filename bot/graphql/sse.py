"""Server-sent events, in the mode of distinct connections (GraphQL over Server-Sent Events
Protocol, enisdenjo/graphql-sse): for who can't have a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import msgspec
from starlette.types import Receive, Send

from bot.errors import MltbError
from bot.graphql import shaping
from bot.graphql.execution import Answer
from bot.graphql.presence import Presence
from bot.graphql.streams import Broken, Follower
from bot.web.gate import HEADERS

log = logging.getLogger(__name__)

_HEARTBEAT = 15.0  # seconds without an event


class Events:
    """The answer to one request. What a client does not read in time is not sent, and it is let
    go; so is one whose token is no good any more."""

    def __init__(self, receive: Receive, send: Send, presence: Presence, request_id: bytes) -> None:
        self._receive = receive
        self._send = send
        self._presence = presence
        self._request_id = request_id

    async def tell(
        self, found: Follower | Answer, authenticate: Callable[[], Awaitable[object]]
    ) -> None:
        """Everything, to the end, or until the client is gone."""
        gone = asyncio.ensure_future(self._hung_up())
        telling = asyncio.ensure_future(self._tell(found, authenticate))
        try:
            await asyncio.wait([gone, telling], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, telling):
                task.cancel()
            ends = await asyncio.gather(gone, telling, return_exceptions=True)
        if isinstance(ends[1], TimeoutError):
            log.info("a client that followed by events did not read them, and was let go")
        elif isinstance(ends[1], Exception):
            log.error("events ended", exc_info=ends[1])

    async def _hung_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _tell(
        self, found: Follower | Answer, authenticate: Callable[[], Awaitable[object]]
    ) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"x-request-id", self._request_id),
            *HEADERS,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            if isinstance(found, Answer):
                await self._event("next", found.body.decode())
            else:
                await self._all(found, authenticate)
        except Broken as error:
            await self._event("next", _text(error.errors))
        except MltbError as error:
            await self._event("next", _text([shaping.plain(error)]))
        await self._event("complete", "")
        await self._send({"type": "http.response.body", "body": b""})

    async def _all(self, found: Follower, authenticate: Callable[[], Awaitable[object]]) -> None:
        """Every answer; a comment where there was none for long, so that both sides see that the
        other is there."""
        loop = asyncio.get_running_loop()
        recheck = loop.time() + self._presence.recheck
        coming = asyncio.ensure_future(anext(found, None))
        try:
            while True:
                done, _ = await asyncio.wait(
                    [coming], timeout=min(_HEARTBEAT, self._presence.recheck)
                )
                if loop.time() >= recheck:
                    await authenticate()
                    recheck = loop.time() + self._presence.recheck
                if not done:
                    await self._put(b":\n\n")
                    continue
                text = coming.result()
                if text is None:
                    return
                await self._event("next", text)
                coming = asyncio.ensure_future(anext(found, None))
        finally:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, Broken):
                await coming

    async def _event(self, name: str, text: str) -> None:
        await self._put(f"event: {name}\ndata: {text}\n\n".encode())

    async def _put(self, body: bytes) -> None:
        async with asyncio.timeout(self._presence.patience):
            await self._send({"type": "http.response.body", "body": body, "more_body": True})


def _text(errors: list[shaping.Shaped]) -> str:
    return msgspec.json.encode({"errors": errors}).decode()

"""Answers to requests that make something, kept so that a repetition makes nothing more.

After the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header). They are kept in
memory for a day, the last thousand of them; tasks, of which there are many, have keys in the
database instead (see ``bot.services.tasks``).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from bot.errors import Conflict, InvalidInput
from bot.services import Services
from bot.web.auth import check_write, identify

_DAY, _MOST, _LONGEST = 86_400.0, 1000, 200

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=_LONGEST,
        description="A repetition with the same key gets the answer of the first.",
    ),
]


def _named(key: Key = None) -> None:
    """The header is read by the route, and only described here."""


#: Dependencies of a route that makes something.
ONCE: Any = [Depends(_named)]


@dataclass(slots=True)
class _Kept:
    digest: bytes
    until: float
    answer: asyncio.Future[Response]


class Once:
    """The answers by caller, path and key."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    async def answer(
        self,
        request: Request,
        services: Services,
        key: str,
        make: Callable[[], Awaitable[Response]],
    ) -> Response:
        """What the first request with that key got; Conflict where that was another request.
        One that was refused is made anew."""
        if len(key) > _LONGEST:
            raise InvalidInput("the Idempotency-Key is too long", hint=f"up to {_LONGEST}")
        headers = dict(request.scope["headers"])
        # Who repeats it has to be who they were, still.
        identity = await identify(services, headers)
        check_write(identity, request.method, headers)
        body = await request.body()
        caller = identity.caller
        who = f"{id(services)}\0{caller.user}\0{caller.scope:d}\0{request.url.path}\0{key}"
        name, digest = _digest(who.encode()), _digest(body + request.url.query.encode())
        known = self._kept.get(name)
        if known is not None and known.until > time.monotonic():
            if known.digest != digest:
                raise Conflict(
                    "another request had that Idempotency-Key", hint="choose a new key for it"
                )
            first = await _settled(known.answer)
            if first is not None and first.status_code < 300:
                return _copy(first)
        return await self._made(name, digest, make)

    async def _made(
        self, name: bytes, digest: bytes, make: Callable[[], Awaitable[Response]]
    ) -> Response:
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._kept[name] = _Kept(digest, time.monotonic() + _DAY, future)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        try:
            response = await make()
        except BaseException:
            self._kept.pop(name, None)
            future.cancel()
            raise
        future.set_result(response)
        if response.status_code >= 300:
            self._kept.pop(name, None)
        return response


async def _settled(answer: asyncio.Future[Response]) -> Response | None:
    """The first answer; None where there came none."""
    await asyncio.wait([answer])
    return None if answer.cancelled() else answer.result()


def _copy(response: Response) -> Response:
    return Response(response.body, response.status_code, media_type=response.media_type)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()

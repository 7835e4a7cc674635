"""GraphQL over HTTP, after the draft specification of that name (graphql-over-http).

A route of its own in ASGI, because a kept answer takes less time than a framework around it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import json
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from bot.cache import Cache
from bot.domain.context import ADDRESS, REQUEST
from bot.errors import Conflict, MltbError, Unauthenticated
from bot.graphql import graphiql, shaping
from bot.graphql.desk import Desk, NotByGet, Request
from bot.graphql.execution import Answer, refusal
from bot.graphql.guards import Refused
from bot.graphql.streams import Follower
from bot.services import Caller
from bot.web.auth import Identity
from bot.web.gate import HEADERS

log = logging.getLogger(__name__)

_GRAPHQL = "application/graphql-response+json"
_JSON = "application/json"
_EVENTS = "text/event-stream"
_HTML = "text/html; charset=utf-8"
_PAGE_HEADERS = tuple(each for each in HEADERS if each[0] != b"content-security-policy")
_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_DAY = 86_400.0
_SMALL, _REMEMBERED = 8192, 512  # bytes of bodies that are remembered, and how many
_HEARTBEAT = 15.0  # seconds without an event
#: Sites can't set it in a request to another one without being asked first (CORS).
_NOT_A_FORM = b"graphql-require-preflight"


class Authenticator(Protocol):
    """Says who sent those headers (lower-case names)."""

    async def __call__(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Unauthenticated where nobody did."""


#: Counts a request of a caller. TooMany where it is one too many.
Count = Callable[[str], Awaitable[None]]
#: Told of each answered request: method, status, seconds.
Note = Callable[[str, int, float], None]


class _Bad(Exception):
    """A request that is none. ``status`` is that of HTTP."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class GraphqlHttp:
    """The ASGI application of ``/graphql`` for HTTP."""

    def __init__(
        self,
        desk: Desk,
        *,
        authenticate: Authenticator,
        count: Count | None,
        note: Note,
        cache: Cache,
        max_body: int,
    ) -> None:
        self._desk = desk
        self._authenticate = authenticate
        self._count = count
        self._note = note
        self._cache = cache
        self._max_body = max_body
        # An id for each request: a new one from the system would take longer than the answer.
        self._mark, self._numbers = secrets.token_hex(6).encode(), itertools.count()
        self._read_before: OrderedDict[bytes, Request] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        request_id = (
            given
            if given is not None and _SAFE_ID.fullmatch(given)
            else b"%s%x" % (self._mark, next(self._numbers))
        )
        begun, method = time.perf_counter(), scope["method"]
        within = REQUEST.set(request_id.decode())
        client = scope.get("client")
        ADDRESS.set(client[0] if client else None)
        try:
            if _EVENTS.encode() in headers.get(b"accept", b""):
                await self._events(scope, headers, receive, send)
                return
            status, body, media, more = await self._respond(scope, headers, receive)
            await _send(send, status, body, media, [(b"x-request-id", request_id), *more])
        finally:
            REQUEST.reset(within)
        self._note(method, status, time.perf_counter() - begun)

    async def _respond(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, str, list[tuple[bytes, bytes]]]:
        accept = headers.get(b"accept", b"")
        media = _media(accept)
        try:
            if scope["method"] == "GET" and self._wants_page(scope, accept):
                return 200, graphiql.page(), _HTML, graphiql.HEADERS
            if media is None:
                raise _Bad(406, "not_acceptable", f"answers are {_GRAPHQL} or {_JSON}")
            found = await self._answer(scope, headers, receive)
        except _Bad as error:
            body = refusal(shaping.refused(Refused(error.code, str(error)))).body
            more = [(name.encode(), value.encode()) for name, value in error.headers.items()]
            return error.status, body, media or _JSON, more
        except MltbError as error:
            return self._problem(error, media or _JSON)
        except NotByGet:
            body = refusal(
                shaping.refused(Refused("not_by_get", "a mutation is sent by POST"))
            ).body
            return 405, body, media or _JSON, [(b"allow", b"POST")]
        status = 200 if media == _JSON or found.begun else 400
        return status, found.body, media or _JSON, []

    async def _answer(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> Answer:
        caller, request, body = await self._asked(scope, headers, receive)
        key = headers.get(b"idempotency-key")
        if key is not None and scope["method"] == "POST":
            return await self._once(caller, key, body, request)
        return await self._desk.ask(caller, request, reads_only=scope["method"] == "GET")

    async def _asked(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[Caller, Request, bytes]:
        """Who asks what, and the body that says so."""
        method = scope["method"]
        if method not in {"GET", "POST"}:
            raise _Bad(405, "method", "send POST, or GET for a query", allow="GET, POST")
        body = await self._read(headers, receive) if method == "POST" else b""
        identity = await self._authenticate(headers)
        if identity.ambient and _NOT_A_FORM not in headers:
            raise _Bad(403, "csrf", "with a cookie, the header GraphQL-Require-Preflight is needed")
        caller = identity.caller
        if self._count is not None:
            await self._count(caller.token_id or caller.user)
        if method == "GET":
            return caller, _from_query(scope), body
        _check_type(headers.get(b"content-type", b""))
        return caller, self._request_of(body), body

    def _request_of(self, body: bytes) -> Request:
        """What a body asks; the same bodies come again and again."""
        known = self._read_before.get(body)
        if known is None:
            known = _from_body(body)
            if len(body) <= _SMALL:
                self._read_before[body] = known
                if len(self._read_before) > _REMEMBERED:
                    self._read_before.popitem(last=False)
        return known

    async def _events(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """Server-sent events, in the mode of distinct connections (GraphQL over Server-Sent Events
        Protocol, enisdenjo/graphql-sse): for who can't have a WebSocket."""
        try:
            caller, request, _ = await self._asked(scope, headers, receive)
        except _Bad as error:
            status, body = error.status, refusal(shaping.refused(Refused(error.code, str(error))))
            await _send(send, status, body.body, _JSON, [])
            return
        except MltbError as error:
            problem = self._problem(error, _JSON)
            await _send(send, *problem)
            return
        gone = asyncio.ensure_future(_hung_up(receive))
        reads_only = scope["method"] == "GET"
        telling = asyncio.ensure_future(self._tell(caller, request, send, reads_only=reads_only))
        try:
            await asyncio.wait([gone, telling], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, telling):
                task.cancel()
            await asyncio.gather(gone, telling, return_exceptions=True)

    async def _tell(
        self, caller: Caller, request: Request, send: Send, *, reads_only: bool
    ) -> None:
        head = [(b"content-type", b"text/event-stream"), *HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        async with self._desk.follow(caller, request, reads_only=reads_only) as found:
            if isinstance(found, Answer):
                await _event(send, "next", found.body.decode())
            else:
                await self._all(found, send)
        await _event(send, "complete", "")
        await send({"type": "http.response.body", "body": b""})

    @staticmethod
    async def _all(found: Follower, send: Send) -> None:
        """Every answer; a comment where there was none for long, so that both sides see that the
        other is there."""
        coming = asyncio.ensure_future(anext(found, None))
        try:
            while True:
                done, _ = await asyncio.wait([coming], timeout=_HEARTBEAT)
                if not done:
                    await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
                    continue
                text = coming.result()
                if text is None:
                    return
                await _event(send, "next", text)
                coming = asyncio.ensure_future(anext(found, None))
        finally:
            coming.cancel()

    async def _once(self, caller: Caller, key: bytes, body: bytes, request: Request) -> Answer:
        """The answer to the first request with that key. Conflict where another one had it."""
        if len(key) > 200:
            raise _Bad(400, "idempotency_key", "an Idempotency-Key has at most 200 characters")
        name = hashlib.sha256(b"\0".join([caller.user.encode(), key])).hexdigest()
        digest = hashlib.sha256(body).digest()

        async def make() -> bytes:
            found = await self._desk.ask(caller, request)
            return digest + bytes([found.clean, found.begun]) + found.body

        kept = await self._cache.single_flight(f"once:{name}", ttl=_DAY, make=make)
        if kept[:32] != digest:
            raise Conflict(
                "another request had that Idempotency-Key", hint="choose a new key for a new one"
            )
        return Answer(kept[34:], clean=bool(kept[32]), begun=bool(kept[33]))

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        too_large = _Bad(413, "body_too_large", f"a request has at most {self._max_body} bytes")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise too_large
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Bad(400, "disconnected", "the request broke off")
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body:
                raise too_large
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _wants_page(self, scope: Scope, accept: bytes) -> bool:
        return (
            self._desk.options.introspection
            and b"text/html" in accept
            and b"query=" not in scope["query_string"]
        )

    def _problem(
        self, error: MltbError, media: str
    ) -> tuple[int, bytes, str, list[tuple[bytes, bytes]]]:
        more = []
        if isinstance(error, Unauthenticated):
            more.append((b"www-authenticate", b'Bearer realm="mltb"'))
        if (wait := error.details.get("retry_after")) is not None:
            more.append((b"retry-after", str(wait).encode()))
        return error.status, refusal(shaping.plain(error)).body, media, more


@functools.lru_cache(256)
def _media(accept: bytes) -> str | None:
    """The media type of the answer; None where the client takes none of ours."""
    if not accept:
        return _JSON
    for part in accept.decode("latin-1").lower().split(","):
        kind = part.partition(";")[0].strip()
        if kind == _GRAPHQL:
            return _GRAPHQL
        if kind in {_JSON, "*/*", "application/*"}:
            return _JSON
    return None


class _Body(msgspec.Struct):
    query: str | None = None
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - the specification's name
    extensions: dict[str, Any] | None = None
    documentId: str | None = None  # noqa: N815 - the specification's name


_bodies = msgspec.json.Decoder(_Body)


def _check_type(content_type: bytes) -> None:
    if content_type == b"application/json":
        return
    kind, _, charset = content_type.decode("latin-1").partition(";")
    if kind.strip().lower() != _JSON:
        raise _Bad(415, "media_type", f"a request is {_JSON}")
    if "charset" in charset.lower() and "utf-8" not in charset.lower().replace("utf8", "utf-8"):
        raise _Bad(415, "media_type", "a request is in UTF-8")


def _from_body(body: bytes) -> Request:
    if body[:64].lstrip()[:1] == b"[":
        raise _Bad(400, "batching_off", "send one operation at a time")
    try:
        found = _bodies.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Bad(400, "bad_request", f"the body is no request: {error}"[:300]) from None
    return _request(found, body)


def _from_query(scope: Scope) -> Request:
    try:
        given = parse_qs(scope["query_string"].decode("ascii"), max_num_fields=10)
        plain = {name: values[-1] for name, values in given.items()}
        for name in ("variables", "extensions"):
            if plain.get(name):
                plain[name] = json.loads(plain[name])
        found = msgspec.convert(plain, _Body)
    except (ValueError, UnicodeError, RecursionError) as error:
        raise _Bad(400, "bad_request", f"the query string is no request: {error}"[:300]) from None
    return _request(found)


def _request(found: _Body, raw: bytes = b"") -> Request:
    persisted = (found.extensions or {}).get("persistedQuery")
    hashed = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    document = found.documentId or (hashed if isinstance(hashed, str) else None)
    if found.query is None and document is None:
        raise _Bad(400, "no_query", "the request has no query")
    if found.query is not None:
        document = None
    return Request(found.query, found.variables or {}, found.operationName, document, raw)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _event(send: Send, name: str, text: str) -> None:
    body = f"event: {name}\ndata: {text}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _send(
    send: Send, status: int, body: bytes, media: str, more: list[tuple[bytes, bytes]]
) -> None:
    headers = [
        (b"content-type", media.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"vary", b"Accept"),
        *(HEADERS if media != _HTML else _PAGE_HEADERS),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

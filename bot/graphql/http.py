"""GraphQL over HTTP, after the draft specification of that name (graphql-over-http).

A route of its own in ASGI, because a kept answer takes less time than a framework around it.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from graphql import GraphQLError
from starlette.types import Message, Receive, Scope, Send

from bot.cache import Cache
from bot.domain.context import ADDRESS, REQUEST
from bot.errors import Conflict, MltbError, Unauthenticated
from bot.graphql import graphiql, shaping, sse
from bot.graphql.desk import Desk, NotByGet, Request
from bot.graphql.execution import Answer, refusal
from bot.graphql.guards import Refused
from bot.graphql.presence import Presence
from bot.graphql.requests import (
    EVENTS,
    GRAPHQL,
    JSON,
    Bad,
    check_type,
    from_body,
    from_query,
    media_of,
)
from bot.graphql.short import ShortWays, Way
from bot.services import Caller
from bot.web.auth import Identity, same_site
from bot.web.gate import HEADERS
from bot.web.requests import SAFE

log = logging.getLogger(__name__)

_DAY = 86_400.0
_HTML = "text/html; charset=utf-8"
#: Sites can't set it in a request to another one without being asked first (CORS).
_NOT_A_FORM = b"graphql-require-preflight"


class Authenticator(Protocol):
    """Says who sent those headers (lower-case names)."""

    async def __call__(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Unauthenticated where nobody did."""

    def known(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        """The same, of who need not be looked up and is not ``ambient``; else None."""


#: Counts a request of a caller. TooMany where it is one too many.
Count = Callable[[str], Awaitable[None]]
#: Told of each answered request: method, status, seconds.
Note = Callable[[str, int, float], None]


#: Status, body, media type and further headers.
Response = tuple[int, bytes, str, list[tuple[bytes, bytes]]]


class _NotKept(Exception):
    """An answer that is not kept under its Idempotency-Key: nothing was done."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class GraphqlHttp:
    """The ASGI application of ``/graphql`` for HTTP."""

    def __init__(
        self,
        desk: Desk,
        *,
        authenticate: Authenticator,
        count: Count | None,
        note: Note,
        once: Cache,
        presence: Presence,
        max_body: int,
    ) -> None:
        self._desk = desk
        self._authenticate = authenticate
        self._count = count
        self._note = note
        self._done = once
        self._presence = presence
        self._max_body = max_body
        # An id for each request: a new one from the system would take longer than the answer.
        self._mark, self._numbers = secrets.token_hex(6).encode(), itertools.count()
        self._ways = ShortWays()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        request_id = (
            given
            if given is not None and SAFE.fullmatch(given)
            else b"%s%x" % (self._mark, next(self._numbers))
        )
        begun, method = time.perf_counter(), scope["method"]
        within = REQUEST.set(request_id.decode())
        client = scope.get("client")
        ADDRESS.set(client[0] if client else None)
        try:
            way = None
            if method == "POST":
                first = await receive()
                way = self._ways.find(headers, first)
                if way is not None and self._authenticate.known(headers) != way.caller:
                    way = None
                if way is None:
                    receive = _after(first, receive)
            found: Response | None
            if way is not None:
                found = await self._respond_again(way)
            elif EVENTS in headers.get(b"accept", b""):
                found = await self._follow(scope, headers, receive, send, request_id)
            else:
                found = await self._respond(scope, headers, receive)
            if found is not None:
                await _send(send, request_id, *found)
        finally:
            REQUEST.reset(within)
        status = 200 if found is None else found[0]
        self._note(method, status, time.perf_counter() - begun)

    async def _respond_again(self, way: Way) -> Response:
        try:
            if self._count is not None:
                await self._count(way.caller.token_id or way.caller.user)
            found = await self._desk.again(way.caller, way.asked)
        except Exception as error:  # noqa: BLE001 - the door: what is no answer becomes one
            return _problem(error, way.media)
        return 200 if way.media == JSON or found.begun else 400, found.body, way.media, []

    async def _respond(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> Response:
        accept = headers.get(b"accept", b"")
        media = media_of(accept)
        if scope["method"] == "GET" and self._wants_page(scope, accept):
            return 200, graphiql.page(), _HTML, graphiql.HEADERS
        try:
            if media is None:
                raise Bad(406, "not_acceptable", f"answers are {GRAPHQL} or {JSON}")
            found = await self._answer(scope, headers, receive)
        except Exception as error:  # noqa: BLE001 - the door: what is no answer becomes one
            return _problem(error, media or JSON)
        return 200 if media == JSON or found.begun else 400, found.body, media, []

    async def _follow(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
        request_id: bytes,
    ) -> Response | None:
        """Answer with events; a response where that can't be."""
        try:
            caller, request, _ = await self._asked(scope, headers, receive)
            events = sse.Events(receive, send, self._presence, request_id)
            reads_only = scope["method"] == "GET"
            with self._presence.one_more(caller):
                async with self._desk.follow(caller, request, reads_only=reads_only) as found:
                    if isinstance(found, Answer) and not found.begun:
                        return 400, found.body, JSON, []
                    await events.tell(found, lambda: self._authenticate(headers))
        except Exception as error:  # noqa: BLE001 - the door: what is no answer becomes one
            return _problem(error, JSON)
        return None

    async def _answer(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> Answer:
        caller, request, body = await self._asked(scope, headers, receive)
        key = headers.get(b"idempotency-key")
        if key is not None and scope["method"] == "POST" and self._desk.changes(request):
            return await self._once(caller, key, body, request)
        found = await self._desk.ask(caller, request, reads_only=scope["method"] == "GET")
        if found.clean and scope["method"] == "POST":
            asked = self._desk.remembered(caller, request)
            media = media_of(headers.get(b"accept", b""))
            if asked is not None and media is not None:
                self._ways.learn(headers, body, Way(caller, asked, media))
        return found

    async def _asked(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[Caller, Request, bytes]:
        """Who asks what, and the body that says so."""
        method = scope["method"]
        if method not in {"GET", "POST"}:
            raise Bad(405, "method", "send POST, or GET for a query", allow="GET, POST")
        if not same_site(headers):
            raise Bad(403, "cross_site", "pages of other sites may not ask")
        body = await self._read(headers, receive) if method == "POST" else b""
        identity = await self._authenticate(headers)
        if identity.ambient and _NOT_A_FORM not in headers:
            raise Bad(403, "csrf", "with a cookie, the header GraphQL-Require-Preflight is needed")
        caller = identity.caller
        if self._count is not None:
            await self._count(caller.token_id or caller.user)
        if method == "GET":
            return caller, from_query(scope), body
        check_type(headers.get(b"content-type", b""))
        return caller, from_body(body), body

    async def _once(self, caller: Caller, key: bytes, body: bytes, request: Request) -> Answer:
        """The answer to the first request with that key. Conflict where another one had it."""
        if len(key) > 200:
            raise Bad(400, "idempotency_key", "an Idempotency-Key has at most 200 characters")
        name = hashlib.sha256(b"\0".join([caller.user.encode(), key])).hexdigest()
        digest = hashlib.sha256(body).digest()

        async def make() -> bytes:
            found = await self._desk.ask(caller, request)
            if not found.begun:
                raise _NotKept(found)
            return digest + bytes([found.clean, found.begun]) + found.body

        try:
            kept = await self._done.single_flight(name, ttl=_DAY, make=make)
        except _NotKept as error:
            return error.answer
        if kept[:32] != digest:
            raise Conflict(
                "another request had that Idempotency-Key", hint="choose a new key for a new one"
            )
        return Answer(kept[34:], clean=bool(kept[32]), begun=bool(kept[33]))

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        too_large = Bad(413, "body_too_large", f"a request has at most {self._max_body} bytes")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise too_large
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Bad(400, "disconnected", "the request broke off")
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


def _problem(error: Exception, media: str) -> Response:
    if isinstance(error, Bad):
        more = [(name.encode(), value.encode()) for name, value in error.headers.items()]
        return error.status, _refusal(error.code, str(error)), media, more
    if isinstance(error, NotByGet):
        body = _refusal("not_by_get", "a mutation is sent by POST")
        return 405, body, media, [(b"allow", b"POST")]
    shaped = shaping.shaped(GraphQLError(str(error), original_error=error))
    if not isinstance(error, MltbError):
        return 500, refusal(shaped).body, media, []
    more = []
    if isinstance(error, Unauthenticated):
        more.append((b"www-authenticate", b'Bearer realm="mltb"'))
    if (wait := error.details.get("retry_after")) is not None:
        more.append((b"retry-after", str(wait).encode()))
    return error.status, refusal(shaped).body, media, more


def _refusal(code: str, message: str) -> bytes:
    return refusal(shaping.refused(Refused(code, message))).body


def _after(first: Message, receive: Receive) -> Receive:
    """What is received, with that message before it."""
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


#: Of GraphiQL, which has a policy of its own for what it loads.
_PAGE_HEADERS = tuple(each for each in HEADERS if each[0] != b"content-security-policy")


async def _send(
    send: Send,
    request_id: bytes,
    status: int,
    body: bytes,
    media: str,
    more: list[tuple[bytes, bytes]],
) -> None:
    headers = [
        (b"content-type", media.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
        # There is no Vary: what may not be stored is not chosen from.
        *(HEADERS if media != _HTML else _PAGE_HEADERS),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

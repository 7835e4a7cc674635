"""What every route does besides its own work, in whatever application it is included."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.responses import StreamingResponse

from bot.domain.context import REQUEST, within_request
from bot.services import Caller
from bot.web.auth import services_of
from bot.web.once import ONCE, Once
from bot.web.problems import answer_to

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_TAGGED = 1_000_000  # bytes of an answer that gets a tag
_RECORDED = 64 * 1024  # bytes of a body that is looked at for the record
_KEPT = Once()
_READS = frozenset({"GET", "HEAD"})


class Route(APIRoute):
    """Turns errors into problems, tags what is read, and knows the request by its id."""

    def get_route_handler(self) -> Handler:
        """The handler, with all that around it."""
        handle = super().get_route_handler()
        makes = any(each in self.dependencies for each in ONCE)

        async def answer(request: Request) -> Response:
            try:
                response = await (once(handle, request) if makes else handle(request))
            except Exception as error:  # noqa: BLE001 - the last that can turn it into an answer
                response = answer_to(request, error)
            if request.method in _READS:
                return tagged(request, response)
            _record(request, f"{request.method} {self.path}", response)
            return response

        async def identified(request: Request) -> Response:
            if REQUEST.get() is not None:
                return await answer(request)
            # The application around us is not ours.
            request_id = secrets.token_hex(8)
            with within_request(request_id):
                response = await answer(request)
            response.headers["X-Request-ID"] = request_id
            return response

        return identified


async def once(handle: Handler, request: Request) -> Response:
    """The answer of ``handle``, or that of the first request with the same key."""
    key = request.headers.get("idempotency-key")
    if not key:
        return await handle(request)
    return await _KEPT.answer(request, services_of(request), key, lambda: handle(request))


def tagged(request: Request, response: Response) -> Response:
    """The answer with its tag; where the client has just that (RFC 9110, section 13.1.2), the tag
    alone."""
    if response.status_code != 200 or isinstance(response, StreamingResponse):
        return response
    body = getattr(response, "body", b"")
    if not body or len(body) > _TAGGED or "etag" in response.headers:
        return response
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    response.headers["ETag"] = tag
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if tag not in request.headers.get("if-none-match", ""):
        return response
    kept = {name: response.headers[name] for name in ("ETag", "Cache-Control")}
    return Response(status_code=304, headers=kept)


class _Made(msgspec.Struct):
    id: str | None = None
    name: str | None = None


def _record(request: Request, action: str, response: Response) -> None:
    """Record a write, if it is known who sent it: what nobody sent changes nothing."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        return
    target = " ".join(map(str, request.path_params.values())) or None
    if target is None and response.status_code < 300:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
            made = msgspec.json.decode(response.body, type=_Made)
            target = made.id or made.name
    # As it was read for the route; no more of it is waited for.
    body = vars(request).get("_body", b"")
    sent: object = None
    if len(body) <= _RECORDED:
        with contextlib.suppress(msgspec.MsgspecError, RecursionError, UnicodeError):
            sent = msgspec.json.decode(body)
    address = request.client.host if request.client else None
    services_of(request).audit.note(
        caller, action, response.status_code, target=target, address=address, sent=sent
    )

"""An id for every request: in its answer, and in every line that is logged on its way."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.domain.context import within_request
from bot.web.gate import HEADERS

log = logging.getLogger(__name__)

_HEADER = b"x-request-id"
#: An id that a client may give to its request.
SAFE = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"GET", "HEAD", "OPTIONS"})


class Requests:
    """The outermost layer of the application: the headers of a careful answer; the id of the
    client where it is short and plain, else a new one; and a line for each request that changes
    something or is refused (for the others where the level is debug)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(_HEADER, b"")
        request_id = given if SAFE.fullmatch(given) else secrets.token_hex(8).encode()
        status = 0

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                said = {name.lower() for name, _ in message["headers"]}
                safe = [each for each in HEADERS if each[0] not in said]
                headers = [*message["headers"], *safe, (_HEADER, request_id)]
                message = {**message, "headers": headers}
            await send(message)

        with within_request(request_id.decode()):
            began = time.perf_counter()
            try:
                await self._app(scope, receive, marked)
            finally:
                _tell(scope, status, time.perf_counter() - began)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    """One line. Without the query, in which a token may be."""
    quiet = scope["method"] in _QUIET and 0 < status < 400
    level = logging.DEBUG if quiet else logging.INFO
    if log.isEnabledFor(level):
        fields = {"status": status, "seconds": round(seconds, 6)}
        log.log(level, "%s %s", scope["method"], scope["path"], extra={"fields": fields})

"""The ASGI application: health, REST and the shape of errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot import __version__
from bot.domain.ports import Profiler
from bot.domain.profiling import UNPROFILED
from bot.errors import BodyTooLarge
from bot.services import Caller
from bot.services import Scope as TokenScope
from bot.web import schemas, whole
from bot.web.attached import Served
from bot.web.auth import needs, services_of
from bot.web.counting import CountRequests
from bot.web.described import describe
from bot.web.pages import SAFE, docs
from bot.web.problems import add_errors, problem
from bot.web.requests import Requests

MAX_BODY = 64 * 1024 * 1024


class _Application(FastAPI):
    """Every request has its id from the first layer to the last, faults included."""

    def build_middleware_stack(self) -> ASGIApp:
        return Requests(super().build_middleware_stack())


def build(
    served: Served, *, ready: Callable[[], str | None], profiler: Profiler = UNPROFILED
) -> FastAPI:
    """The application over that service. ``ready`` says why it takes no work, or None."""
    app = _Application(
        title="mltb",
        version=__version__,
        summary="Takes a link, fetches it, processes it and delivers it, verified.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v3/openapi.json",
    )
    app.state.served, app.state.ready = served, ready
    app.router.routes.extend(whole.router.routes)
    app.add_middleware(LimitBody, limit=MAX_BODY)
    app.add_middleware(CountRequests, profiler=profiler)
    add_errors(app)
    _add_health(app)
    _add_metrics(app)
    app.add_api_route("/docs", docs, include_in_schema=False)
    if served.dashboard:
        _add_door(app)
    describe(app)
    return app


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", response_model=schemas.HealthOut, tags=["health"])
    async def healthz() -> Response:
        """Alive."""
        return _answer({"status": "alive"})

    @app.get(
        "/readyz",
        response_model=schemas.HealthOut,
        responses={503: {"model": schemas.HealthOut, "description": "It does not take work."}},
        tags=["health"],
    )
    async def readyz(request: Request) -> Response:
        """Takes work."""
        reason = request.app.state.ready()
        return _answer({"status": reason or "ready"}, 503 if reason else 200)


def _add_metrics(app: FastAPI) -> None:
    @app.get("/metrics", response_class=PlainTextResponse, tags=["health"])
    async def metrics(
        request: Request, caller: Annotated[Caller, Depends(needs(TokenScope.VIEW))]
    ) -> Response:
        """Everything that is counted, for Prometheus: OpenMetrics, or its older text format."""
        found = services_of(request)
        text, media = await found.metrics.page(caller, request.headers.get("Accept", ""))
        return Response(text, media_type=media)


def _add_door(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def door() -> Response:
        # What stands behind # goes along, a token of the greeting too.
        return RedirectResponse("/api/v3/dashboard", 307, headers=SAFE)


def _answer(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


class LimitBody:
    """Refuses bodies over ``limit`` bytes before they are in memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = BodyTooLarge("the body is too large", hint=f"at most {self._limit} bytes")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            await problem(error)(scope, receive, send)
            return
        read = 0

        async def capped() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise error
            return message

        await self._app(scope, capped, send)

"""The ASGI application: health, REST and the shape of errors."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot import __version__
from bot.domain.ports import Profiler
from bot.domain.profiling import UNPROFILED
from bot.errors import (
    BodyTooLarge,
    InvalidInput,
    MltbError,
    NotFound,
    RequestError,
    Unauthenticated,
)
from bot.services import Caller, Services
from bot.services import Scope as TokenScope
from bot.web import (
    render,
    rest,
    rest_alerts,
    rest_backups,
    rest_history,
    rest_logger,
    rest_metrics,
    rest_plugin_keys,
    rest_plugins,
    rest_profiler,
    rest_recovery,
    rest_session,
    schemas,
)
from bot.web.auth import needs
from bot.web.counting import CountRequests
from bot.web.requests import Requests

log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
MAX_BODY = 64 * 1024 * 1024
_PROBLEM = "application/problem+json"


class _Application(FastAPI):
    """Every request has its id from the first layer to the last, faults included."""

    def build_middleware_stack(self) -> ASGIApp:
        return Requests(super().build_middleware_stack())


def build(
    services: Services, *, ready: Callable[[], str | None], profiler: Profiler = UNPROFILED
) -> FastAPI:
    """The application over those services. ``ready`` says why it takes no work, or None."""
    app = _Application(
        title="mltb",
        version=__version__,
        summary="Takes a link, fetches it, processes it and delivers it, verified.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v3/openapi.json",
    )
    app.state.services, app.state.ready = services, ready
    for part in (
        rest_session,
        rest,
        rest_metrics,
        rest_history,
        rest_profiler,
        rest_alerts,
        rest_backups,
        rest_recovery,
        rest_plugin_keys,  # before that of the plugins: "keys" is none
        rest_plugins,
        rest_logger,
    ):
        app.include_router(part.router)
    app.add_middleware(LimitBody, limit=MAX_BODY)
    app.add_middleware(CountRequests, profiler=profiler)
    _add_errors(app)
    _add_health(app)
    _add_metrics(app)
    _add_page(app)
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
        found: Services = request.app.state.services
        text, media = await found.metrics.page(caller, request.headers.get("Accept", ""))
        return Response(text, media_type=media)


def _add_page(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.get("/api/v3/dashboard", response_class=HTMLResponse, tags=["dashboard"])
    async def page() -> Response:
        """The page; it asks by itself who looks at it."""
        return FileResponse(_STATIC / "index.html", headers=_PAGE_HEADERS)

    @app.get("/", include_in_schema=False)
    async def door() -> Response:
        # What stands behind # goes along, a token of the greeting too.
        return RedirectResponse("/api/v3/dashboard", 307, headers=_PAGE_HEADERS)


def _answer(content: object, status: int = 200, media: str = "application/json") -> Response:
    return Response(msgspec.json.encode(content), status, media_type=media)


def _problem(error: MltbError) -> Response:
    response = _answer(render.problem(error), error.status, _PROBLEM)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="mltb"'
    return response


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(MltbError)
    async def known(request: Request, error: MltbError) -> Response:
        if error.status >= 500 and error.code == "internal":
            return await _fault(request, error)
        return _problem(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        wrong = [
            {"at": ".".join(map(str, item["loc"])), "message": item["msg"]}
            for item in error.errors()
        ]
        first = wrong[0] if wrong else {"at": "body", "message": "is wrong"}
        return _problem(InvalidInput(f"{first['at']}: {first['message']}", errors=wrong[:50]))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == NotFound.status:
            return _problem(NotFound(f"there is nothing at {request.url.path}"))
        shaped = render.problem(RequestError(str(error.detail)))
        response = _answer({**shaped, "status": error.status_code}, error.status_code, _PROBLEM)
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(Exception, _fault)


async def _fault(request: Request, error: Exception) -> Response:
    """A fault of the program: the caller gets an id that finds the log line, and no more."""
    reference = secrets.token_hex(6)
    log.error("fault %s in %s %s", reference, request.method, request.url.path, exc_info=error)
    return _problem(
        MltbError(
            "a fault of the service",
            hint=f"the log has it under {reference}",
            id=reference,
        )
    )


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
            await _problem(error)(scope, receive, send)
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

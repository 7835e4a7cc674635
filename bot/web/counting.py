"""Counts and times the requests that are answered: route, method, status, seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.domain.ports import Profiler
from bot.web.attached import served_of


class CountRequests:
    """Tells the service and the profiler of each answered request, by the template of its path.

    A path in a name would make a name for each task, and a client can invent paths: those that no
    route knows share one name.
    """

    def __init__(self, app: ASGIApp, profiler: Profiler) -> None:
        self._app = app
        self._profiler = profiler
        self._expecting = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        application: FastAPI = scope["app"]
        services = served_of(application).services
        if not self._expecting:
            self._expecting = True
            services.metrics.expect(_routes(application.routes))
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", None)
            seconds = time.perf_counter() - began
            services.metrics.answered(route, scope["method"], status, seconds)
            name = f"http.{scope['method']} {route}" if route else "http.unknown"
            self._profiler.record(name, seconds, failed=status >= 500, path=scope["path"])


def _routes(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        # FastAPI keeps an included router whole, behind a route of its own kind.
        included = getattr(route, "original_router", None)
        if isinstance(included, APIRouter):
            yield from _routes(included.routes)
        elif isinstance(route, APIRoute):
            for method in route.methods or ():
                yield route.path, method

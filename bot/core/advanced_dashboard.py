"""The dashboard and everything under ``/api/v3``, for a FastAPI application that is not ours:

    app.include_router(router)

It serves the service that runs in this process, with all that stands before its own doors: access,
limits, the settings of DASHBOARD_SECURITY; 503 where none runs. ``/graphql`` comes with it, for the
page leads there: a mount of ``graphql_app`` alone answers that very path with a redirect.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from fastapi import APIRouter
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.core.present import Present
from bot.errors import Unavailable
from bot.web import whole
from bot.web.problems import problem

__all__ = ["dashboard_app", "router"]

_BASE = "/api/v3"
#: What a server says of a request. The rest of a scope is between an application and its routes.
_OF_THE_SERVER = frozenset(
    {
        "type",
        "asgi",
        "http_version",
        "method",
        "scheme",
        "path",
        "raw_path",
        "query_string",
        "headers",
        "client",
        "server",
        "subprotocols",
        "extensions",
    }
)


class DashboardApp:
    """The web application of the service that runs here; Unavailable (503) where none does."""

    def __init__(self) -> None:
        self._served: Present[Callable[[], ASGIApp]] = Present()

    def attached(self, served: Callable[[], ASGIApp]) -> AbstractContextManager[None]:
        """Serve what ``served`` gives for as long as this is entered; the newest one counts."""
        return self._served.attached(served)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        served = self._served.newest
        if served is None:
            await _refuse(scope, receive, send)
            return
        # Below a mount the path is whole, and what comes before it is in root_path.
        root = scope.get("root_path", "").removesuffix(_BASE)
        ours = {name: value for name, value in scope.items() if name in _OF_THE_SERVER}
        await served()({**ours, "root_path": root}, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = Unavailable(
        "no service runs in this process", hint="await initialize_phase3_services() starts one"
    )
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013, "reason": error.message})
        return
    await problem(error)(scope, receive, send)


#: The one of this process.
dashboard_app = DashboardApp()

router = APIRouter(
    routes=[
        Mount(_BASE, app=dashboard_app),
        # Behind the mount, which answers: they are there for the OpenAPI of the application.
        *whole.router.routes,
        Route("/graphql", dashboard_app, include_in_schema=False),
        WebSocketRoute("/graphql", dashboard_app),
    ]
)

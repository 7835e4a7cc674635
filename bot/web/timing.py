"""Times every request, by the template of its route."""

from __future__ import annotations

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.domain.ports import Profiler


class TimeRequests:
    """Hands the profiler ``http.METHOD TEMPLATE`` for each request.

    A path in the name would make a name for each task; a client can invent paths, so those that
    no route knows share one name.
    """

    def __init__(self, app: ASGIApp, profiler: Profiler) -> None:
        self._app = app
        self._profiler = profiler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not self._profiler.enabled:
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            template = getattr(scope.get("route"), "path", None)
            name = f"http.{scope['method']} {template}" if template else "http.unknown"
            self._profiler.record(
                name, perf_counter() - began, failed=status >= 500, path=scope["path"]
            )

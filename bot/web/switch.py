"""Which application serves a path, and who is told of what it did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Switch:
    """``apps`` by their exact path, with or without a slash at the end; ``other`` serves the
    rest."""

    def __init__(self, apps: Mapping[str, ASGIApp], other: ASGIApp) -> None:
        self._apps = {path: app for each, app in apps.items() for path in (each, f"{each}/")}
        self._other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        app = self._apps.get(scope.get("path", ""), self._other)
        await app(scope, receive, send)


class ByType:
    """``apps`` by the type of the connection (``http``, ``websocket``)."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self._apps[scope["type"]](scope, receive, send)


class Telling:
    """``tell`` is called for each request to ``app`` that may change something, when that is done
    and before its answer leaves: who has the answer sees what it says everywhere."""

    def __init__(self, app: ASGIApp, tell: Callable[[], Awaitable[None]]) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._tell()
            await send(message)

        await self._app(scope, receive, told)

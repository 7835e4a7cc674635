"""Which application serves a path."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


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

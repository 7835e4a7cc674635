"""Live metrics under ``/api/v3``: a WebSocket, and server-sent events with the same messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from bot.errors import NotFound, TooMany
from bot.web.attached import served_of
from bot.web.live import socket
from bot.web.live.hub import Client, Hub
from bot.web.live.pipes import QueuePipe
from bot.web.live.visitors import visitor_of
from bot.web.routes import All, Viewer, new_router

router = new_router()

_QUIET = 15.0  # seconds without a message after which a comment says that we are there


class LiveSocket:
    """The WebSocket, for the hub of the application that it is a route of."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        served = served_of(scope["app"])
        await socket.serve(served.live, served.services, scope, receive, send)


router.routes.append(WebSocketRoute("/api/v3/ws/live-metrics", LiveSocket()))


@router.get(
    "/sse/live-metrics",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "A message an event."}},
    tags=["metrics"],
)
async def live_metrics(
    request: Request,
    caller: Viewer,
    services: All,
    interval: Annotated[
        int | None, Query(ge=1, le=60, description="Seconds; DASHBOARD_REFRESH by default.")
    ] = None,
) -> StreamingResponse:
    """What runs, as it runs (server-sent events): a snapshot, then what changes."""
    hub = served_of(request.app).live
    if hub is None:
        raise NotFound(
            "live metrics are off", hint="ENABLE_LIVE_METRICS turns them on, for a dashboard"
        )
    visitor = await visitor_of(services, dict(request.scope["headers"]))
    hub.check_room()
    pipe = QueuePipe()
    client = Client(visitor, pipe, lambda code, reason: pipe.end())
    return StreamingResponse(
        _events(hub, client, pipe, interval),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def _events(
    hub: Hub, client: Client, pipe: QueuePipe, interval: int | None
) -> AsyncIterator[bytes]:
    try:
        await hub.join(client, interval)
        while True:
            try:
                async with asyncio.timeout(_QUIET):
                    message = await anext(pipe)
            except TimeoutError:
                yield b": alive\n\n"
            else:
                yield message.event
    except (StopAsyncIteration, TooMany):
        return
    finally:
        hub.part(client)

"""The log under ``/api/v3/logger``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from fastapi import Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from bot.operations.log_lines import LogLine, stamp
from bot.operations.log_reader import LogQuery, Place
from bot.web.routes import Admin, All, Viewer, new_router, reply
from bot.web.schemas_logger import LogStatsOut, RecentLogsOut

router = new_router("/logger")

_HEARTBEAT = 40  # looks without a line, four a second, after which a comment goes out
_PLACE = r"^\d{1,18}-\d{1,18}$"


def _query(
    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None,
        Query(description="This and above."),
    ] = None,
    logger: Annotated[
        str | None, Query(max_length=200, description="This and those below it, such as bot.web.")
    ] = None,
    task: Annotated[str | None, Query(max_length=100)] = None,
    request: Annotated[str | None, Query(max_length=100, description="An X-Request-ID.")] = None,
    text: Annotated[
        str | None, Query(max_length=200, description="In message, fields or traceback.")
    ] = None,
    since: datetime | None = None,
) -> LogQuery:
    return LogQuery(
        level, logger, task, request, text, None if since is None else stamp(since.timestamp())
    )


Wanted = Annotated[LogQuery, Depends(_query)]


@router.get("/stats", response_model=LogStatsOut, tags=["logger"])
async def stats(caller: Viewer, services: All) -> Response:
    """How much log there is, and whether it is whole."""
    found = await services.logs.stats(caller)
    return reply({"status": "ok", **msgspec.structs.asdict(found)})


@router.get("/recent-logs", response_model=RecentLogsOut, tags=["logger"])
async def recent_logs(
    caller: Admin,
    services: All,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=_PLACE)] = None,
) -> Response:
    """The newest lines."""
    found = await services.logs.recent(caller, wanted, limit, cursor)
    return reply(
        {
            "status": "ok",
            "items": found.lines,
            "cursor": None if found.cursor is None else str(found.cursor),
            "end": str(found.end),
            "examined": found.examined,
            "skipped": found.skipped,
        }
    )


@router.get(
    "/follow",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "A line an event."}},
    tags=["logger"],
)
async def follow(
    caller: Admin,
    services: All,
    wanted: Wanted,
    after: Annotated[str | None, Query(pattern=_PLACE, description="What `end` was.")] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", pattern=_PLACE)] = None,
) -> StreamingResponse:
    """Lines as they come (server-sent events), until the service stops."""
    batches = await services.logs.follow(caller, wanted, last or after)
    return StreamingResponse(
        _events(batches), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _events(batches: AsyncIterator[list[tuple[Place, LogLine]]]) -> AsyncIterator[bytes]:
    """The lines as server-sent events, and a comment where nothing was sent for long, so that the
    other side knows that we are there (and we, whether it is)."""
    yield b": following\n\n"
    idle = 0
    async for batch in batches:
        idle = 0 if batch else idle + 1
        if batch:
            yield b"".join(map(_event, batch))
        elif idle % _HEARTBEAT == 0:
            yield b": alive\n\n"


def _event(found: tuple[Place, LogLine]) -> bytes:
    place, line = found
    return b"id: %s\ndata: %s\n\n" % (str(place).encode(), msgspec.json.encode(line))

"""The profiler under ``/api/v3/profiler``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import msgspec
from fastapi import Query, Response

from bot.web import render
from bot.web import schemas_profiler as schemas
from bot.web.routes import Admin, All, Viewer, new_router, reply

router = new_router("/profiler")


@router.get("/stats", response_model=schemas.ProfilerStatsOut, tags=["profiler"])
async def stats(
    caller: Viewer,
    services: All,
    operation: Annotated[
        str | None,
        Query(max_length=100, description="A name such as stage.fetch, or the area stage."),
    ] = None,
) -> Response:
    """How long operations take."""
    found = services.profiling.stats(caller, operation)
    return reply(
        {
            "status": "ok",
            "enabled": found.enabled,
            "since": render.moment(found.since),
            "overflowed": found.overflowed,
            "items": found.operations,
            "areas": found.areas,
            "cursor": None,
        }
    )


@router.get("/slow-operations", response_model=schemas.SlowRunsOut, tags=["profiler"])
@router.get("/slow-ops", response_model=schemas.SlowRunsOut, tags=["profiler"])
async def slow_operations(
    caller: Admin,
    services: All,
    threshold: Annotated[
        float | None, Query(ge=0, description="Seconds; left out, PROFILER_SLOW_THRESHOLD.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 10,
) -> Response:
    """The slowest runs with their details."""
    runs = services.profiling.slowest(caller, threshold, limit)
    items = [{**msgspec.structs.asdict(run), "at": render.moment(run.at)} for run in runs]
    return reply({"status": "ok", "items": items, "cursor": None})


@router.delete("/stats", response_model=schemas.ResetOut, tags=["profiler"])
async def reset(caller: Admin, services: All) -> Response:
    """Forget all figures and begin anew."""
    services.profiling.reset(caller)
    return reply({"status": "ok"})


@router.post("/profile", response_model=schemas.ProfileOut, tags=["profiler"])
async def profile(body: schemas.ProfileIn, caller: Admin, services: All) -> Response:
    """Take a sampling profile of the running service; it answers when it is there."""
    found = await services.profiling.profile(caller, body.seconds, body.format)
    return reply({"status": "ok", **asdict(found)})

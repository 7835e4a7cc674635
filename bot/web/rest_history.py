"""The history of metrics under ``/api/v3/metrics/history``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query, Response

from bot.operations.history_query import MAX_NAMES
from bot.web import render
from bot.web import schemas_history as schemas
from bot.web.routes import All, Viewer, new_router, reply

router = new_router("/metrics")


@router.get("/history", response_model=schemas.HistoryOut, tags=["metrics"])
async def history(
    caller: Viewer,
    services: All,
    name: Annotated[
        list[Annotated[str, Query(max_length=100)]],
        Query(
            min_length=1,
            max_length=MAX_NAMES,
            description="Names of readings, as /api/v3/metrics/current lists them.",
        ),
    ],
    since: Annotated[
        datetime | None, Query(description="Left out, an hour before `until`.")
    ] = None,
    until: Annotated[datetime | None, Query(description="Left out, now.")] = None,
    points: Annotated[
        int | None,
        Query(ge=1, description="At most; DASHBOARD_THRESHOLDS__MAX_HISTORICAL_POINTS caps it."),
    ] = None,
) -> Response:
    """Readings over time; least, greatest, mean and last of each stretch."""
    found = await services.history.metrics(
        caller,
        name,
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
        points=points,
    )
    answer = found.answer
    times = [render.moment(answer.start + place * answer.step) for place in range(answer.size)]
    items = []
    for series in answer.series:
        reading = found.readings.get(series.name)
        items.append(
            {
                "name": series.name,
                "unit": reading and reading.unit,
                "help": reading and reading.help,
                "mean": series.mean,
                "min": series.min,
                "max": series.max,
                "last": series.last,
            }
        )
    return reply(
        {
            "status": "ok",
            "step": answer.step,
            "resolution": answer.resolution,
            "times": times,
            "items": items,
            "cursor": None,
        }
    )

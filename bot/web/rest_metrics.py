"""Numbers about the service under ``/api/v3/metrics``."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import Response

from bot.web import schemas_metrics as schemas
from bot.web.routes import All, Viewer, new_router, reply

router = new_router("/metrics")


@router.get("/current", response_model=schemas.ReadingsOut, tags=["metrics"])
async def current(caller: Viewer, services: All) -> Response:
    """The readings of the service, as they are now."""
    found = services.metrics.current(caller)
    items = [{**asdict(reading), "value": value} for reading, value in found]
    return reply({"status": "ok", "items": items, "cursor": None})

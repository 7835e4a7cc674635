"""The service as a whole under ``/api/v3/system``: how it is, its settings, kept answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request, Response

from bot.errors import NotFound
from bot.web import render
from bot.web import schemas_system as schemas
from bot.web.attached import Queries, served_of
from bot.web.routes import Admin, All, Viewer, new_router, reply

router = new_router("/system")
_TAGS: list[Any] = ["system"]


@router.get("/status", response_model=schemas.StatusOut, tags=_TAGS)
async def status(caller: Viewer, services: All) -> Response:
    """How the service is at this moment."""
    found = services.system.status(caller)
    return reply(
        {
            "status": "ok",
            "version": found.version,
            "open": found.open,
            "started_at": render.moment(found.started_at),
            "uptime": found.uptime,
            "database": found.database,
            "cache": found.cache,
            "max_active": found.policy.max_active,
            "max_active_per_user": found.policy.max_active_per_user,
            "values": found.values,
        }
    )


@router.get("/settings", response_model=schemas.SettingsOut, tags=_TAGS)
async def settings(caller: Admin, services: All) -> Response:
    """Every setting in force and where it comes from, secrets as stars."""
    items = [msgspec.structs.asdict(each) for each in services.system.settings(caller)]
    return reply({"status": "ok", "items": items, "cursor": None})


@router.get("/query-cache", response_model=schemas.QueryCacheOut, tags=_TAGS)
async def query_cache(request: Request, caller: Viewer) -> Response:
    """What the cache of GraphQL's answers did since the start."""
    found = await _queries(request).cache_stats(caller)
    return reply({"status": "ok", **asdict(found)})


@router.post("/query-cache/invalidate", response_model=schemas.InvalidatedOut, tags=_TAGS)
async def invalidate(request: Request, body: schemas.InvalidateIn, caller: Admin) -> Response:
    """Forget kept answers: those about `tags` alone, or all."""
    gone = await _queries(request).invalidate(caller, body.tags)
    return reply({"status": "ok", "tags": list(gone)})


@router.get("/hot-queries", response_model=schemas.HotQueriesOut, tags=_TAGS)
async def hot_queries(
    request: Request, caller: Admin, limit: Annotated[int, Query(ge=1, le=500)] = 20
) -> Response:
    """The GraphQL queries that are asked most often."""
    found = await _queries(request).hot_queries(caller, limit)
    items = [asdict(each) for each in found]
    return reply({"status": "ok", "items": items, "cursor": None})


def _queries(request: Request) -> Queries:
    queries = served_of(request.app).queries
    if queries is None:
        raise NotFound("there is no GraphQL", hint="ENABLE_GRAPHQL_API turns it on")
    return queries

"""Everything under ``/api/v3``, as one router: for our application, and for others."""

from __future__ import annotations

from fastapi import APIRouter

from bot.web import (
    pages,
    rest,
    rest_alerts,
    rest_backups,
    rest_history,
    rest_live,
    rest_logger,
    rest_metrics,
    rest_plugin_keys,
    rest_plugins,
    rest_profiler,
    rest_queue,
    rest_recovery,
    rest_session,
    rest_system,
    rest_users,
)


def _whole() -> APIRouter:
    router = APIRouter()
    for part in (
        rest_session,
        rest,
        rest_queue,
        rest_users,
        rest_system,
        rest_metrics,
        rest_history,
        rest_live,
        rest_profiler,
        rest_alerts,
        rest_backups,
        rest_recovery,
        rest_plugin_keys,  # before that of the plugins: "keys" is none
        rest_plugins,
        rest_logger,
        pages,
    ):
        # As they are: a router within a router is looked through twice with each request.
        router.routes.extend(part.router.routes)
    return router


#: What ``include_router`` takes.
router = _whole()

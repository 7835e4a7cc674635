"""Everything under ``/api/v3``, as one router: for our application, and for others."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Mount

from bot.web import (
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
    rest_recovery,
    rest_session,
)
from bot.web.routes import new_router

_STATIC = Path(__file__).parent / "static"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_page = new_router("/dashboard")


@_page.get("", response_class=HTMLResponse, tags=["dashboard"])
async def page() -> FileResponse:
    """The page; it asks by itself who looks at it."""
    return FileResponse(_STATIC / "index.html", headers=PAGE_HEADERS)


def _whole() -> APIRouter:
    router = APIRouter()
    for part in (
        rest_session,
        rest,
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
    ):
        # As they are: a router within a router is looked through twice with each request.
        router.routes.extend(part.router.routes)
    router.routes.extend(_page.routes)
    # Where other applications have files of their own, ours are found under the second.
    for at in ("/static", "/api/v3/static"):
        router.routes.append(Mount(at, StaticFiles(directory=_STATIC), name="static"))
    return router


#: What ``include_router`` takes.
router = _whole()

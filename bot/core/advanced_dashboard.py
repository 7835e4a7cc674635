"""The dashboard and everything under ``/api/v3``, for a FastAPI application that is not ours:

    app.include_router(router)

It serves the service that runs in this process; 503 where none does. ``/graphql`` comes with it,
for the page leads there: a mount of ``graphql_app`` alone answers that very path with a redirect.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.routing import Route, WebSocketRoute

from bot.core.graphql_api import graphql_app
from bot.web import whole

__all__ = ["router"]

router = APIRouter(
    routes=[
        *whole.router.routes,
        Route("/graphql", graphql_app, include_in_schema=False),
        WebSocketRoute("/graphql", graphql_app),
    ]
)

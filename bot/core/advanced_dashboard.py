"""The dashboard and everything under ``/api/v3``, for a FastAPI application that is not ours:

    app.include_router(router)

It serves the service that runs in this process; 503 where none does.
"""

from __future__ import annotations

from bot.web.whole import router

__all__ = ["router"]

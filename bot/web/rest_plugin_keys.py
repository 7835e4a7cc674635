"""The keys of those who make plugins, under ``/api/v3/plugins/keys``."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from bot.domain.plugins import PluginKey
from bot.web import schemas_plugins as schemas
from bot.web.render import moment
from bot.web.routes import Admin, All, new_router, reply

router = new_router("/plugins/keys")


def _fields(key: PluginKey) -> dict[str, Any]:
    return {"key": key.key, "name": key.name, "revoked": key.revoked, "at": moment(key.at)}


@router.get("", response_model=schemas.KeyListOut, tags=["plugins"])
async def list_keys(caller: Admin, services: All) -> Response:
    """Every key that the operator trusts or has revoked."""
    items = [_fields(key) for key in services.plugins.keys(caller)]
    return reply({"status": "ok", "items": items, "cursor": None})


@router.post("/trust", response_model=schemas.KeyOut, tags=["plugins"])
async def trust(body: schemas.TrustIn, caller: Admin, services: All) -> Response:
    """Trust what a key signs."""
    kept = await services.plugins.trust(caller, body.key, body.name)
    return reply({"status": "ok", **_fields(kept)})


@router.post("/revoke", response_model=schemas.RevokedOut, tags=["plugins"])
async def revoke(body: schemas.KeyIn, caller: Admin, services: All) -> Response:
    """Run nothing any more that a key made; what runs of it ends at once."""
    kept, ended = await services.plugins.revoke(caller, body.key)
    return reply({"status": "ok", **_fields(kept), "ended": ended})

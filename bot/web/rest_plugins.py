"""Plugins under ``/api/v3/plugins``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Path, Response

from bot.plugins.known import PluginInfo
from bot.web import schemas_plugins as schemas
from bot.web.render import jsonable
from bot.web.routes import Admin, All, Viewer, new_router, reply

router = new_router("/plugins")

PluginName = Annotated[str, Path(pattern="^[a-z][a-z0-9_]{0,63}$", description="Its name.")]


def _plugin(info: PluginInfo) -> Response:
    return reply({"status": "ok", **msgspec.structs.asdict(info)})


def _items(items: object) -> Response:
    return reply({"status": "ok", "items": items, "cursor": None})


@router.get("/list", response_model=schemas.PluginListOut, tags=["plugins"])
async def list_plugins(caller: Viewer, services: All) -> Response:
    """Every plugin with its state, rights and counts."""
    return _items([msgspec.structs.asdict(each) for each in services.plugins.list(caller)])


@router.post("/execute", response_model=schemas.PluginResultOut, tags=["plugins"])
async def execute(body: schemas.ExecuteIn, caller: Admin, services: All) -> Response:
    """Call ``execute`` of a plugin."""
    result = await services.plugins.execute(caller, body.plugin_name, body.data)
    return reply({"status": "ok", "result": jsonable(body.plugin_name, result)})


@router.post("/enable", response_model=schemas.PluginOut, tags=["plugins"])
async def enable(body: schemas.EnableIn, caller: Admin, services: All) -> Response:
    """Start a plugin, now and at every start."""
    name, grant, repin = body.plugin_name, body.grant, body.repin
    return _plugin(await services.plugins.enable(caller, name, grant=grant, repin=repin))


@router.post("/disable", response_model=schemas.PluginOut, tags=["plugins"])
async def disable(body: schemas.PluginIn, caller: Admin, services: All) -> Response:
    """End a plugin, now and at every start."""
    return _plugin(await services.plugins.disable(caller, body.plugin_name))


@router.post("/reload", response_model=schemas.PluginOut, tags=["plugins"])
async def reload(body: schemas.PluginIn, caller: Admin, services: All) -> Response:
    """Run what lies in PLUGINS_DIR now; the old version goes on where the new one fails."""
    return _plugin(await services.plugins.reload(caller, body.plugin_name))


@router.post("/config", response_model=schemas.PluginOut, tags=["plugins"])
async def configure(body: schemas.ConfigIn, caller: Admin, services: All) -> Response:
    """Replace the configuration of a plugin while it runs; stars stand for a secret that stays."""
    return _plugin(await services.plugins.configure(caller, body.plugin_name, body.config))


@router.get("/{name}", response_model=schemas.PluginOut, tags=["plugins"])
async def info(name: PluginName, caller: Viewer, services: All) -> Response:
    """One plugin."""
    return _plugin(services.plugins.info(caller, name))


@router.get("/{name}/config", response_model=schemas.ConfigOut, tags=["plugins"])
async def configuration(name: PluginName, caller: Admin, services: All) -> Response:
    """The schema of a plugin's configuration, and what is set, with stars for secrets."""
    found = services.plugins.configuration(caller, name)
    return reply({"status": "ok", **msgspec.structs.asdict(found)})


@router.get("/{name}/logs", response_model=schemas.PluginLinesOut, tags=["plugins"])
async def logs(name: PluginName, caller: Admin, services: All) -> Response:
    """The last lines that a plugin wrote."""
    return _items(services.plugins.lines(caller, name))

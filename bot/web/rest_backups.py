"""Backups under ``/api/v3/backups``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response
from fastapi.responses import FileResponse

from bot.errors import InvalidInput
from bot.operations.backup_catalog import Record
from bot.operations.backup_jobs import Job
from bot.operations.backup_names import PATTERN
from bot.operations.backup_seal import Keys
from bot.web import render_backups as render
from bot.web import schemas_backups as schemas
from bot.web.routes import ONCE, Admin, All, new_router, reply

router = new_router("/backups")

Name = Annotated[str, Path(pattern=f"^{PATTERN}$", description="The name of a backup.")]
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": schemas.JobOut, "description": "It goes on by itself."}
}

_PATIENCE = 60.0  # seconds that a caller waits for the check before a restore


def _settled(found: Record | Job, status: int) -> Response:
    if isinstance(found, Job):
        return reply(render.job(found), 202)
    return reply(render.backup(found), status)


@router.get("/list", response_model=schemas.BackupPageOut, tags=["backups"])
async def list_backups(
    caller: Admin,
    services: All,
    remotes: Annotated[bool, Query(description="Ask the remotes, too, what they hold.")] = False,
) -> Response:
    """Every backup, newest first."""
    return reply(render.backups(await services.backups.list(caller, remotes=remotes)))


@router.post(
    "/create",
    status_code=201,
    dependencies=ONCE,
    response_model=schemas.BackupOut,
    responses=_ACCEPTED,
    tags=["backups"],
)
async def create(body: schemas.CreateIn, caller: Admin, services: All) -> Response:
    """Make a backup, verify it, and copy it to the remotes."""
    return _settled(await services.backups.create(caller, body.wait), 201)


@router.get("/stats", response_model=schemas.BackupStatsOut, tags=["backups"])
async def stats(caller: Admin, services: All) -> Response:
    """The backups as a whole, and what is under way."""
    return reply(render.stats(services.backups.stats(caller)))


@router.post("/restore", status_code=202, response_model=schemas.RestoringOut, tags=["backups"])
async def restore(body: schemas.RestoreIn, caller: Admin, services: All) -> Response:
    """Check a backup, then stop the service, put the backup in place, and start again; the state
    before it comes back where that fails."""
    if body.confirm != body.name:
        raise InvalidInput(
            f"confirm is {body.confirm[:100]!r}", hint=f"repeat the name: {body.name}"
        )
    restore = await services.backups.restore(
        caller, body.name, keys_of(body), config=body.config, within=_PATIENCE
    )
    return reply({"status": "ok", "id": restore, "name": body.name, "state": "restoring"}, 202)


@router.get("/restore", response_model=schemas.RestoreOut, tags=["backups"])
async def last_restore(caller: Admin, services: All) -> Response:
    """How the last restore ended."""
    return reply(render.restore(services.backups.last_restore(caller)))


@router.get("/{name}", response_model=schemas.BackupOut, tags=["backups"])
async def show(name: Name, caller: Admin, services: All) -> Response:
    """One backup."""
    return reply(render.backup(services.backups.show(caller, name)))


@router.post(
    "/{name}/verify", response_model=schemas.BackupOut, responses=_ACCEPTED, tags=["backups"]
)
async def verify(name: Name, body: schemas.VerifyIn, caller: Admin, services: All) -> Response:
    """Restore a backup into a scratch place and open it."""
    keys = keys_of(body)
    return _settled(await services.backups.verify(caller, name, keys, body.wait), 200)


@router.delete("/{name}", status_code=204, tags=["backups"])
async def delete(name: Name, caller: Admin, services: All) -> Response:
    """Remove a backup, here and at the remotes."""
    await services.backups.delete(caller, name)
    return Response(status_code=204)


@router.get(
    "/{name}/download",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The archive."}},
    tags=["backups"],
)
async def download(name: Name, caller: Admin, services: All) -> Response:
    """The archive itself. It holds secrets."""
    path = services.backups.file(caller, name)
    headers = {"Cache-Control": "no-store"}
    return FileResponse(path, media_type="application/octet-stream", filename=name, headers=headers)


def keys_of(body: schemas.KeysIn) -> Keys | None:
    """What the body says opens the backup; None where that is what the settings say."""
    return Keys(body.identity, body.passphrase) or None

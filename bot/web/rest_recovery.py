"""Integrity and recovery under ``/api/v3/recovery``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import Path, Query, Response

from bot.domain.integrity import Check, CheckState, Finding, Start
from bot.services import TaskView
from bot.services.recovery import Rate
from bot.web import render
from bot.web import schemas_recovery as schemas
from bot.web.routes import ONCE, All, Operator, Viewer, new_router, reply

router = new_router("/recovery")

_FIRST = 100
CheckId = Annotated[str, Path(pattern="^[0-9a-z]{1,32}$", description="The id of a check.")]
Cursor = Annotated[
    str | None, Query(max_length=64, pattern="^[0-9a-z]+$", description="Of the page before.")
]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.post(
    "/verify-integrity",
    status_code=202,
    dependencies=ONCE,
    response_model=schemas.CheckAnswer,
    responses={200: {"model": schemas.CheckAnswer, "description": "It is over already."}},
    tags=["recovery"],
)
async def verify_integrity(body: schemas.VerifyIn, caller: Operator, services: All) -> Response:
    """Compare what was delivered with its receipts, or look at the data directory. One check runs
    at a time; without the scope admin it is about own tasks."""
    if body.resume is not None:
        check = await services.recovery.resume(caller, body.resume)
    else:
        check = await services.recovery.verify(
            caller,
            path=body.path,
            task=body.task,
            everything=body.all,
            data=body.data,
            limit=body.limit,
            read_back=body.read_back,
        )
    check = await services.recovery.check(caller, check.id, body.wait)
    over = check.state is not CheckState.RUNNING
    found = await services.recovery.findings(caller, check.id, limit=_FIRST)
    return reply(_answer(check, found), 200 if over else 202)


@router.get("/checks/{check_id}", response_model=schemas.CheckAnswer, tags=["recovery"])
async def check(
    check_id: CheckId,
    caller: Viewer,
    services: All,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the end.")] = 0,
) -> Response:
    """A check and the first of its findings."""
    shown = await services.recovery.check(caller, check_id, wait)
    found = await services.recovery.findings(caller, check_id, limit=_FIRST)
    return reply(_answer(shown, found))


@router.get("/checks/{check_id}/findings", response_model=schemas.FindingsAnswer, tags=["recovery"])
async def findings(
    check_id: CheckId,
    caller: Viewer,
    services: All,
    limit: Limit = 100,
    cursor: Annotated[int, Query(ge=0, description="Of the page before.")] = 0,
) -> Response:
    """What a check found, in order."""
    found = await services.recovery.findings(caller, check_id, after=cursor, limit=limit)
    following = str(found[-1].number) if len(found) == limit else None
    items = [_finding(each) for each in found]
    return reply({"status": "ok", "items": items, "cursor": following})


@router.post("/checks/{check_id}/cancel", response_model=schemas.CheckAnswer, tags=["recovery"])
async def cancel(check_id: CheckId, caller: Operator, services: All) -> Response:
    """End a check; what it found so far stays."""
    ended = await services.recovery.cancel(caller, check_id)
    found = await services.recovery.findings(caller, check_id, limit=_FIRST)
    return reply(_answer(ended, found))


@router.post(
    "/refetch",
    status_code=201,
    dependencies=ONCE,
    response_model=schemas.RefetchAnswer,
    tags=["recovery"],
)
async def refetch(body: schemas.RefetchIn, caller: Operator, services: All) -> Response:
    """Fetch again what a finding is about: what lies at its place is replaced once the new one is
    whole. Asked twice, the same task."""
    task = await services.recovery.refetch(caller, body.check, body.finding)
    return reply({"status": "ok", "task": render.task(TaskView(task))}, 201)


@router.get("/status", response_model=schemas.StatusAnswer, tags=["recovery"])
async def status(caller: Viewer, services: All) -> Response:
    """What the last start found and settled, and how tasks and checks fare."""
    found = await services.recovery.status(caller)
    return reply(
        {
            "status": "ok",
            "start": _start(found.start),
            "tasks": {name: _rate(rate) for name, rate in found.tasks.items()},
            "checks": _rate(found.checks),
            "last_check": found.last_check and _check(found.last_check),
            "running": found.running and _check(found.running),
            "data": found.last_data_check and _check(found.last_data_check),
        }
    )


@router.get("/history", response_model=schemas.HistoryAnswer, tags=["recovery"])
async def history(
    caller: Viewer,
    services: All,
    of: Annotated[Literal["checks", "starts"], Query(description="Of what.")] = "checks",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The newest checks, or starts of the service."""
    items: list[dict[str, Any]]
    if of == "checks":
        checks = await services.recovery.checks(caller, limit=limit, before=cursor)
        items = [_check(each) for each in checks]
    else:
        starts = await services.recovery.starts(caller, limit=limit, before=cursor)
        items = [_start(each) for each in starts]
    following = items[-1]["id"] if len(items) == limit else None
    return reply({"status": "ok", "items": items, "cursor": following})


def _answer(check: Check, found: list[Finding]) -> dict[str, Any]:
    return {"status": "ok", **_check(check), "first_findings": [_finding(each) for each in found]}


def _check(check: Check) -> dict[str, Any]:
    shown = msgspec.structs.asdict(check)
    order, cursor = shown.pop("order"), shown.pop("cursor")
    over = check.state is not CheckState.RUNNING
    return {
        **shown,
        "scope": str(order.scope),
        "target": order.target,
        "state": str(check.state),
        "started_at": render.moment(check.started_at),
        "finished_at": render.moment(check.finished_at),
        "seconds": round(check.seconds, 3),
        "resumable": over and cursor is not None,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return msgspec.structs.asdict(finding)


def _start(start: Start) -> dict[str, Any]:
    shown = msgspec.structs.asdict(start)
    return {
        **shown,
        "recovered": msgspec.structs.asdict(shown.pop("recovery")),
        "started_at": render.moment(start.started_at),
        "ended_at": render.moment(start.ended_at),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"good": rate.good, "total": rate.total, "ratio": rate.ratio}

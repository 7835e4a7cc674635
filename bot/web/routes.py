"""What the routes have in common: who asks, which services, how an answer is shaped."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Response

from bot.services import Caller, Scope, Services
from bot.web.auth import needs, services_of
from bot.web.once import ONCE, Key
from bot.web.route import Route

__all__ = [
    "ERRORS",
    "ONCE",
    "Admin",
    "All",
    "Key",
    "Operator",
    "TaskId",
    "Viewer",
    "new_router",
    "reply",
]

#: Named, not given as a model: of a model the framework makes another field for each status of
#: each route, which took a third of the time of a start.
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": _PROBLEM}
    for status, text in (
        (400, "The request is malformed."),
        (401, "No valid token."),
        (403, "The token, or a policy, does not allow it."),
        (404, "There is no such thing."),
        (409, "It does not fit the present state."),
        (413, "The body is too large."),
        (422, "A value is wrong."),
        (429, "A limit is reached."),
        (500, "A fault of the service."),
        (502, "The source could not be asked."),
        (503, "The service does not take work."),
        (507, "There is no room."),
    )
}


def new_router(area: str = "") -> APIRouter:
    """A router for the paths under ``/api/v3`` and ``area``, such as ``/backups``."""
    return APIRouter(prefix=f"/api/v3{area}", responses=ERRORS, route_class=Route)


Viewer = Annotated[Caller, Depends(needs(Scope.VIEW))]
Operator = Annotated[Caller, Depends(needs(Scope.OPERATE))]
Admin = Annotated[Caller, Depends(needs(Scope.ADMIN))]
TaskId = Annotated[str, Path(pattern="^[0-9a-z]{1,32}$", description="The id of a task.")]


def reply(content: object, status: int = 200) -> Response:
    """The JSON of ``content``."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


All = Annotated[Services, Depends(services_of)]

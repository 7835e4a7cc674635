"""REST under ``/api/v3``: each route parses, calls one service and renders."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from bot.domain.ports import TaskQuery, Token
from bot.domain.task import Task, TaskState
from bot.services import Caller, Scope, Tasks, TaskView, Tokens
from bot.web import render, schemas
from bot.web.auth import needs

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "model": schemas.ProblemOut,
        "description": text,
        "content": {"application/problem+json": {}},
    }
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

router = APIRouter(prefix="/api/v3", responses=_ERRORS)

Viewer = Annotated[Caller, Depends(needs(Scope.VIEW))]
Operator = Annotated[Caller, Depends(needs(Scope.OPERATE))]
Admin = Annotated[Caller, Depends(needs(Scope.ADMIN))]
TaskId = Annotated[str, Path(pattern="^[0-9a-z]{1,32}$", description="The id of a task.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="A repetition with the same key gives the tasks of the first call.",
    ),
]


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _task(task: Task, status: int = 200) -> Response:
    return _json(render.task(TaskView(task)), status)


def _tasks(request: Request) -> Tasks:
    found: Tasks = request.app.state.tasks
    return found


def _tokens(request: Request) -> Tokens:
    found: Tokens = request.app.state.tokens
    return found


Service = Annotated[Tasks, Depends(_tasks)]
TokenService = Annotated[Tokens, Depends(_tokens)]


@router.post("/tasks", status_code=201, response_model=schemas.TaskOut, tags=["tasks"])
async def submit(
    body: schemas.SubmissionIn, caller: Operator, tasks: Service, key: Key = None
) -> Response:
    """Mirror a link."""
    return _task(await tasks.submit(caller, body.submission(), key=key), 201)


@router.post("/tasks/batch", status_code=201, response_model=schemas.BatchOut, tags=["tasks"])
async def submit_batch(
    body: schemas.BatchIn, caller: Operator, tasks: Service, key: Key = None
) -> Response:
    """Mirror many links: what can be taken is stored in one transaction, each with its answer."""
    wanted = [each.submission() for each in body.tasks]
    answers = await tasks.submit_many(caller, wanted, key=key)
    accepted = sum(answer.task is not None for answer in answers)
    items = [render.submitted(answer) for answer in answers]
    return _json({"items": items, "accepted": accepted, "refused": len(items) - accepted}, 201)


@router.post("/plan", response_model=schemas.PlanOut, tags=["tasks"])
async def plan(body: schemas.SubmissionIn, caller: Operator, tasks: Service) -> Response:
    """Say what a submission would do, without doing it."""
    found = await tasks.plan(caller, body.submission())
    return _json({**found, "source": render.source(found["source"])})


@router.get("/tasks", response_model=schemas.TaskPageOut, tags=["tasks"])
async def page(
    caller: Viewer,
    tasks: Service,
    state: Annotated[list[TaskState], Query(description="Any of these states.")] = [],  # noqa: B006
    engine: Annotated[str | None, Query(max_length=50)] = None,
    user: Annotated[str | None, Query(max_length=100)] = None,
    text: Annotated[str | None, Query(max_length=200, description="In name or source.")] = None,
    since: datetime | None = None,
    until: datetime | None = None,
    sort: Literal["created", "updated", "size", "name", "priority"] = "created",
    order: Literal["asc", "desc"] = "desc",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """A page of tasks."""
    query = TaskQuery(
        states=tuple(state),
        engine=engine,
        user=user,
        text=text,
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
        sort=sort,
        descending=order == "desc",
        limit=limit,
        cursor=cursor,
    )
    found, progress = await tasks.list(caller, query)
    items = [render.task(TaskView(task, progress.get(task.id))) for task in found.items]
    return _json({"items": items, "cursor": found.cursor})


@router.get("/tasks/counts", response_model=dict[TaskState, int], tags=["tasks"])
async def counts(caller: Viewer, tasks: Service) -> Response:
    """How many tasks are in each state."""
    return _json({str(state): count for state, count in (await tasks.count(caller)).items()})


@router.get("/tasks/{task_id}", response_model=schemas.TaskOut, tags=["tasks"])
async def show(
    task_id: TaskId,
    caller: Viewer,
    tasks: Service,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for a change.")] = 0,
    version: Annotated[int | None, Query(ge=0, description="Wait for a newer one.")] = None,
) -> Response:
    """One task; with ``wait`` as soon as it is final, or newer than ``version``."""
    return _json(render.task(await tasks.wait(caller, task_id, wait, version)))


@router.patch("/tasks/{task_id}", response_model=schemas.TaskOut, tags=["tasks"])
async def change(
    task_id: TaskId, body: schemas.ChangeIn, caller: Operator, tasks: Service
) -> Response:
    """Change the priority of a task, or force its start."""
    return _task(await tasks.prioritise(caller, task_id, body.priority, body.force))


@router.post("/tasks/{task_id}/cancel", response_model=schemas.TaskOut, tags=["tasks"])
async def cancel(task_id: TaskId, caller: Operator, tasks: Service) -> Response:
    """End a task; nothing of it is left."""
    return _task(await tasks.cancel(caller, task_id))


@router.post("/tasks/{task_id}/pause", response_model=schemas.TaskOut, tags=["tasks"])
async def pause(task_id: TaskId, caller: Operator, tasks: Service) -> Response:
    """Stop a task until it is resumed."""
    return _task(await tasks.pause(caller, task_id))


@router.post("/tasks/{task_id}/resume", response_model=schemas.TaskOut, tags=["tasks"])
async def resume(task_id: TaskId, caller: Operator, tasks: Service) -> Response:
    """Let a paused task go on."""
    return _task(await tasks.resume(caller, task_id))


@router.post("/tasks/{task_id}/retry", response_model=schemas.TaskOut, tags=["tasks"])
async def retry(task_id: TaskId, caller: Operator, tasks: Service) -> Response:
    """Try the failed stage of a task again."""
    return _task(await tasks.retry(caller, task_id))


@router.post("/tasks/{task_id}/select", response_model=schemas.TaskOut, tags=["tasks"])
async def select(
    task_id: TaskId, body: schemas.SelectIn, caller: Operator, tasks: Service
) -> Response:
    """Choose the files of a task that awaits it."""
    return _task(await tasks.select(caller, task_id, body.files))


@router.delete("/tasks/{task_id}", status_code=204, tags=["tasks"])
async def delete(task_id: TaskId, caller: Operator, tasks: Service) -> Response:
    """Forget a finished task; what it delivered, and its receipt, stay."""
    await tasks.delete(caller, task_id)
    return Response(status_code=204)


@router.get("/receipts", response_model=list[schemas.ReceiptOut], tags=["receipts"])
async def receipts(
    caller: Admin,
    tasks: Service,
    source: Annotated[str | None, Query(max_length=4096)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """The newest receipts."""
    found = await tasks.receipts(caller, source, limit)
    return _json([render.receipt_(receipt) for receipt in found])


@router.get("/tokens", response_model=list[schemas.TokenOut], tags=["tokens"])
async def list_tokens(caller: Admin, tokens: TokenService) -> Response:
    """Every token, without its secret."""
    return _json([_token(token) for token in await tokens.list()])


@router.post("/tokens", status_code=201, response_model=schemas.NewTokenOut, tags=["tokens"])
async def create_token(body: schemas.TokenIn, caller: Admin, tokens: TokenService) -> Response:
    """Make a token; its secret is in this answer and nowhere else."""
    secret, token = await tokens.create(
        body.name, Scope[body.scope.upper()], user=body.user, lifetime=body.lifetime
    )
    return _json({**_token(token), "secret": secret}, 201)


@router.delete("/tokens/{token_id}", status_code=204, tags=["tokens"])
async def revoke_token(token_id: TaskId, caller: Admin, tokens: TokenService) -> Response:
    """End a token."""
    await tokens.revoke(token_id)
    return Response(status_code=204)


def _token(token: Token) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(token),
        "created_at": render.moment(token.created_at),
        "expires_at": render.moment(token.expires_at),
        "last_used_at": render.moment(token.last_used_at),
    }

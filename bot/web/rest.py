"""Tasks and receipts under ``/api/v3``: each route parses, calls a service and renders."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query, Response

from bot.domain.ports import TaskQuery
from bot.domain.task import Task, TaskState
from bot.services import TaskView
from bot.web import render, schemas
from bot.web.routes import Admin, All, Key, Operator, TaskId, Viewer, new_router, reply

router = new_router()


def _task(task: Task, status: int = 200) -> Response:
    return reply(render.task(TaskView(task)), status)


@router.post("/tasks", status_code=201, response_model=schemas.TaskOut, tags=["tasks"])
async def submit(
    body: schemas.SubmissionIn, caller: Operator, services: All, key: Key = None
) -> Response:
    """Mirror a link."""
    return _task(await services.tasks.submit(caller, body.submission(), key=key), 201)


@router.post("/tasks/batch", status_code=201, response_model=schemas.BatchOut, tags=["tasks"])
async def submit_batch(
    body: schemas.BatchIn, caller: Operator, services: All, key: Key = None
) -> Response:
    """Mirror many links: what can be taken is stored in one transaction, each with its answer."""
    wanted = [each.submission() for each in body.tasks]
    answers = await services.tasks.submit_many(caller, wanted, key=key)
    accepted = sum(answer.task is not None for answer in answers)
    items = [render.submitted(answer) for answer in answers]
    refused = len(items) - accepted
    return reply({"status": "ok", "items": items, "accepted": accepted, "refused": refused}, 201)


@router.post("/plan", response_model=schemas.PlanOut, tags=["tasks"])
async def plan(body: schemas.SubmissionIn, caller: Operator, services: All) -> Response:
    """Say what a submission would do, without doing it."""
    found = await services.tasks.plan(caller, body.submission())
    return reply({**found, "source": render.source(found["source"])})


@router.get("/tasks", response_model=schemas.TaskPageOut, tags=["tasks"])
async def page(
    caller: Viewer,
    services: All,
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
    found, progress = await services.tasks.list(caller, query)
    items = [render.task(TaskView(task, progress.get(task.id))) for task in found.items]
    return reply({"status": "ok", "items": items, "cursor": found.cursor})


@router.get("/tasks/counts", response_model=dict[TaskState, int], tags=["tasks"])
async def counts(caller: Viewer, services: All) -> Response:
    """How many tasks are in each state."""
    return reply(
        {str(state): count for state, count in (await services.tasks.count(caller)).items()}
    )


@router.get("/tasks/{task_id}", response_model=schemas.TaskOut, tags=["tasks"])
async def show(
    task_id: TaskId,
    caller: Viewer,
    services: All,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for a change.")] = 0,
    version: Annotated[int | None, Query(ge=0, description="Wait for a newer one.")] = None,
) -> Response:
    """One task; with ``wait`` as soon as it is final, or newer than ``version``."""
    return reply(render.task(await services.tasks.wait(caller, task_id, wait, version)))


@router.patch("/tasks/{task_id}", response_model=schemas.TaskOut, tags=["tasks"])
async def change(
    task_id: TaskId, body: schemas.ChangeIn, caller: Operator, services: All
) -> Response:
    """Change the priority of a task, or force its start."""
    return _task(await services.tasks.prioritise(caller, task_id, body.priority, body.force))


@router.post("/tasks/{task_id}/cancel", response_model=schemas.TaskOut, tags=["tasks"])
async def cancel(task_id: TaskId, caller: Operator, services: All) -> Response:
    """End a task; nothing of it is left."""
    return _task(await services.tasks.cancel(caller, task_id))


@router.post("/tasks/{task_id}/pause", response_model=schemas.TaskOut, tags=["tasks"])
async def pause(task_id: TaskId, caller: Operator, services: All) -> Response:
    """Stop a task until it is resumed."""
    return _task(await services.tasks.pause(caller, task_id))


@router.post("/tasks/{task_id}/resume", response_model=schemas.TaskOut, tags=["tasks"])
async def resume(task_id: TaskId, caller: Operator, services: All) -> Response:
    """Let a paused task go on."""
    return _task(await services.tasks.resume(caller, task_id))


@router.post("/tasks/{task_id}/retry", response_model=schemas.TaskOut, tags=["tasks"])
async def retry(task_id: TaskId, caller: Operator, services: All) -> Response:
    """Try the failed stage of a task again."""
    return _task(await services.tasks.retry(caller, task_id))


@router.post("/tasks/{task_id}/select", response_model=schemas.TaskOut, tags=["tasks"])
async def select(
    task_id: TaskId, body: schemas.SelectIn, caller: Operator, services: All
) -> Response:
    """Choose the files of a task that awaits it."""
    return _task(await services.tasks.select(caller, task_id, body.files))


@router.delete("/tasks/{task_id}", status_code=204, tags=["tasks"])
async def delete(task_id: TaskId, caller: Operator, services: All) -> Response:
    """Forget a finished task; what it delivered, and its receipt, stay."""
    await services.tasks.delete(caller, task_id)
    return Response(status_code=204)


@router.get("/receipts", response_model=schemas.ReceiptListOut, tags=["receipts"])
async def receipts(
    caller: Admin,
    services: All,
    source: Annotated[str | None, Query(max_length=4096)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """The newest receipts."""
    found = await services.tasks.receipts(caller, source, limit)
    items = [render.receipt_(receipt) for receipt in found]
    return reply({"status": "ok", "items": items, "cursor": None})

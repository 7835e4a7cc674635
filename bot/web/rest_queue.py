"""The order of the queue, and actions on many tasks, under ``/api/v3/tasks``."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from bot.services import TaskView
from bot.services.bulk import Acted, act_on_many
from bot.web import render
from bot.web import schemas_queue as schemas
from bot.web.routes import All, Operator, TaskId, new_router, reply
from bot.web.schemas import TaskOut

router = new_router("/tasks")


@router.post("/bulk", response_model=schemas.BulkOut, tags=["tasks"])
async def bulk(body: schemas.BulkIn, caller: Operator, services: All) -> Response:
    """Do the same with many tasks; what fails for one does not stop the others."""
    answers = await act_on_many(services.tasks, caller, body.ids, body.action)
    refused = sum(answer.error is not None for answer in answers)
    items = [_acted(answer) for answer in answers]
    return reply({"items": items, "accepted": len(items) - refused, "refused": refused})


@router.post("/{task_id}/move", response_model=TaskOut, tags=["tasks"])
async def move(task_id: TaskId, body: schemas.MoveIn, caller: Operator, services: All) -> Response:
    """Move a waiting task to another place in the queue."""
    return reply(render.task(TaskView(await services.tasks.move(caller, task_id, body.before))))


def _acted(answer: Acted) -> dict[str, Any]:
    return {
        "id": answer.id,
        "task": None if answer.task is None else render.task(TaskView(answer.task)),
        "error": None if answer.error is None else render.problem(answer.error),
    }

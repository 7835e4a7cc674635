"""The events of a task and its stages, made from what they are at the moment."""

from __future__ import annotations

from bot.domain import events
from bot.domain.task import Stage, Task, TaskState
from bot.errors import TransferError
from bot.transfers.planner import STREAMED


def moved(task: Task, before: TaskState, at: float) -> events.TaskMoved:
    """The task has left the state ``before``."""
    return events.TaskMoved(at, task.id, task.user, before, task.state, task.engine)


def started(task: Task, stage: Stage, at: float) -> events.StageStarted:
    """A try of the stage begins."""
    streamed = stage.params.get("way") == STREAMED
    return events.StageStarted(
        at,
        task.id,
        task.user,
        stage.label,
        stage.attempt + 1,
        phase=stage.kind,
        worker=stage.name,
        fetcher=str(stage.params["from"]) if streamed else None,
        resumed=stage.token is not None,
    )


def finished(task: Task, stage: Stage, at: float) -> events.StageFinished:
    """The stage is done."""
    return events.StageFinished(
        at,
        task.id,
        task.user,
        stage.label,
        stage.seconds,
        sum(file.size for file in stage.files),
        phase=stage.kind,
        worker=stage.name,
    )


def failed(
    task: Task, stage: Stage | None, error: TransferError, at: float, retry_at: float | None
) -> events.StageFailed:
    """A try of the stage failed, or of the plan where there is no stage yet."""
    return events.StageFailed(
        at,
        task.id,
        task.user,
        "plan" if stage is None else stage.label,
        error.code,
        error.message,
        task.probes if stage is None else stage.attempt,
        retry_at,
        phase=None if stage is None else stage.kind,
        worker="" if stage is None else stage.name,
    )

"""What a stage hands to its engine, read from the task."""

from __future__ import annotations

from bot.domain.ports import Checkpoint, DeliverJob, FetchJob
from bot.domain.task import Stage, StageKind, Task
from bot.transfers.files import stage_directory
from bot.transfers.steps.formats import stem_of


def position(task: Task, stage: Stage) -> int:
    """The index of ``stage`` itself: two stages may be equal, as a step that is there twice."""
    return next(index for index, each in enumerate(task.stages) if each is stage)


def source_stage(task: Task, stage: Stage) -> Stage | None:
    """The stage whose files ``stage`` reads; None where nothing lies on the disk."""
    before = task.stages[: position(task, stage)]
    return next(
        (s for s in reversed(before) if s.kind in {StageKind.FETCH, StageKind.STEP}),
        None,
    )


def stage_of(task: Task, kind: StageKind) -> Stage | None:
    """The first stage of that kind."""
    return next((stage for stage in task.stages if stage.kind is kind), None)


def keeps(task: Task, stage: Stage) -> bool:
    """Whether the files of ``stage`` are needed to the end, for seeding."""
    return stage.kind is StageKind.FETCH and task.stages[-1].kind is StageKind.SEED


def fetch_job(task: Task, stage: Stage, checkpoint: Checkpoint) -> FetchJob:
    """The job of a stage that reads the source of the task."""
    return FetchJob(
        id=task.id,
        source=task.source,
        directory=stage_directory(task.workspace or "", position(task, stage)),
        options=task.options,
        token=stage.token,
        checkpoint=checkpoint,
        limit=task.options.limit,
    )


def _folder(task: Task) -> str | None:
    """What a delivery of several files is called: what came out of ``set.zip`` is no zip."""
    unpacked = any(spec.name == "extract" for spec in task.steps)
    if task.name is None or task.options.name is not None or not unpacked:
        return task.name
    return stem_of(task.name)


def deliver_job(task: Task, stage: Stage, checkpoint: Checkpoint) -> DeliverJob:
    """The job of a delivery; without files where the bytes do not pass the disk."""
    source = source_stage(task, stage)
    entries = source.files if source is not None else []
    at = position(task, source if source is not None else stage)
    several = len(entries) > 1 or any("/" in entry.path for entry in entries)
    return DeliverJob(
        id=task.id,
        directory=stage_directory(task.workspace or "", at),
        files=entries,
        destination=task.destination,
        name=_folder(task) if several or source is None else None,
        token=stage.token,
        checkpoint=checkpoint,
        overwrite=task.options.overwrite,
        keep=source is not None and keeps(task, source),
        limit=task.options.limit,
        options=task.options,
    )

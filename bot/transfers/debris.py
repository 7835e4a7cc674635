"""Removes what tasks leave behind that nobody needs any more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.ports import Clock, Delivered, TaskStore
from bot.domain.task import FINAL, StageKind, StageState, Task, TaskState
from bot.engines.registry import Engines
from bot.errors import TransferError
from bot.transfers import files
from bot.transfers.jobs import deliver_job, stage_of

log = logging.getLogger(__name__)


class Debris:
    """``roots`` are the directories in which workspaces may lie; a failed task keeps its files for
    ``keep_partial`` seconds.
    """

    def __init__(
        self,
        engines: Engines,
        store: TaskStore,
        clock: Clock,
        *,
        roots: Sequence[Path],
        keep_partial: float,
    ) -> None:
        self._engines = engines
        self._store = store
        self._clock = clock
        self._roots = roots
        self._keep_partial = keep_partial

    async def clear(self, task: Task) -> None:
        """Remove everything that a task which is final and not done left, here and at its
        destination. What a remote does not let go of now stays in the log.
        """
        await self._undeliver(task)
        if task.workspace is not None:
            await files.remove(Path(task.workspace))
            task.workspace = None
        task.stages = []
        await self._store.save(task)

    async def sweep(self) -> int:
        """Remove the workspaces of tasks that need them no more; how many."""
        removed = 0
        for workspace in await files.leftovers(self._roots):
            task = await self._store.get(workspace.name)
            if task is None or task.state is TaskState.DONE:
                await files.remove(workspace)
            elif task.state is TaskState.CANCELLED or self._expired(task):
                await self.clear(task)
            else:
                continue
            removed += 1
        for engine in self._engines:
            removed += await engine.cleanup(self._keep_partial)
        return removed

    def _expired(self, task: Task) -> bool:
        age = self._clock.now() - (task.finished_at or task.updated_at)
        return task.state in FINAL and age > self._keep_partial

    async def _undeliver(self, task: Task) -> None:
        stage = stage_of(task, StageKind.DELIVER)
        if stage is None or (stage.state is StageState.PENDING and stage.token is None):
            return
        delivered = msgspec.convert(stage.result, Delivered) if stage.result else None
        try:
            engine = self._engines.named(stage.name)
            await engine.discard(deliver_job(task, stage, _nothing), delivered)
        except TransferError as error:
            log.warning("task %s: its half delivery could not be removed: %s", task.id, error)


async def _nothing(token: dict[str, Any]) -> None:
    """A checkpoint for a job that is being thrown away."""

"""Removes what tasks leave behind that nobody needs any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.context import within_task
from bot.domain.events import DebrisSwept, EventHub, TaskRemoved
from bot.domain.ports import Clock, Delivered, TaskQuery, TaskStore
from bot.domain.task import FINAL, StageKind, StageState, Task, TaskState
from bot.engines.registry import Engines
from bot.errors import MltbError, TransferError
from bot.transfers import files
from bot.transfers.jobs import deliver_job, stage_of

log = logging.getLogger(__name__)

_PAUSE = 3600.0  # seconds between two sweeps
_PAGE = 500  # tasks that are forgotten in one transaction


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

    async def clear(self, task: Task) -> str | None:
        """Remove everything that a task which is final and not done left, here and at its
        destination. What a remote does not let go of now stays in the log; the reason.
        """
        with within_task(task.id):
            complaint = await self._undeliver(task)
        if task.workspace is not None:
            await files.remove(Path(task.workspace))
            task.workspace = None
        task.stages = []
        await self._store.save(task)
        return complaint

    async def sweep(self) -> DebrisSwept:
        """Remove the workspaces of tasks that need them no more, and the leftovers of engines; what
        became of each."""
        swept = DebrisSwept(self._clock.now(), [], {}, [])
        for workspace in await files.leftovers(self._roots):
            task = await self._store.get(workspace.name)
            complaint = None
            if task is None or task.state is TaskState.DONE:
                await files.remove(workspace)
            elif task.state is TaskState.CANCELLED or self._expired(task):
                complaint = await self.clear(task)
            else:
                continue
            if await files.exists(workspace):
                swept.failed.append(f"{workspace} can't be removed")
            else:
                swept.workspaces.append(workspace.name)
            swept.failed.extend([] if complaint is None else [complaint])
        for engine in self._engines:
            try:
                if removed := await engine.cleanup(self._keep_partial):
                    swept.leftovers[engine.name] = removed
            except (MltbError, OSError) as error:
                swept.failed.append(f"leftovers of {engine.name}: {error}")
        return swept

    def _expired(self, task: Task) -> bool:
        age = self._clock.now() - (task.finished_at or task.updated_at)
        return task.state in FINAL and age > self._keep_partial

    async def _undeliver(self, task: Task) -> str | None:
        """Why the delivery of a task could not be undone, or None."""
        stage = stage_of(task, StageKind.DELIVER)
        if stage is None or (stage.state is StageState.PENDING and stage.token is None):
            return None
        delivered = msgspec.convert(stage.result, Delivered) if stage.result else None
        try:
            engine = self._engines.named(stage.name)
            await engine.discard(deliver_job(task, stage, _nothing), delivered)
        except TransferError as error:
            complaint = f"task {task.id}: its half delivery could not be removed: {error}"
            log.warning("%s", complaint)
            return complaint
        return None


class Janitor:
    """Sweeps at the start and every hour after, and forgets the oldest finished tasks past
    ``keep_finished``."""

    def __init__(
        self, debris: Debris, store: TaskStore, hub: EventHub, clock: Clock, *, keep_finished: int
    ) -> None:
        self._debris = debris
        self._store = store
        self._hub = hub
        self._clock = clock
        self._keep = keep_finished
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.ensure_future(self._work())

    async def stop(self) -> None:
        """End."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            try:
                self._hub.publish(await self._debris.sweep())
                await self.prune()
            except (MltbError, OSError) as error:
                log.warning("the sweep stopped early, the next is in an hour: %s", error)
            await self._clock.sleep(_PAUSE)

    async def prune(self) -> int:
        """Forget the oldest finished tasks past the limit; how many."""
        counts = await self._store.count()
        excess = sum(counts[state] for state in FINAL) - self._keep
        removed = 0
        while excess > removed:
            query = TaskQuery(
                states=tuple(sorted(FINAL)),
                sort="updated",
                descending=False,
                limit=min(_PAGE, excess - removed),
            )
            page = await self._store.page(query)
            if not page.items:
                break
            for task in page.items:
                if task.workspace is not None:
                    await self._debris.clear(task)
            removed += await self._store.delete([task.id for task in page.items])
            for task in page.items:
                self._hub.publish(TaskRemoved(self._clock.now(), task.id, task.user))
        return removed


async def _nothing(token: dict[str, Any]) -> None:
    """A checkpoint for a job that is being thrown away."""

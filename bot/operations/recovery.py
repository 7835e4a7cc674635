"""What each start of the service found and settled, and whether the run before ended as it should.

A run that ends as it should says so in its row; the row of one that was killed stays open, and the
next start finds it. What a command runs for itself alone (it restores nothing) leaves no row behind
unless it is killed, and leaves the rows of others for the next service.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from bot import __version__
from bot.domain import events
from bot.domain.ids import IdSource
from bot.domain.integrity import Recovery, ResumedTask, Start
from bot.domain.ports import Clock, TaskQuery, TaskStore
from bot.domain.task import ACTIVE, Task
from bot.errors import MltbError
from bot.store.recovery import RecoveryStore

log = logging.getLogger(__name__)

_PAGE = 500


class Starts:
    """Keeps the record of this start. ``checks`` are those that ``Integrity.settle`` found."""

    def __init__(
        self, store: RecoveryStore, tasks: TaskStore, hub: events.EventHub, clock: Clock
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._hub = hub
        self._clock = clock
        self._start = Start(IdSource()(), clock.now(), __version__)
        self._restores = True
        self._unlisten: Callable[[], None] | None = None
        self._saving: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Start:
        """The start of this run."""
        return self._start

    async def begin(self, checks: list[str], *, restores: bool) -> None:
        """Look at what the run before left, before anything of it is taken up."""
        self._restores = restores
        start = self._start
        if restores:
            unended = await self._store.unended()
            start.clean = not unended
            for earlier in unended:
                # Nobody knows when it ended: this is when that was found out.
                earlier.killed, earlier.ended_at = True, self._clock.now()
                await self._store.save_start(earlier)
            start.recovery = Recovery(resumed=await self._interrupted(), checks=checks)
        await self._store.add_start(start)
        self._unlisten = self._hub.listen(self._hear)

    async def end(self) -> None:
        """Nothing runs any more: this run ended as it should."""
        if self._unlisten is not None:
            self._unlisten()
        await asyncio.gather(*self._saving, return_exceptions=True)
        try:
            if self._restores:
                self._start.ended_at = self._clock.now()
                await self._store.save_start(self._start)
            else:
                await self._store.drop_start(self._start.id)
        except MltbError as error:
            log.warning("the end of this run could not be stored: %s", error)

    async def _interrupted(self) -> list[ResumedTask]:
        """The tasks that were under way, with what is kept of them."""
        found: list[ResumedTask] = []
        cursor = None
        while True:
            query = TaskQuery(states=tuple(sorted(ACTIVE)), limit=_PAGE, cursor=cursor)
            page = await self._tasks.page(query)
            found += await asyncio.to_thread(lambda tasks: [_resumed(t) for t in tasks], page.items)
            cursor = page.cursor
            if cursor is None:
                return found

    def _hear(self, event: events.Event) -> None:
        """The first sweep completes the report."""
        if not isinstance(event, events.DebrisSwept) or self._start.swept:
            return
        start = self._start
        start.swept = True
        start.recovery.workspaces = event.workspaces
        start.recovery.leftovers = event.leftovers
        start.recovery.failed = event.failed
        log.info("%s", sentence(start))
        saving = asyncio.ensure_future(self._save())
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)

    async def _save(self) -> None:
        try:
            await self._store.save_start(self._start)
        except MltbError as error:
            log.warning("the report of this start could not be stored: %s", error)


def sentence(start: Start) -> str:
    """One line about what a start found."""
    found = start.recovery
    kept = sum(each.kept for each in found.resumed)
    leftovers = sum(found.leftovers.values())
    return (
        f"started after {'a clean stop' if start.clean else 'a crash'}: "
        f"{len(found.resumed)} tasks go on with {kept} bytes kept, "
        f"{len(found.workspaces)} workspaces and {leftovers} leftovers of engines removed, "
        f"{len(found.checks)} checks were cut off, {len(found.failed)} things could not be cleaned"
    )


def _resumed(task: Task) -> ResumedTask:
    stage = task.current.label if task.current else "plan"
    return ResumedTask(task.id, task.user, stage, _kept(task))


def _kept(task: Task) -> int:
    """The bytes on the disk in the workspace of a task. A file that was made at its full size
    counts with what was written of it."""
    total = 0
    for directory, _, names in os.walk(task.workspace or "/nonexistent"):
        for name in names:
            try:
                status = Path(directory, name).lstat()
            except OSError:
                continue
            total += min(status.st_size, status.st_blocks * 512)
    return total

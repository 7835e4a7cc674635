"""Looks at the data directory: the database, the modes of what is secret, what lies about."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bot.domain.integrity import Condition, Finding
from bot.domain.ports import Clock, TaskQuery, TaskStore
from bot.domain.task import FINAL, StageState, Task, TaskState
from bot.engines.local_roots import WORK
from bot.store.backend import Backend

_AGE = 3600.0  # seconds after which a temporary file belongs to nobody any more
_PAGE = 200
_OPEN_TO_OTHERS = 0o077
#: Tasks that nobody changes at present: what the journal says of them has to be so.
_RESTING = (TaskState.QUEUED, TaskState.PAUSED, TaskState.RETRYING, TaskState.AWAITING_SELECTION)


class DataCheck:
    """``directory`` is DATA_DIR; ``roots`` are where workspaces lie."""

    def __init__(
        self,
        directory: Path,
        roots: Sequence[Path],
        store: TaskStore,
        database: Backend,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._roots = roots
        self._store = store
        self._database = database
        self._clock = clock

    async def run(self) -> AsyncIterator[list[Finding]]:
        """What is wrong, part by part."""
        yield await asyncio.to_thread(_lying, self._directory, self._clock.now())
        yield await self._dangling()
        async for found in self._journal():
            yield found
        yield [
            Finding(0, Condition.DATABASE, str(self._directory), found=complaint)
            for complaint in await self._database.complaints()
        ]

    async def _dangling(self) -> list[Finding]:
        """Workspaces whose task is gone or needs none."""
        found = []
        for workspace in await asyncio.to_thread(_workspaces, self._roots):
            task = await self._store.get(workspace.name)
            if task is None or task.state in FINAL - {TaskState.FAILED}:
                reason = "its task is gone" if task is None else f"its task is {task.state}"
                found.append(
                    Finding(0, Condition.DANGLING, str(workspace), workspace.name, found=reason)
                )
        return found

    async def _journal(self) -> AsyncIterator[list[Finding]]:
        """Resting tasks of which the journal says more than the disk holds."""
        cursor = None
        while True:
            page = await self._store.page(
                TaskQuery(states=_RESTING, limit=_PAGE, cursor=cursor, sort="created")
            )
            yield await asyncio.to_thread(_unfounded, page.items)
            cursor = page.cursor
            if cursor is None:
                return


def _lying(directory: Path, now: float) -> list[Finding]:
    """Modes that let others in, and temporary files of processes that are gone."""
    found: list[Finding] = []
    for path in [directory, *sorted(directory.iterdir())]:
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(status.st_mode)
        # Nobody else comes as far as the directories inside, unless DATA_DIR itself is open.
        secret = path == directory or stat.S_ISREG(status.st_mode)
        if secret and mode & _OPEN_TO_OTHERS:
            wanted = f"{mode & ~_OPEN_TO_OTHERS:04o}"
            found.append(
                Finding(0, Condition.MODE, str(path), expected=wanted, found=f"{mode:04o}")
            )
        if _temporary(path.name) and now - status.st_mtime > _AGE:
            found.append(Finding(0, Condition.STRAY, str(path), found=f"{status.st_size}"))
    return found


def _temporary(name: str) -> bool:
    """How this program calls what it has not finished writing."""
    hidden = name.startswith(".") and name.rpartition(".")[2].isdigit()
    return hidden or name.endswith((".part", ".new", ".tmp"))


def _workspaces(roots: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for root in roots:
        try:
            with os.scandir(root / WORK) as entries:
                found += [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            continue
    return found


def _unfounded(tasks: Sequence[Task]) -> list[Finding]:
    found = []
    for task in tasks:
        done = any(stage.state is StageState.DONE for stage in task.stages)
        if done and task.workspace is not None and not Path(task.workspace).is_dir():
            found.append(
                Finding(
                    0,
                    Condition.JOURNAL,
                    task.workspace,
                    task.id,
                    found="its files are gone; the task will start over",
                )
            )
    return found

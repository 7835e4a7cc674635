"""Tells the plugins how far the tasks are, once a second, where any of them wants to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bot.domain.ports import Clock
from bot.domain.task import Progress, Task
from bot.plugins.dispatch import Dispatcher
from bot.plugins.hooks import ProgressInfo, TaskInfo

_HOOK = "on_task_progress"
_INTERVAL = 1.0  # seconds


class ProgressTeller:
    """``snapshot`` is the progress of every running task, ``find`` gives a task while it is known,
    ``describe`` is what a plugin is told of it."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        snapshot: Callable[[], Mapping[str, Progress]],
        *,
        find: Callable[[str], Task | None],
        describe: Callable[[Task], TaskInfo],
        clock: Clock,
    ) -> None:
        self._dispatcher = dispatcher
        self._snapshot = snapshot
        self._find = find
        self._describe = describe
        self._clock = clock
        self._told: Mapping[str, Progress] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._clock.sleep(_INTERVAL)
            if self._dispatcher.wanted(_HOOK):
                self._tell()

    def _tell(self) -> None:
        before, self._told = self._told, self._snapshot()
        for name, progress in self._told.items():
            task = self._find(name)
            if task is not None and progress != before.get(name):
                self._dispatcher.tell(
                    _HOOK,
                    ProgressInfo(
                        self._describe(task), progress.done, progress.total, progress.speed
                    ),
                )

"""What a class of viewers sees: tasks, counts, and what is the same for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from itertools import islice

from bot.domain import events
from bot.domain.ports import Clock, TaskQuery
from bot.domain.task import ACTIVE, FINAL, TaskState
from bot.errors import Unavailable
from bot.services import OWNER, Caller, Scope, Services, TaskView
from bot.web import render
from bot.web.live import rows
from bot.web.live.rows import Row

_PAGE = 500
_RUNNING, _WAITING, _FINISHED = 10_000, 500, 100  # tasks that are told of at the beginning
_TOUCHED = 2000  # tasks that changed since the last look; more are read anew
_KEPT = 2 * (_WAITING + _FINISHED)  # of those that do not run
_GOOD_FOR = 20.0  # times as long as it took to count
_IDLE = frozenset(TaskState) - ACTIVE - FINAL
_ALERTING = (
    events.AlertRaised,
    events.AlertAcknowledged,
    events.AlertSilenced,
    events.AlertResolved,
)


def key_of(caller: Caller) -> str | None:
    """The class of a caller: their tasks, or (None) those of all."""
    return None if caller.sees_all else caller.user


class Board:
    """The tasks of one class of viewers. A row is never changed: a new one takes its place, so that
    whoever has told of it can see that by its identity."""

    def __init__(self, services: Services, clock: Clock, user: str | None) -> None:
        self._services = services
        self._clock = clock
        self.user = user
        self._caller = OWNER if user is None else Caller(user, Scope.VIEW)
        self._lock = asyncio.Lock()
        self._touched: set[str] = set()
        self._running: set[str] = set()
        self._loaded = False
        self._stale = True
        self._count_after = 0.0
        self.rows: dict[str, Row] = {}
        self.counts: Mapping[str, int] = {}
        #: Grows each time the rows were read anew, and some that changed may be missing.
        self.gaps = 0

    def hear(self, event: events.TaskEvent) -> None:
        """Something became of a task."""
        if self.user is None or event.user == self.user:
            self._touched.add(event.task)
            self._stale = True

    async def refresh(self) -> None:
        """Look at what changed, and how far that is which runs."""
        async with self._lock:
            if not self._loaded or len(self._touched) > _TOUCHED:
                self.gaps += self._loaded
                await self._load()
            touched, self._touched = self._touched, set()
            await self._look(touched | self._running)
            if self._stale and self._clock.monotonic() >= self._count_after:
                await self._count()

    async def _load(self) -> None:
        self._touched.clear()  # what changes from here on is looked at afterwards
        found: dict[str, Row] = {}
        for states, most in ((FINAL, _FINISHED), (_IDLE, _WAITING), (ACTIVE, _RUNNING)):
            listed = await self._list(states, most)
            found.update((row["id"], row) for row in reversed(listed))  # the newest last
        self.rows = found
        self._running = {each for each, row in found.items() if row["state"] in ACTIVE}
        self._loaded = True

    async def _list(self, states: frozenset[TaskState], most: int) -> list[Row]:
        found: list[Row] = []
        cursor = None
        while len(found) < most:
            query = TaskQuery(
                states=tuple(sorted(states)),
                sort="updated",
                limit=min(_PAGE, most - len(found)),
                cursor=cursor,
            )
            page, progress = await self._services.tasks.list(self._caller, query)
            found += [rows.task(TaskView(each, progress.get(each.id))) for each in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        return found

    async def _look(self, ids: set[str]) -> None:
        found = await self._services.tasks.many(self._caller, [*ids]) if ids else {}
        for each in ids:
            view = found.get(each)
            if view is None:
                self.rows.pop(each, None)
                self._running.discard(each)
                continue
            if view.task.state in ACTIVE:
                self._running.add(each)
            else:
                self._running.discard(each)
            self._put(each, view)
        self._forget()

    def _put(self, task_id: str, view: TaskView) -> None:
        """The row of a task, made anew where it is another than before."""
        before = self.rows.get(task_id)
        task = view.task
        if before is None or (before["version"], before["state"]) != (task.version, task.state):
            self.rows.pop(task_id, None)
            self.rows[task_id] = rows.task(view)  # what changed last is last
            return
        progress = None if view.progress is None else render.progress(view.progress)
        if progress != before["progress"]:
            self.rows[task_id] = {**before, "progress": progress}

    def _forget(self) -> None:
        """Let go of the oldest that do not run, where they are too many."""
        over = len(self.rows) - len(self._running) - _KEPT
        if over > 0:
            idle = (each for each in self.rows if each not in self._running)
            for each in [*islice(idle, over)]:
                del self.rows[each]

    async def _count(self) -> None:
        self._stale = False
        began = self._clock.monotonic()
        found = await self._services.tasks.count(self._caller)
        ended = self._clock.monotonic()
        self.counts = {str(state): number for state, number in found.items()}
        self._count_after = ended + (ended - began) * _GOOD_FOR


class Common:
    """What is the same for all viewers: metrics, alerts, plugins."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stale = True
        self.metrics: Mapping[str, float] = {}
        self.alerts: Row = {}
        self.plugins: list[Row] = []

    def hear(self, event: events.Event) -> None:
        """Something happened in the service."""
        if isinstance(event, _ALERTING):
            self._stale = True

    async def refresh(self) -> None:
        """Look at all of it."""
        readings = self._services.metrics.current(OWNER)
        self.metrics = {each.name: value for each, value in readings if value is not None}
        if self._stale:
            self._stale = False
            self.alerts = rows.alerts(await self._services.alerts.summary(OWNER))
        with contextlib.suppress(Unavailable):  # where there are no plugins at all
            self.plugins = [rows.plugin(each) for each in self._services.plugins.list(OWNER)]

"""Gives tasks their turn, and deals with how each ends: done, failed, retried, paused, cancelled.

The scheduler owns every unfinished task in memory; the store is what survives. One task is changed
by one coroutine at a time: by its turn while it runs, by the scheduler otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import msgspec

from bot.domain import events
from bot.domain.advice import NO_ADVICE, Advisors
from bot.domain.context import turn_of
from bot.domain.ports import Clock, TaskStore
from bot.domain.queue import Entry, Queue
from bot.domain.retry import RetryPolicy
from bot.domain.task import ACTIVE, FINAL, WAITING, Failure, StageState, Task, TaskState
from bot.errors import (
    Conflict,
    IllegalMove,
    InternalFailure,
    InvalidInput,
    NoSpace,
    NotFound,
    Refused,
    TransferError,
    Unavailable,
    Unsupported,
)
from bot.transfers import telling
from bot.transfers.books import Books
from bot.transfers.debris import Debris
from bot.transfers.runner import Runner, WaitForRoom, WaitForSelection

log = logging.getLogger(__name__)

_ROOM_RETRY = 15.0  # seconds between two looks at a disk that was too full
_MEMORY = 10_000  # waiting tasks that are kept in memory whole; the others are read when due


@dataclass(slots=True)
class _Turn:
    """A running task, and what was asked of it meanwhile."""

    task: Task | None
    handle: asyncio.Task[None] | None = None
    intent: TaskState | None = None


class Scheduler:
    """Runs what the queue gives. ``start`` restores what a crash or a stop left."""

    def __init__(
        self,
        *,
        queue: Queue,
        runner: Runner,
        store: TaskStore,
        hub: events.EventHub,
        clock: Clock,
        retry: RetryPolicy,
        debris: Debris,
        disk_wait: float,
        advisors: Advisors = NO_ADVICE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.queue = queue  # what waits, for others to look at
        self._runner = runner
        self._store = store
        self._hub = hub
        self._clock = clock
        self._retry = retry
        self._debris = debris
        self._disk_wait = disk_wait
        self._advisors = advisors
        self._jitter = jitter
        self._turns: dict[str, _Turn] = {}
        self._waiting: dict[str, Task | None] = {}
        self._books = Books()
        self._timer: asyncio.Task[None] | None = None
        self._open = False
        hub.listen(self._strike)

    # Life

    async def start(self, *, run_restored: bool = True) -> int:
        """Begin to run tasks; the number of unfinished ones that were found.

        Without ``run_restored`` those wait until somebody prioritises, resumes or cancels them.
        """
        restored = await self._restore(run=run_restored)
        self._open = True
        self._fill()
        return restored

    async def stop(self) -> None:
        """Stop every turn where it is, so that the next start goes on from there."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        handles = [turn.handle for turn in self._turns.values() if turn.handle is not None]
        for handle in handles:
            handle.cancel()
        await asyncio.gather(*handles, return_exceptions=True)

    async def _restore(self, *, run: bool) -> int:
        tasks = await self._store.unfinished()
        for task in tasks:
            if task.state in ACTIVE:
                # A restart is no failure: the stage goes on from its token, the try counts once.
                task.move(TaskState.QUEUED, at=self._clock.now())
            self._books.enter(task)
            if task.state in WAITING:
                self._waiting[task.id] = task
                if run:
                    self._wait(task, not_before=task.start_at or 0.0)
        return len(tasks)

    @property
    def open(self) -> bool:
        """Whether it takes and runs tasks."""
        return self._open

    @property
    def running(self) -> int:
        """How many tasks run at present."""
        return len(self._turns)

    # Questions

    def live(self, task_id: str) -> Task | None:
        """The task as it is in memory, which may be newer than the store; None if it is not."""
        turn = self._turns.get(task_id)
        return turn.task if turn is not None else self._waiting.get(task_id)

    def runs(self, task_id: str) -> bool:
        """Whether the task has a turn at present."""
        return task_id in self._turns

    def unfinished_of(self, user: str) -> int:
        """How many unfinished tasks that user has."""
        return self._books.of_user(user)

    def same(self, task: Task) -> str | None:
        """The id of an unfinished task that does what ``task`` does."""
        return self._books.same(task)

    # Orders

    def enqueue(self, tasks: Iterable[Task]) -> None:
        """Take stored, queued tasks in."""
        for task in tasks:
            self._books.enter(task)
            self._wait(task, not_before=task.start_at or 0.0)
        self._fill()

    async def cancel(self, task_id: str) -> Task:
        """End the task for good; when this returns it is stored and nothing of it is left."""
        task = await self._halt(task_id, TaskState.CANCELLED)
        await self._debris.clear(task)
        return task

    async def pause(self, task_id: str) -> Task:
        """Stop the task until ``resume``; what it has fetched stays."""
        return await self._halt(task_id, TaskState.PAUSED)

    async def resume(self, task_id: str) -> Task:
        """Queue a paused task again."""
        task = await self._idle(task_id)
        if task.state is not TaskState.PAUSED:
            hint = "only a paused task can be resumed"
            raise IllegalMove(f"task {task.id} is {task.state}", hint=hint)
        await self._queue_again(task)
        return task

    async def retry(self, task_id: str) -> Task:
        """Queue a failed or cancelled task again: the failed stage only, with new tries."""
        task = await self._idle(task_id)
        if task.state not in {TaskState.FAILED, TaskState.CANCELLED, TaskState.RETRYING}:
            raise IllegalMove(
                f"task {task.id} is {task.state}",
                hint="only a failed or cancelled task can be tried again",
            )
        for stage in task.stages:
            if stage.state is not StageState.DONE:
                stage.state, stage.attempt = StageState.PENDING, 0
        task.failure = task.receipt = task.waiting_since = None
        task.probes = 0
        self._books.enter(task)
        await self._queue_again(task)
        return task

    async def select(self, task_id: str, indexes: list[int]) -> Task:
        """Choose the files of a task that awaits it."""
        task = await self._idle(task_id)
        if task.state is not TaskState.AWAITING_SELECTION:
            raise IllegalMove(f"task {task.id} is {task.state}; it does not await a selection")
        task.options = msgspec.structs.replace(task.options, select=indexes)
        await self._queue_again(task)
        return task

    async def prioritise(
        self,
        task_id: str,
        *,
        priority: int | None = None,
        force: bool | None = None,
        order: str | None = None,
    ) -> Task:
        """Change the priority or the order of an unfinished task, or force its start."""
        task = self.live(task_id) or await self._stored(task_id)
        if task.state in FINAL:
            raise Conflict(f"task {task.id} is {task.state}; its priority has no effect any more")
        task.priority = task.priority if priority is None else priority
        task.force = task.force if force is None else force
        task.order = order or task.order
        await self._store.save(task)
        if task.state in WAITING and task_id not in self._turns:
            due = self.queue.entry(task_id).not_before if order else task.start_at or 0.0
            self.queue.put(self._entry(task, 0.0 if force else due))
            self._fill()
        return task

    async def _queue_again(self, task: Task) -> None:
        await self._moved_to(task, TaskState.QUEUED)
        self._wait(task)
        self._fill()

    async def _idle(self, task_id: str) -> Task:
        """A task that does not run, whole."""
        if task_id in self._turns:
            raise Conflict(f"task {task_id} runs", hint="pause or cancel it first")
        return self._waiting.get(task_id) or await self._stored(task_id)

    async def _stored(self, task_id: str) -> Task:
        task = await self._store.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id!r}")
        return task

    async def _halt(self, task_id: str, state: TaskState) -> Task:
        """Bring the task to ``state``, whether it runs or waits."""
        while (turn := self._turns.get(task_id)) is not None and turn.handle is not None:
            if turn.intent is None:
                turn.intent = state
                turn.handle.cancel()
            await asyncio.wait([turn.handle])
            if turn.task is not None and turn.task.state is state:
                return turn.task
        task = await self._idle(task_id)
        self.queue.discard(task_id)
        await self._moved_to(task, state)
        return task

    # Turns

    def _wait(self, task: Task, not_before: float = 0.0) -> None:
        keep = len(self._waiting) < _MEMORY
        self._waiting[task.id] = task if keep else None
        self.queue.put(self._entry(task, not_before))

    def _entry(self, task: Task, not_before: float) -> Entry:
        return Entry(
            task.id, task.user, task.priority, task.order or task.id, not_before, task.force
        )

    def _fill(self) -> None:
        """Start everything that may start now, and set the timer for what may start later."""
        if not self._open:
            return
        while (entry := self.queue.take(self._clock.now())) is not None:
            turn = _Turn(self._waiting.pop(entry.id, None))
            self._turns[entry.id] = turn
            turn.handle = asyncio.ensure_future(self._turn(entry.id, turn))
            turn.handle.add_done_callback(partial(self._after, entry.id, turn))
        due = self.queue.due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = asyncio.ensure_future(self._wake(due))

    async def _wake(self, due: float) -> None:
        await self._clock.sleep(max(0.0, due - self._clock.now()))
        self._timer = None
        self._fill()

    async def _turn(self, task_id: str, turn: _Turn) -> None:
        with turn_of(task_id):
            task = turn.task = turn.task or await self._stored(task_id)
            waited = self.queue.waited(task_id)
            self._hub.publish(events.TaskStarted(self._clock.now(), task.id, task.user, waited))
            try:
                await self._attempt(task)
            except asyncio.CancelledError:
                if turn.intent is None or task.state in FINAL:
                    raise  # The service stops, and the store has what the next start needs.
                self.queue.discard(task_id)
                await self._moved_to(task, turn.intent)

    def _after(self, task_id: str, turn: _Turn, handle: asyncio.Task[None]) -> None:
        """A turn is over. A callback of its handle: a turn that is cancelled before its first
        step runs no line of its own.
        """
        self._turns.pop(task_id, None)
        self.queue.release(task_id)
        if not handle.cancelled() and handle.exception() is not None:
            with turn_of(task_id):
                log.error("task %s could not be stored", task_id, exc_info=handle.exception())
        self._fill()

    async def _attempt(self, task: Task) -> None:
        try:
            await self._runner.run(task)
        except WaitForSelection:
            await self._moved_to(task, TaskState.AWAITING_SELECTION)
        except WaitForRoom as wait:
            await self._wait_for_room(task, wait)
        except TransferError as error:
            await self._failed(task, error)
        except Unavailable as error:
            await self._failed(task, Refused(error.message, hint=error.hint))
        except InvalidInput as error:
            # What only the source or the destination could tell: no such remote, say.
            await self._failed(task, Unsupported(error.message, hint=error.hint))
        except Exception:
            # The boundary of a turn: whatever goes wrong in one task must not end the others.
            log.exception("task %s: a fault of the program", task.id)
            fault = InternalFailure(
                "a fault of the program stopped this task",
                hint="the log has the details",
            )
            await self._failed(task, fault)

    async def _moved_to(self, task: Task, state: TaskState) -> None:
        before = task.state
        task.move(state, at=self._clock.now())
        await self._store.save(task)
        self._hub.publish(telling.moved(task, before, task.updated_at))

    async def _wait_for_room(self, task: Task, wait: WaitForRoom) -> None:
        now = self._clock.now()
        since = task.waiting_since = task.waiting_since or now
        text = f"needs {wait.needed} bytes on the disk, and {wait.available} are free"
        if wait.needed > wait.total or now - since >= self._disk_wait:
            error = NoSpace(
                f"the task {text}",
                hint="free some room or lower DISK_RESERVE, then retry",
                needed=wait.needed,
                available=wait.available,
            )
            await self._failed(task, error)
            return
        task.note = f"waits for room: {text}"
        await self._moved_to(task, TaskState.QUEUED)
        self._wait(task, not_before=now + min(_ROOM_RETRY, self._disk_wait))

    async def _failed(self, task: Task, error: TransferError) -> None:
        now, stage = self._clock.now(), task.current
        label, attempt = ("plan", task.probes) if stage is None else (stage.label, stage.attempt)
        failure = Failure.of(error, stage=label, at=now, attempt=attempt + 1)
        delay = await self._delay(task, error, failure)
        if stage is None:
            task.probes += 1
        else:
            stage.attempt += 1
            stage.state = StageState.FAILED
        task.failure = failure
        now = self._clock.now()
        retry_at = None if delay is None else now + delay
        await self._moved_to(task, TaskState.FAILED if delay is None else TaskState.RETRYING)
        self._hub.publish(telling.failed(task, stage, error, now, retry_at))
        if retry_at is not None:
            self._wait(task, not_before=retry_at)

    async def _delay(self, task: Task, error: TransferError, failure: Failure) -> float | None:
        """Seconds until the next try; None: no more."""
        delay = self._retry.delay(error, failure.attempt, self._jitter())
        if not self._retry.may_be_wished(error, failure.attempt):
            return delay
        wished = await self._advisors.retry(task, failure, delay)
        if wished is None:
            return delay
        return None if wished is False else self._retry.wished(error, wished)

    def _strike(self, event: events.Event) -> None:
        """Who sees the end of a task may ask for the same at once."""
        if isinstance(event, events.TaskMoved) and event.after in FINAL:
            self._forget(event.task)

    def _forget(self, task_id: str) -> None:
        self._waiting.pop(task_id, None)
        self._books.strike(task_id)

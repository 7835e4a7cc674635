"""Everything that can be done with tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from bot.cache import Cache
from bot.domain import events
from bot.domain.advice import NO_ADVICE, Advisors
from bot.domain.ids import IdSource
from bot.domain.links import LinkSources
from bot.domain.places import between
from bot.domain.ports import Clock, TaskPage, TaskQuery, TaskStore
from bot.domain.task import FINAL, Progress, Receipt, Task, TaskState
from bot.errors import (
    Conflict,
    Duplicate,
    InternalFailure,
    InvalidInput,
    MltbError,
    NotFound,
    QuotaReached,
    TooMany,
    Unavailable,
)
from bot.services.callers import Caller, Scope
from bot.services.submissions import MAX_SUBMISSIONS, Submission, Wanted, expand
from bot.transfers.books import mark_of
from bot.transfers.debris import Debris
from bot.transfers.planner import Planner, check_local_name, describe
from bot.transfers.runner import Runner
from bot.transfers.scheduler import Scheduler

_DAY = 86400.0
_PLAN_TTL = 60.0  # seconds that a plan is good for


class Submitted(msgspec.Struct, frozen=True):
    """The answer to one submission of many: a task, or why not."""

    index: int
    task: Task | None = None
    error: MltbError | None = None


class TaskView(msgspec.Struct, frozen=True):
    """A task and, while it runs, its progress."""

    task: Task
    progress: Progress | None = None


class Tasks:
    """Everything that can be done with tasks."""

    def __init__(
        self,
        *,
        store: TaskStore,
        planner: Planner,
        scheduler: Scheduler,
        runner: Runner,
        debris: Debris,
        cache: Cache,
        hub: events.EventHub,
        clock: Clock,
        default_destination: str,
        max_queued_per_user: int | None,
        daily_bytes: int | None,
        advisors: Advisors = NO_ADVICE,
        sources: LinkSources | None = None,
    ) -> None:
        self._store = store
        self._planner = planner
        self._scheduler = scheduler
        self._runner = runner
        self._debris = debris
        self._cache = cache
        self._hub = hub
        self._clock = clock
        self._default_destination = default_destination
        self._max_queued = max_queued_per_user
        self._daily_bytes = daily_bytes
        self._advisors = advisors
        self._sources = sources
        self._new_id = IdSource()
        self._keyed = asyncio.Lock()

    async def submit(self, caller: Caller, wanted: Submission, *, key: str | None = None) -> Task:
        """Store one task and queue it. With an idempotency ``key`` a repetition gives the task
        that the first call made.
        """
        answers = await self.submit_many(caller, [wanted], key=key)
        for answer in answers:  # more than one where the link stands for several
            if answer.task is not None:
                return answer.task
        raise answers[0].error or InternalFailure("a submission without an answer")

    async def submit_many(
        self, caller: Caller, wanted: Sequence[Submission], *, key: str | None = None
    ) -> list[Submitted]:
        """Store all that can be stored, in one transaction; one answer each, in order. Where a link
        stands for several, each of those has an answer, with the same index.
        """
        caller.require(Scope.OPERATE)
        if not self._scheduler.open:
            raise Unavailable(
                "the service does not take tasks", hint="it starts or stops; try again"
            )
        if len(wanted) > MAX_SUBMISSIONS:
            raise TooMany(f"{len(wanted)} links at once", hint=f"at most {MAX_SUBMISSIONS}")
        if key is None:
            return await self._submit(caller, await expand(self._sources, wanted), None)
        if known := await self._known(caller, key):
            return known
        expanded = await expand(self._sources, wanted)  # others need not wait for this
        async with self._keyed:  # Two requests with one key, one after the other
            return await self._known(caller, key) or await self._submit(caller, expanded, key)

    async def _known(self, caller: Caller, key: str) -> list[Submitted]:
        known = await self._store.by_key(caller.user, key)
        return [Submitted(index, task) for index, task in enumerate(known)]

    async def _submit(
        self, caller: Caller, wanted: Sequence[Wanted], key: str | None
    ) -> list[Submitted]:
        await self._check_quota(caller.user)
        placed = await self._placed(caller, [each.submission for each in wanted])
        answers: list[Submitted] = []
        fresh: list[Task] = []
        seen: set[str] = set()
        for each, submission in zip(wanted, placed, strict=True):
            try:
                task = self._task(caller, submission, key, len(fresh), seen)
            except MltbError as error:
                answers.append(Submitted(each.index, error=each.explained(error)))
                continue
            task.note = each.note
            fresh.append(task)
            answers.append(Submitted(each.index, task))
        if len(fresh) == 1:
            await self._note_earlier(fresh[0])
        await self._store.add(fresh)
        self._scheduler.enqueue(fresh)
        for task in fresh:
            self._hub.publish(
                events.TaskSubmitted(
                    task.created_at, task.id, task.user, task.source, task.destination
                )
            )
        return answers

    async def _placed(self, caller: Caller, wanted: Sequence[Submission]) -> list[Submission]:
        """The submissions, with a destination where an adviser has one and the user has not."""
        placed = list(wanted)
        if not self._advisors.has_destinations:
            return placed
        asked: dict[int, Task] = {}
        for index, each in enumerate(wanted):
            if each.to is None:
                with contextlib.suppress(MltbError):  # who asked is told in a moment
                    again = msgspec.structs.replace(each, again=True)
                    asked[index] = self._task(caller, again, None, 0, set())
        found = await self._advisors.destinations(
            [*asked.values()], self._planner.check_destination
        )
        for index, destination in zip(asked, found, strict=True):
            if destination is not None:
                placed[index] = msgspec.structs.replace(wanted[index], to=destination)
        return placed

    def _task(
        self,
        caller: Caller,
        wanted: Submission,
        key: str | None,
        count: int,
        seen: set[str],
    ) -> Task:
        source = wanted.source.strip()
        if not source or len(source) > 4_000_000 or any(ord(c) < 32 for c in source):
            raise InvalidInput("a source is one line of text", hint="a link, a magnet, remote:path")
        if wanted.options.limit is not None and wanted.options.limit < 1:
            raise InvalidInput(f"a limit of {wanted.options.limit} bytes a second moves nothing")
        check_local_name(wanted.options.name)
        destination = wanted.to or self._default_destination
        steps = self._planner.check(source, destination, wanted.options, wanted.steps)
        if self._max_queued is not None:
            have = self._scheduler.unfinished_of(caller.user) + count
            if have >= self._max_queued:
                raise TooMany(
                    f"{caller.user} has {have} unfinished tasks",
                    hint=f"the limit is {self._max_queued} (MAX_QUEUED_PER_USER)",
                )
        now = self._clock.now()
        task = Task(
            id=self._new_id(),
            user=caller.user,
            source=source,
            destination=destination,
            created_at=now,
            updated_at=now,
            options=wanted.options,
            steps=steps,
            priority=wanted.priority,
            start_at=wanted.start_at,
            force=wanted.force and caller.scope is Scope.ADMIN,
            key=key,
        )
        if not wanted.again:
            self._refuse_twice(task, seen)
        return task

    def _refuse_twice(self, task: Task, seen: set[str]) -> None:
        same = self._scheduler.same(task)
        mark = f"{task.source}\0{task.destination}\0{task.options}\0{task.steps}"
        if same is None and mark not in seen:
            seen.add(mark)
            return
        raise Duplicate(
            f"task {same} does the same already" if same else "the same link is there twice",
            hint="ask for it again with again=true",
            **({"task": same} if same else {}),
        )

    async def _note_earlier(self, task: Task) -> None:
        """Say so where the same link was delivered before."""
        for receipt in await self._store.receipts(task.source, 1):
            earlier = await self._store.get(receipt.task)
            if earlier is not None and earlier.user == task.user:
                task.note = f"was delivered before, to {receipt.path} (task {receipt.task})"

    async def _check_quota(self, user: str) -> None:
        if self._daily_bytes is None:
            return
        used = await self._store.usage(user, self._clock.now() - _DAY)
        if used >= self._daily_bytes:
            raise QuotaReached(
                f"{user} had {used} bytes delivered in the last 24 hours",
                hint=f"the limit is {self._daily_bytes} bytes (USER_DAILY_BYTES)",
            )

    async def plan(self, caller: Caller, wanted: Submission) -> dict[str, Any]:
        """What a submission would do: name, size, files, disk, stages. Nothing is stored."""
        caller.require(Scope.OPERATE)
        first = (await expand(self._sources, [wanted]))[0]
        (placed,) = await self._placed(caller, [first.submission])
        task = self._task(caller, msgspec.structs.replace(placed, again=True), None, 0, set())

        async def make() -> bytes:
            return msgspec.json.encode(describe(await self._planner.route(task), task))

        # Asking a source twice in a minute says the same; a page that refreshes asks often.
        found = await self._cache.single_flight(f"plan:{mark_of(task)}", ttl=_PLAN_TTL, make=make)
        plan: dict[str, Any] = msgspec.json.decode(found)
        return plan if first.note is None else {**plan, "note": first.note}

    async def show(self, caller: Caller, task_id: str) -> TaskView:
        """One task."""
        task = self._scheduler.live(task_id) or await self._store.get(task_id)
        if task is None or not self._may_see(caller, task):
            raise NotFound(f"there is no task {task_id!r}", hint="mltb list shows those there are")
        return TaskView(task, self._runner.snapshot().get(task_id))

    async def many(self, caller: Caller, task_ids: Sequence[str]) -> dict[str, TaskView]:
        """Those of the tasks that there are and that the caller may see, by id."""
        found = {each: task for each in task_ids if (task := self._scheduler.live(each))}
        if missing := [each for each in task_ids if each not in found]:
            found |= {task.id: task for task in await self._store.get_many(missing)}
        progress = self._runner.snapshot()
        return {
            task.id: TaskView(task, progress.get(task.id))
            for task in found.values()
            if self._may_see(caller, task)
        }

    async def wait(
        self, caller: Caller, task_id: str, seconds: float, version: int | None
    ) -> TaskView:
        """One task, as soon as it is final or newer than ``version``, at last after ``seconds``."""
        changed = asyncio.Event()

        def listen(event: events.Event) -> None:
            if isinstance(event, events.TaskEvent) and event.task == task_id:
                changed.set()

        stop = self._hub.listen(listen)
        try:
            view = await self.show(caller, task_id)
            same = version is None or view.task.version <= version
            if view.task.state not in FINAL and same and seconds > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), seconds)
                view = await self.show(caller, task_id)
            return view
        finally:
            stop()

    async def list(self, caller: Caller, query: TaskQuery) -> tuple[TaskPage, dict[str, Progress]]:
        """A page of tasks, and the progress of those on it that run."""
        page = await self._store.page(self._own(caller, query), self._scheduler.live)
        progress = self._runner.snapshot()
        found = {task.id: progress[task.id] for task in page.items if task.id in progress}
        return page, found

    async def count(self, caller: Caller) -> dict[TaskState, int]:
        """How many tasks are in each state."""
        return await self._store.count(None if caller.sees_all else caller.user)

    async def cancel(self, caller: Caller, task_id: str) -> Task:
        """End a task; nothing of it is left."""
        await self._mine(caller, task_id)
        return await self._scheduler.cancel(task_id)

    async def pause(self, caller: Caller, task_id: str) -> Task:
        """Stop a task until it is resumed."""
        await self._mine(caller, task_id)
        return await self._scheduler.pause(task_id)

    async def resume(self, caller: Caller, task_id: str) -> Task:
        """Let a paused task go on."""
        await self._mine(caller, task_id)
        return await self._scheduler.resume(task_id)

    async def retry(self, caller: Caller, task_id: str) -> Task:
        """Try the failed stage of a task again."""
        await self._mine(caller, task_id)
        return await self._scheduler.retry(task_id)

    async def select(self, caller: Caller, task_id: str, indexes: Sequence[int]) -> Task:
        """Choose the files of a task that awaits it."""
        await self._mine(caller, task_id)
        if not indexes or any(index < 0 for index in indexes):
            raise InvalidInput("a selection names at least one file, by its index from 0")
        return await self._scheduler.select(task_id, sorted(set(indexes)))

    async def prioritise(
        self, caller: Caller, task_id: str, priority: int | None, force: bool | None
    ) -> Task:
        """Change the priority, or force the start (admins)."""
        await self._mine(caller, task_id)
        if force:
            caller.require(Scope.ADMIN)
        task = await self._scheduler.prioritise(task_id, priority=priority, force=force)
        self._hub.publish(events.TaskChanged(self._clock.now(), task.id, task.user))
        return task

    async def move(self, caller: Caller, task_id: str, before: str | None) -> Task:
        """Put a waiting task before another, with its priority; None: last of its own."""
        await self._mine(caller, task_id)
        queue = self._scheduler.queue
        entry = queue.entry(task_id)
        priority, high = entry.priority, None
        if before is not None:
            await self._mine(caller, before)
            other = queue.entry(before)
            priority, high = other.priority, other.order
        order = between(queue.before(priority, high, besides=task_id), high)
        task = await self._scheduler.prioritise(task_id, priority=priority, order=order)
        self._hub.publish(events.TaskChanged(self._clock.now(), task.id, task.user))
        return task

    async def delete(self, caller: Caller, task_id: str) -> None:
        """Forget a finished task; its receipt stays, and so does what it delivered."""
        task = await self._mine(caller, task_id)
        if task.state not in FINAL:
            raise Conflict(f"task {task_id} is {task.state}", hint="cancel it first")
        if task.state is not TaskState.DONE:
            await self._debris.clear(task)
        await self._store.delete([task_id])
        self._hub.publish(events.TaskRemoved(self._clock.now(), task.id, task.user))

    async def receipts(self, caller: Caller, source: str | None, limit: int) -> Sequence[Receipt]:
        """The newest receipts (admins), of one source or of all."""
        caller.require(Scope.ADMIN)
        return await self._store.receipts(source, limit)

    async def _mine(self, caller: Caller, task_id: str) -> Task:
        caller.require(Scope.OPERATE)
        return (await self.show(caller, task_id)).task

    @staticmethod
    def _may_see(caller: Caller, task: Task) -> bool:
        return caller.sees_all or task.user == caller.user

    @staticmethod
    def _own(caller: Caller, query: TaskQuery) -> TaskQuery:
        if caller.sees_all:
            return query
        return msgspec.structs.replace(query, user=caller.user)

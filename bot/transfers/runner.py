"""Walks one task through its stages, journalling each, so that a crash at any moment costs little.

What is true between two journal entries: a stage writes into its own directory only, and the
directory that it reads is removed after its result is durable. A delivery makes its intent durable
(by its checkpoint, which stores the whole task) before it moves anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bot.domain import events
from bot.domain.advice import NO_ADVICE, Advisors
from bot.domain.ports import (
    Checkpoint,
    Clock,
    Delivered,
    DeliverJob,
    Engine,
    Profiler,
    Seeder,
    Step,
    StepJob,
    Streamer,
    StreamSink,
    TaskStore,
    Transferer,
)
from bot.domain.task import (
    STATE_OF_STAGE,
    Progress,
    Receipt,
    Stage,
    StageKind,
    StageState,
    Task,
    TaskState,
)
from bot.engines.registry import Engines
from bot.errors import Corrupt, InternalFailure, NoSpace, QuotaReached
from bot.transfers import files, telling
from bot.transfers.advice import choose_engine, choose_name, heed_veto
from bot.transfers.jobs import deliver_job, fetch_job, keeps, position, source_stage, stage_of
from bot.transfers.planner import REMOTE_COPY, STREAMED, Planner
from bot.transfers.space import DiskLedger
from bot.transfers.steps import step_of

_DAY = 86400.0


class WaitForSelection(Exception):
    """The task needs its user to choose files."""


class WaitForRoom(Exception):
    """The task does not fit on the disk at present; ``needed`` and ``available`` in bytes."""

    def __init__(self, needed: int, available: int, total: int) -> None:
        super().__init__(needed, available)
        self.needed = needed
        self.available = available
        self.total = total


class Runner:
    """Runs tasks, one call of ``run`` each. ``daily_bytes`` is a user's limit in 24 hours."""

    def __init__(
        self,
        *,
        engines: Engines,
        steps: Mapping[str, Step],
        planner: Planner,
        store: TaskStore,
        hub: events.EventHub,
        space: DiskLedger,
        clock: Clock,
        daily_bytes: int | None,
        profiler: Profiler,
        advisors: Advisors = NO_ADVICE,
    ) -> None:
        self._engines = engines
        self._steps = steps
        self._planner = planner
        self._store = store
        self._hub = hub
        self._space = space
        self._clock = clock
        self._daily_bytes = daily_bytes
        self._profiler = profiler
        self._advisors = advisors
        self._step_progress: dict[str, Progress] = {}
        self._background: set[asyncio.Task[None]] = set()

    def snapshot(self) -> Mapping[str, Progress]:
        """The progress of every running task, by id."""
        return {**self._engines.snapshot(), **self._step_progress}

    async def run(self, task: Task) -> None:
        """Take ``task`` from where it is to ``done``.

        Raises a TransferError (the stage that failed is ``task.current``), WaitForSelection,
        WaitForRoom, or CancelledError.
        """
        try:
            if not task.stages:
                await self._prepare(task)
            else:
                await self._reenter(task)
            while (stage := task.current) is not None:
                await self._run_stage(task, stage)
            await self._finish(task)
        finally:
            self._space.release(task.id)
            self._step_progress.pop(task.id, None)

    # What comes before the first stage

    async def _prepare(self, task: Task) -> None:
        if task.state is not TaskState.PROBING:
            self._move_soon(task, TaskState.PROBING)
        task.started_at = task.started_at or self._clock.now()
        await choose_engine(task, self._advisors, self._planner)
        route = await self._planner.route(task)
        task.engine, task.name = route.plan.engine, task.options.name or route.plan.name
        task.size = route.plan.size
        task.workspace = str(route.workspace)
        await self._check_quota(task)
        await heed_veto(task, self._advisors)
        await choose_name(task, self._advisors)
        options = task.options
        if options.ask_selection and options.select is None and len(route.plan.files) > 1:
            raise WaitForSelection
        await self._reserve(task, route.workspace, route.disk)
        task.stages = route.stages
        task.waiting_since = task.note = None
        self._hub.publish(
            events.TaskPlanned(
                self._clock.now(), task.id, task.user, task.engine, task.name, task.size
            )
        )

    async def _reenter(self, task: Task) -> None:
        """Go on with a task that was planned before; start over where its files are gone."""
        stage = task.current
        if stage is None or task.workspace is None:
            return
        source = source_stage(task, stage)
        if stage.token is None and source is not None and stage.kind is not StageKind.VERIFY:
            directory = files.stage_directory(task.workspace, position(task, source))
            if not await files.complete(directory, source.files):
                for each in task.stages:
                    each.state, each.token, each.files = StageState.PENDING, None, []
        if task.stages[0].kind is StageKind.FETCH and task.stages[0].state is not StageState.DONE:
            await self._reserve(task, Path(task.workspace), task.size)

    async def _reserve(self, task: Task, workspace: Path, need: int | None) -> None:
        if not need:
            return
        room = await self._space.claim(task.id, workspace, need)
        if room is not None:
            raise WaitForRoom(need, room.available, room.total)

    async def _check_quota(self, task: Task) -> None:
        if self._daily_bytes is None:
            return
        used = await self._store.usage(task.user, self._clock.now() - _DAY)
        if used + (task.size or 0) > self._daily_bytes:
            raise QuotaReached(
                f"{task.user} had {used} bytes delivered in the last 24 hours, and this task has "
                f"{task.size if task.size is not None else 'an unknown number of'}",
                hint=f"the limit is {self._daily_bytes} bytes (USER_DAILY_BYTES)",
            )

    # The stages

    async def _run_stage(self, task: Task, stage: Stage) -> None:
        started = self._clock.monotonic()
        stage.state = StageState.RUNNING
        stage.started_at = stage.started_at or self._clock.now()
        self._move_soon(task, STATE_OF_STAGE[stage.kind])
        self._hub.publish(telling.started(task, stage, self._clock.now()))
        try:
            with self._profiler.measure(f"stage.{stage.label}", task=task.id, by=stage.name):
                await self._dispatch(task, stage)
        finally:
            stage.seconds += self._clock.monotonic() - started
        stage.state = StageState.DONE
        stage.finished_at = self._clock.now()
        self._hub.publish(telling.finished(task, stage, stage.finished_at))

    async def _dispatch(self, task: Task, stage: Stage) -> None:
        if stage.kind is StageKind.FETCH:
            await self._fetch(task, stage)
        elif stage.kind is StageKind.STEP:
            await self._step(task, stage)
        elif stage.kind is StageKind.DELIVER:
            await self._deliver(task, stage)
        elif stage.kind is StageKind.VERIFY:
            await self._verify(task, stage)
        else:
            await self._seed(task, stage)

    async def _fetch(self, task: Task, stage: Stage) -> None:
        engine = self._engines.named(stage.name)
        job = fetch_job(task, stage, self._checkpoint(task, stage))
        await files.make(job.directory)
        fetched = await engine.fetch(job)
        stage.files = fetched.files
        stage.result = {"name": fetched.name, **fetched.detail}
        task.name = task.options.name or fetched.name
        task.size = sum(file.size for file in fetched.files)
        # No save of its own: what comes next stores the whole task before it changes any file.

    async def _step(self, task: Task, stage: Stage) -> None:
        source = source_stage(task, stage)
        if source is None or task.workspace is None:
            raise InternalFailure(f"the step {stage.name} has nothing to work on")
        directory = files.stage_directory(task.workspace, position(task, source))
        output = files.stage_directory(task.workspace, position(task, stage))
        await self._store.save(task)
        await files.make(output, empty=True)
        step = step_of(self._steps, stage.name)
        job = StepJob(
            id=task.id,
            directory=directory,
            files=source.files,
            output=output,
            params=stage.params,
            report=lambda progress: self._step_progress.__setitem__(task.id, progress),
        )
        try:
            stage.files = await step.run(job)
        finally:
            self._step_progress.pop(task.id, None)
        stage.state = StageState.DONE
        task.size = sum(file.size for file in stage.files)
        await self._store.save(task)
        if not keeps(task, source):
            await files.remove(directory)

    async def _deliver(self, task: Task, stage: Stage) -> None:
        engine = self._engines.named(stage.name)
        job = deliver_job(task, stage, self._checkpoint(task, stage))
        way = stage.params.get("way")
        if way == STREAMED:
            delivered = await self._stream(task, stage, engine, job)
        elif way == REMOTE_COPY:
            if not isinstance(engine, Transferer):
                raise InternalFailure(f"the engine {engine.name} can't copy between remotes")
            delivered = await engine.transfer(
                fetch_job(task, stage, self._checkpoint(task, stage)), job
            )
        else:
            delivered = await engine.deliver(job)
        stage.files = delivered.files
        stage.result = msgspec.to_builtins(delivered)
        task.size = sum(file.size for file in delivered.files)

    async def _stream(self, task: Task, stage: Stage, engine: Engine, job: DeliverJob) -> Delivered:
        fetcher = self._engines.named(str(stage.params["from"]))
        if not isinstance(fetcher, Streamer) or not isinstance(engine, StreamSink):
            raise InternalFailure(f"{fetcher.name} can't stream to {engine.name}")
        await self._store.save(task)
        chunks: AsyncIterator[bytes] = fetcher.stream(
            fetch_job(task, stage, self._checkpoint(task, stage))
        )
        async with contextlib.aclosing(_generator(chunks)) as source:
            return await engine.deliver_stream(job, task.name or task.id, task.size, source)

    async def _verify(self, task: Task, stage: Stage) -> None:
        engine = self._engines.named(stage.name)
        deliver = stage_of(task, StageKind.DELIVER)
        if deliver is None:
            raise InternalFailure(f"task {task.id} has nothing to verify")
        job = deliver_job(task, deliver, self._checkpoint(task, deliver))
        delivered = msgspec.convert(deliver.result, Delivered)
        if not job.files:
            job.files = deliver.files
        try:
            stage.result = {"method": await engine.verify(job, delivered)}
        except Corrupt:
            await engine.discard(job, delivered)
            deliver.state, deliver.token, deliver.result = StageState.PENDING, None, {}
            raise
        stage.files = delivered.files

    async def _seed(self, task: Task, stage: Stage) -> None:
        engine = self._engines.named(stage.name)
        if not isinstance(engine, Seeder):
            raise InternalFailure(f"the engine {engine.name} does not seed")
        await self._store.save(task)
        fetch = task.stages[0]
        stage.result = await engine.seed(fetch_job(task, fetch, self._checkpoint(task, fetch)))

    async def _finish(self, task: Task) -> None:
        workspace = task.workspace
        await files.to_its_end(self._complete(task))
        if workspace is not None:
            await files.remove(Path(workspace))

    async def _complete(self, task: Task) -> None:
        """Make the end durable, and only then show it: who sees ``done`` never sees it undone."""
        ended = copy.copy(task)
        ended.receipt = self._receipt(task)
        ended.workspace = ended.note = None
        ended.move(TaskState.DONE, at=self._clock.now())
        await self._store.save(ended)
        before = task.state
        for name in ended.__struct_fields__:
            setattr(task, name, getattr(ended, name))
        now, receipt = self._clock.now(), ended.receipt
        self._hub.publish(telling.moved(task, before, now))
        self._hub.publish(
            events.TaskDone(now, task.id, task.user, receipt.path, receipt.size, receipt.sha256)
        )

    def _receipt(self, task: Task) -> Receipt:
        deliver, verify = (
            stage_of(task, StageKind.DELIVER),
            stage_of(task, StageKind.VERIFY),
        )
        if deliver is None or verify is None:
            raise InternalFailure(f"task {task.id} ended without a delivery")
        delivered = msgspec.convert(deliver.result, Delivered)
        entries = delivered.files
        single = entries[0].sha256 if len(entries) == 1 else None
        return Receipt(
            task=task.id,
            source=task.source,
            destination=task.destination,
            files=entries,
            size=sum(file.size for file in entries),
            sha256=single,
            path=delivered.path,
            method=str(verify.result["method"]),
            steps=[stage.label for stage in task.stages],
            created_at=task.created_at,
            finished_at=self._clock.now(),
            fetch_seconds=task.stages[0].seconds,
            total_seconds=sum(stage.seconds for stage in task.stages),
        )

    def _checkpoint(self, task: Task, stage: Stage) -> Checkpoint:
        async def checkpoint(token: dict[str, Any]) -> None:
            stage.token = token
            if stage.kind is StageKind.FETCH and task.size is None and token.get("size"):
                task.size = int(token["size"])
                room = await self._space.claim(task.id, Path(task.workspace or "/"), task.size)
                if room is not None:
                    raise NoSpace(
                        f"the source has {task.size} bytes, and {room.available} are free",
                        hint="free some room, or lower DISK_RESERVE, and retry the task",
                        needed=task.size,
                        available=room.available,
                    )
            await self._store.save(task)

        return checkpoint

    # Moves

    def _move_soon(self, task: Task, state: TaskState) -> None:
        """Move, and store that without waiting: a crash before it is stored only means that the
        restart finds an earlier state, from which the same work goes on.
        """
        before = task.state
        if before is state:
            return
        task.move(state, at=self._clock.now())
        moved = telling.moved(task, before, self._clock.now())

        async def store() -> None:
            await self._store.save(task)
            self._hub.publish(moved)

        handle = asyncio.ensure_future(store())
        self._background.add(handle)
        handle.add_done_callback(self._stored)

    def _stored(self, handle: asyncio.Task[None]) -> None:
        self._background.discard(handle)
        if not handle.cancelled():
            handle.exception()  # The next awaited save of the task meets the same fault.


async def _generator(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        yield chunk

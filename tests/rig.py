"""A service without its network: the real store, runner, scheduler and local engine over a source
whose every byte the test controls."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.app.parts import Base, Transfers
from bot.cache import Cache, open_cache
from bot.config import load
from bot.domain.bandwidth import Timetable
from bot.domain.events import Event, EventHub
from bot.domain.ports import (
    Capabilities,
    Delivered,
    DeliverJob,
    Fetched,
    FetchJob,
    Plan,
    PlannedFile,
    Step,
    StepJob,
)
from bot.domain.queue import Queue, QueuePolicy
from bot.domain.retry import RetryPolicy
from bot.domain.task import FINAL, FileEntry, Progress, Task, TaskOptions, TaskState
from bot.engines.local import LocalEngine
from bot.engines.registry import Engines
from bot.errors import InternalFailure, TransferError, Unsupported
from bot.operations.profiler import OperationProfiler
from bot.services import OWNER, Submission, Tasks, Tokens
from bot.store.repository import Store, open_store
from bot.transfers.bandwidth import Governor
from bot.transfers.debris import Debris, Janitor
from bot.transfers.files import WORK
from bot.transfers.planner import Planner
from bot.transfers.runner import Runner
from bot.transfers.scheduler import Scheduler
from bot.transfers.space import DiskLedger


class ManualClock:
    """Time that only moves when a test says so."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        """UNIX seconds."""
        return self._now

    def monotonic(self) -> float:
        """Seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Until somebody advances the time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, future))
        await future

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        due = [entry for entry in self._sleepers if entry[0] <= self._now]
        self._sleepers = [entry for entry in self._sleepers if entry[0] > self._now]
        for _, future in due:
            if not future.done():
                future.set_result(None)


@dataclass(slots=True)
class Script:
    """How one source behaves."""

    content: Mapping[str, bytes] = field(default_factory=lambda: {"file.bin": b"content"})
    errors: list[TransferError] = field(default_factory=list)
    plan_errors: list[TransferError] = field(default_factory=list)
    gate: asyncio.Event | None = None
    size: int | None = None


class ScriptedSource:
    """An engine for ``test:NAME`` which fetches what the script of NAME says, and counts."""

    name = "scripted"
    capabilities = Capabilities(schemes=("test",), fetches=True, resumes=True)

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.fetches: list[tuple[str, dict[str, Any] | None]] = []
        self.plans = 0
        self.under_way: set[str] = set()
        self.most = 0
        self.limit: int | None = None
        self.started = asyncio.Event()

    def accepts(self, source: str) -> int:
        """``test:`` links."""
        return 10 if source.startswith("test:") else 0

    def delivers_to(self, destination: str) -> bool:
        """Nowhere."""
        return False

    def _script(self, source: str) -> Script:
        return self.scripts.setdefault(source.removeprefix("test:"), Script())

    async def plan(self, source: str, options: TaskOptions) -> Plan:
        """What the script says."""
        self.plans += 1
        script = self._script(source)
        if script.plan_errors:
            raise script.plan_errors.pop(0)
        size = script.size or sum(map(len, script.content.values()))
        files = [
            PlannedFile(i, name, len(data)) for i, (name, data) in enumerate(script.content.items())
        ]
        return Plan(self.name, source, next(iter(script.content)), size, size, files)

    async def fetch(self, job: FetchJob) -> Fetched:
        """Write the content; wait at the gate; fail as scripted."""
        script = self._script(job.source)
        self.fetches.append((job.source, job.token))
        self.under_way.add(job.id)
        self.most = max(self.most, len(self.under_way))
        self.started.set()
        try:
            await job.checkpoint({"begun": True})
            for name, data in script.content.items():
                path = job.directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if script.gate is not None:
                await script.gate.wait()
            if script.errors:
                raise script.errors.pop(0)
            entries = [
                FileEntry(name, len(data), hashlib.sha256(data).hexdigest())
                for name, data in script.content.items()
            ]
            return Fetched(entries[0].path if len(entries) == 1 else "folder", entries)
        finally:
            self.under_way.discard(job.id)

    async def deliver(self, job: DeliverJob) -> Delivered:
        """Unsupported."""
        raise Unsupported("a source")

    async def verify(self, job: DeliverJob, delivered: Delivered) -> str:
        """Unsupported."""
        raise Unsupported("a source")

    async def discard(self, job: DeliverJob, delivered: Delivered | None) -> None:
        """Nothing to do."""

    def snapshot(self) -> Mapping[str, Progress]:
        """Half done, all of them."""
        return {task: Progress(50, 100, 10.0) for task in self.under_way}

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Remember it."""
        self.limit = limit

    async def cleanup(self, older_than: float) -> int:
        """Nothing."""
        return 0

    async def close(self) -> None:
        """Nothing."""


class Upper:
    """A step that turns its files into upper case; counts its runs; fails as told."""

    name = "upper"

    def __init__(self) -> None:
        self.runs = 0
        self.errors: list[TransferError] = []
        self.gate: asyncio.Event | None = None

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """No parameters."""
        return dict(params)

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """As much as comes in."""
        return size

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Do it."""
        self.runs += 1
        if list(job.output.iterdir()):
            raise InternalFailure("the output was not empty")
        found: list[FileEntry] = []
        for entry in job.files:
            data = (job.directory / entry.path).read_bytes().upper()
            (job.output / entry.path).write_bytes(data)
            found.append(FileEntry(entry.path, len(data), hashlib.sha256(data).hexdigest()))
        if self.gate is not None:
            await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return found


@dataclass(slots=True)
class Rig:
    """The parts that a test looks at."""

    root: Path
    source: ScriptedSource
    upper: Upper
    store: Store
    hub: EventHub
    scheduler: Scheduler
    tasks: Tasks
    tokens: Tokens
    clock: ManualClock
    debris: Debris
    events: list[Event]
    cache: Cache
    engines: Engines
    transfers: Transfers
    profiler: OperationProfiler

    async def submit(self, name: str = "a", **wanted: Any) -> Task:
        """Submit ``test:NAME`` to the root."""
        return await self.tasks.submit(OWNER, Submission(f"test:{name}", str(self.root), **wanted))

    async def until(self, task: Task | str, *states: TaskState) -> Task:
        """The task once it is in one of the states (by default, final)."""
        wanted = states or tuple(FINAL)
        task_id = task if isinstance(task, str) else task.id
        async with asyncio.timeout(20):
            while True:
                view = await self.tasks.wait(OWNER, task_id, 0, None)
                if view.task.state in wanted:
                    stored = await self.store.get(task_id)
                    if stored is not None and stored.state in wanted:
                        while self.scheduler.runs(task_id) and stored.state in FINAL:  # noqa: ASYNC110
                            await asyncio.sleep(0)
                        return stored
                await self.tasks.wait(OWNER, task_id, 1, view.task.version)

    @property
    def base(self) -> Base:
        """What the operations stand on."""
        environ = {
            "DATA_DIR": str(self.root.parent / "data"),
            "DOWNLOAD_DIR": str(self.root),
            "PLUGINS_DIR": str(self.root.parent / "plugins"),
        }
        settings = load(environ, self.root.parent).settings
        settings.data_dir.mkdir(exist_ok=True)
        return Base(
            settings, self.store, self.cache, self.engines, self.hub, self.clock, self.profiler
        )

    async def failed_again(self, task: Task, times: int) -> None:
        """Until a stage of the task has failed so often, and waits."""
        view = await self.tasks.show(OWNER, task.id)
        async with asyncio.timeout(20):
            while view.task.state is not TaskState.RETRYING or view.task.stages[0].attempt < times:
                view = await self.tasks.wait(OWNER, task.id, 1, view.task.version)

    @property
    def work(self) -> list[str]:
        """The workspaces that exist."""
        directory = self.root / WORK
        return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


@asynccontextmanager
async def rig(
    directory: Path,
    *,
    max_active: int = 4,
    attempts: int = 3,
    clock: ManualClock | None = None,
    source: ScriptedSource | None = None,
    reserve: int = 0,
    disk_wait: float = 60.0,
    daily_bytes: int | None = None,
    max_queued: int | None = None,
    max_per_user: int | None = None,
    run_restored: bool = True,
    also: Callable[[], Sequence[Step]] = tuple,
) -> AsyncIterator[Rig]:
    """A running service over ``directory``; a second one over the same directory is a restart."""
    root = directory / "files"
    root.mkdir(exist_ok=True)
    clock = clock or ManualClock()
    profiler = OperationProfiler(clock, slow_threshold=1.0)
    store = await open_store(f"sqlite:///{directory / 'rig.db'}", profiler=profiler)
    cache = await open_cache(None, prefix="t_", max_bytes=1_000_000, profiler=profiler)
    hub, source, upper = (
        EventHub(),
        source or ScriptedSource(),
        Upper(),
    )
    local = LocalEngine([root])
    engines = Engines([source, local])
    steps: dict[str, Step] = {"upper": upper, **{step.name: step for step in also()}}
    space = DiskLedger(reserve, dict, clock)
    planner = Planner(
        engines,
        steps,
        space,
        workspace_of=lambda to, task: local.workspace_for(to, task) or root / WORK / task,
        stream_max_size=0,
        seeds_by_default=False,
        profiler=profiler,
    )
    runner = Runner(
        engines=engines,
        steps=steps,
        planner=planner,
        store=store,
        hub=hub,
        space=space,
        clock=clock,
        daily_bytes=daily_bytes,
        profiler=profiler,
    )
    debris = Debris(engines, store, clock, roots=[root], keep_partial=1000.0)
    scheduler = Scheduler(
        queue=Queue(QueuePolicy(max_active, max_per_user)),
        runner=runner,
        store=store,
        hub=hub,
        clock=clock,
        retry=RetryPolicy(attempts, 2.0, 60.0),
        debris=debris,
        disk_wait=disk_wait,
        jitter=lambda: 0.0,
    )
    tasks = Tasks(
        store=store,
        planner=planner,
        scheduler=scheduler,
        runner=runner,
        debris=debris,
        cache=cache,
        hub=hub,
        clock=clock,
        default_destination=str(root),
        max_queued_per_user=max_queued,
        daily_bytes=daily_bytes,
    )
    events: list[Event] = []
    hub.listen(events.append)
    await scheduler.start(run_restored=run_restored)
    try:
        yield Rig(
            root,
            source,
            upper,
            store,
            hub,
            scheduler,
            tasks,
            Tokens(store, clock),
            clock,
            debris,
            events,
            cache,
            engines,
            Transfers(
                planner,
                runner,
                scheduler,
                debris,
                Janitor(debris, store, hub, clock, keep_finished=1000),
                Governor(engines, Timetable.parse("", None), clock),
            ),
            profiler,
        )
    finally:
        await scheduler.stop()
        await engines.close()
        await cache.close()
        await store.close()

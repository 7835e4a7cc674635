"""What the core asks of its parts: engines, steps, the store, the clock.

A part that satisfies a Protocol can take its place; tests swap parts, they do not patch.

Pausing, cancelling and stopping the service are one thing to an engine: the coroutine that runs
the job is cancelled. It stops touching the disk before it lets ``CancelledError`` through, and
leaves what a later call with the last checkpoint as ``token`` needs to go on. What is to be thrown
away is thrown away by ``cleanup``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import msgspec

from bot.domain.task import FileEntry, Progress, Receipt, Task, TaskOptions, TaskState

#: Makes a resume token durable; when it returns, the token survives ``kill -9``.
Checkpoint = Callable[[dict[str, Any]], Awaitable[None]]


class Capabilities(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an engine can do. ``schemes`` are URL schemes without ``://``."""

    schemes: tuple[str, ...] = ()
    fetches: bool = False
    delivers: bool = False
    resumes: bool = False
    selects_files: bool = False
    seeds: bool = False
    streams: bool = False


class PlannedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that a source holds; ``index`` is what a selection names."""

    index: int
    path: str
    size: int | None = None


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an engine found out about a source without fetching it.

    ``size`` and ``disk`` in bytes; ``disk`` is what fetching occupies at most. ``identity`` is
    the same for two sources that are the same thing (an info hash, a canonical URL).
    ``name`` is safe as a file name.
    """

    engine: str
    source: str
    name: str
    size: int | None = None
    disk: int | None = None
    files: list[PlannedFile] = []
    resumable: bool = False
    is_estimate: bool = False
    identity: str | None = None
    note: str | None = None
    detail: dict[str, Any] = {}


@dataclass(slots=True)
class FetchJob:
    """One fetch. ``directory`` exists, belongs to this job alone and holds what an earlier attempt
    left; the result must lie in it. ``limit`` (bytes a second) may be changed by ``set_limit``.
    """

    id: str
    source: str
    directory: Path
    options: TaskOptions
    token: dict[str, Any] | None
    checkpoint: Checkpoint
    limit: int | None = None


@dataclass(slots=True)
class Fetched:
    """What a fetch left in its directory: relative paths, sizes, hashes where they are known.

    ``name`` is the name of the whole: of the file, or of the folder of a source with several.
    """

    name: str
    files: list[FileEntry]
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class DeliverJob:
    """One delivery of ``files`` (with their hashes) from ``directory`` to ``destination``.

    ``keep`` leaves the source in place (for seeding). ``overwrite`` is ``rename`` (a free name is
    chosen), ``replace`` or ``refuse``. ``name`` is the folder of a delivery with several files,
    None for a single file.
    """

    id: str
    directory: Path
    files: list[FileEntry]
    destination: str
    name: str | None
    token: dict[str, Any] | None
    checkpoint: Checkpoint
    overwrite: str = "rename"
    keep: bool = False
    limit: int | None = None
    options: TaskOptions = field(default_factory=TaskOptions)


@dataclass(slots=True)
class Delivered:
    """Where the files are. ``files`` have paths relative to ``root``; ``path`` is the file, or the
    folder, as a user would write it (an absolute path or ``remote:path``).
    """

    root: str
    path: str
    files: list[FileEntry]
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class StepJob:
    """One step over ``files`` in ``directory``; its results go into ``output``, which is empty."""

    id: str
    directory: Path
    files: list[FileEntry]
    output: Path
    params: dict[str, Any]
    report: Callable[[Progress], None]


class Engine(Protocol):
    """Fetches from sources, delivers to destinations, or both."""

    @property
    def name(self) -> str:
        """Its name, as in ``options.engine``."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def accepts(self, source: str) -> int:
        """How well it suits ``source``: 0 not at all, higher is better. No input or output."""

    def delivers_to(self, destination: str) -> bool:
        """Whether ``destination`` is of its kind. No input or output."""

    async def plan(self, source: str, options: TaskOptions) -> Plan:
        """Find out about ``source``. Raises a TransferError."""

    async def fetch(self, job: FetchJob) -> Fetched:
        """Fetch, from ``job.token`` on. Raises a TransferError."""

    async def deliver(self, job: DeliverJob) -> Delivered:
        """Deliver under temporary names, then rename. Raises a TransferError."""

    async def verify(self, job: DeliverJob, delivered: Delivered) -> str:
        """Compare what lies at the destination with ``job.files``; the method of the Receipt.

        Raises Corrupt where they differ.
        """

    async def discard(self, job: DeliverJob, delivered: Delivered | None) -> None:
        """Remove what a delivery (whole or half, see ``job.token``) left at the destination."""

    def snapshot(self) -> Mapping[str, Progress]:
        """The progress of every job under way, by task id; one cheap call for all."""

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Limit the whole engine, or one job, in bytes a second; None lifts the limit."""

    async def cleanup(self, older_than: float) -> int:
        """Remove half uploads and other debris older than that (seconds); how many."""

    async def close(self) -> None:
        """Stop its children and threads. Jobs were cancelled before."""


@runtime_checkable
class Seeder(Protocol):
    """An engine that can share what it fetched."""

    async def seed(self, job: FetchJob) -> dict[str, Any]:
        """Share until the ratio or the time of the options is reached; what was reached."""


@runtime_checkable
class Streamer(Protocol):
    """An engine that can hand a source on as it arrives, without a file in between."""

    def stream(self, job: FetchJob) -> AsyncIterator[bytes]:
        """The bytes of a single-file source, in order."""


@runtime_checkable
class StreamSink(Protocol):
    """An engine that can deliver bytes as they arrive."""

    async def deliver_stream(
        self, job: DeliverJob, name: str, size: int | None, chunks: AsyncIterator[bytes]
    ) -> Delivered:
        """Deliver one file from ``chunks``; ``files`` of the result has its size and hash."""


@runtime_checkable
class Transferer(Protocol):
    """An engine whose sources and destinations can be copied without this machine's disk."""

    async def transfer(self, job: FetchJob, deliver: DeliverJob) -> Delivered:
        """Copy the source of ``job`` to the destination of ``deliver``."""


class Step(Protocol):
    """Turns fetched files into others."""

    @property
    def name(self) -> str:
        """Its name, as in a submission."""

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form; raises InvalidInput with what is allowed."""

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """The bytes that its output may occupy, given ``size`` bytes of input."""

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Do it; the files that lie in ``job.output`` now. Raises a TransferError."""


class TaskQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which tasks, in which order. ``cursor`` is what the page before gave.

    ``text`` is looked for in name and source, without case. ``sort`` is ``created``, ``updated``,
    ``size``, ``name`` or ``priority``. ``cursors`` asks for the cursor of each task as well.
    """

    states: tuple[TaskState, ...] = ()
    engine: str | None = None
    user: str | None = None
    text: str | None = None
    since: float | None = None
    until: float | None = None
    sort: str = "created"
    descending: bool = True
    limit: int = 50
    cursor: str | None = None
    cursors: bool = False


class TaskPage(msgspec.Struct, frozen=True):
    """A page of tasks and the cursor of the next, None on the last. ``cursors`` are those after
    each item, where they were asked for."""

    items: list[Task]
    cursor: str | None
    cursors: list[str] = []


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """An access token without its secret. ``scope`` is ``view``, ``operate`` or ``admin``."""

    id: str
    name: str
    scope: str
    user: str
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None


#: The task of an id as it is in memory, None where it is not there.
LiveTasks = Callable[[str], Task | None]


class TaskStore(Protocol):
    """Durable tasks. When ``add`` or ``save`` returns, the change survives ``kill -9``."""

    async def add(self, tasks: Sequence[Task]) -> None:
        """Store new tasks, all or none; Duplicate where an idempotency key exists already."""

    async def save(self, task: Task) -> None:
        """Store the present state of ``task`` (one call a task at a time; calls are batched)."""

    async def get(self, task_id: str) -> Task | None:
        """The task, or None."""

    async def get_many(self, task_ids: Sequence[str]) -> list[Task]:
        """Those of the tasks that there are."""

    async def page(self, query: TaskQuery, live: LiveTasks = ...) -> TaskPage:
        """A page of tasks; those that ``live`` gives are not read again."""

    async def count(self, user: str | None = None) -> dict[TaskState, int]:
        """How many tasks are in each state (every state is a key)."""

    async def unfinished(self) -> list[Task]:
        """Every task that is not final, oldest first."""

    async def by_key(self, user: str, key: str) -> list[Task]:
        """The tasks that a submission with that idempotency key made."""

    async def delete(self, task_ids: Sequence[str]) -> int:
        """Forget finished tasks (their receipts stay); how many there were."""

    async def receipts(self, source: str | None, limit: int) -> Sequence[Receipt]:
        """The newest receipts, of one source or of all."""

    async def usage(self, user: str, since: float) -> int:
        """The bytes that ``user`` had delivered since then (UNIX seconds)."""


class TokenStore(Protocol):
    """Durable access tokens, by the SHA-256 of their secret."""

    async def add_token(self, token: Token, digest: bytes) -> None:
        """Store one."""

    async def find_token(self, digest: bytes) -> Token | None:
        """The token whose secret has that digest, or None."""

    async def list_tokens(self) -> Sequence[Token]:
        """All of them, oldest first."""

    async def delete_token(self, token_id: str) -> bool:
        """Whether there was one to remove."""

    async def touch_token(self, token_id: str, at: float) -> None:
        """Remember when it was used last."""


class Clock(Protocol):
    """Time, for tests to swap."""

    def now(self) -> float:
        """UNIX time in seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Measurement(Protocol):
    """A context manager around one run of an operation."""

    def __enter__(self) -> None:
        """It begins."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """It ends; what it raised goes on."""


class Profiler(Protocol):
    """Learns how long operations take. May be called from any thread; never raises.

    ``name`` is one of few, parts separated by dots (``stage.fetch``, ``store.read``). ``detail``
    describes this run; it becomes text only where it is kept among the slowest.
    """

    @property
    def enabled(self) -> bool:
        """Whether anything is kept."""

    def measure(self, name: str, **detail: object) -> Measurement:
        """A context manager that times what is inside of it."""

    def record(self, name: str, seconds: float, *, failed: bool = False, **detail: object) -> None:
        """Add a run that was timed already."""

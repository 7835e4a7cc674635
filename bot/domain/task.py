"""A task: one source, its stages, its state and the moves that are legal.

Numbers only: bytes, seconds, UNIX timestamps (UTC, float). Words are made at the edge.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from bot.errors import IllegalMove, TransferError


class TaskState(StrEnum):
    """What a user sees of a task."""

    QUEUED = "queued"
    PROBING = "probing"
    AWAITING_SELECTION = "awaiting_selection"
    RUNNING = "running"
    PAUSED = "paused"
    PROCESSING = "processing"
    DELIVERING = "delivering"
    VERIFYING = "verifying"
    SEEDING = "seeding"
    RETRYING = "retrying"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = TaskState

#: Finished: nothing runs and nothing will, unless somebody asks for a retry.
FINAL = frozenset({_S.DONE, _S.FAILED, _S.CANCELLED})
#: Holding one of the ``MAX_ACTIVE`` places.
ACTIVE = frozenset({_S.PROBING, _S.RUNNING, _S.PROCESSING, _S.DELIVERING, _S.VERIFYING, _S.SEEDING})
#: Waiting for a place (``retrying`` waits for its time as well).
WAITING = frozenset({_S.QUEUED, _S.RETRYING})

_STAGES = frozenset({_S.RUNNING, _S.PROCESSING, _S.DELIVERING, _S.VERIFYING, _S.SEEDING})
_ENDS = frozenset({_S.FAILED, _S.CANCELLED, _S.PAUSED, _S.RETRYING, _S.QUEUED})

#: The table of legal moves. ``queued`` from an active state is what a restart does.
MOVES: dict[TaskState, frozenset[TaskState]] = {
    _S.QUEUED: _STAGES | {_S.PROBING, _S.PAUSED, _S.CANCELLED, _S.FAILED},
    _S.PROBING: _STAGES | _ENDS | {_S.AWAITING_SELECTION},
    _S.AWAITING_SELECTION: frozenset({_S.QUEUED, _S.PAUSED, _S.CANCELLED, _S.FAILED}),
    _S.RUNNING: _ENDS | {_S.PROCESSING, _S.DELIVERING, _S.VERIFYING, _S.AWAITING_SELECTION},
    _S.PROCESSING: _ENDS | {_S.PROCESSING, _S.DELIVERING},
    _S.DELIVERING: _ENDS | {_S.VERIFYING, _S.DONE},
    _S.VERIFYING: _ENDS | {_S.SEEDING, _S.DELIVERING, _S.DONE},
    _S.SEEDING: _ENDS | {_S.DONE},
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.RETRYING: _STAGES | {_S.PROBING, _S.QUEUED, _S.PAUSED, _S.CANCELLED, _S.FAILED},
    _S.DONE: frozenset(),
    _S.FAILED: frozenset({_S.QUEUED}),
    _S.CANCELLED: frozenset({_S.QUEUED}),
}


class StageKind(StrEnum):
    """The kinds of stage, in the order in which a task has them."""

    FETCH = "fetch"
    STEP = "step"
    DELIVER = "deliver"
    VERIFY = "verify"
    SEED = "seed"


#: The state of a task while a stage of that kind runs.
STATE_OF_STAGE: dict[StageKind, TaskState] = {
    StageKind.FETCH: _S.RUNNING,
    StageKind.STEP: _S.PROCESSING,
    StageKind.DELIVER: _S.DELIVERING,
    StageKind.VERIFY: _S.VERIFYING,
    StageKind.SEED: _S.SEEDING,
}


class StageState(StrEnum):
    """How far a stage is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a task. ``path`` is relative, with ``/``; ``size`` in bytes; hash in hex."""

    path: str
    size: int
    sha256: str | None = None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sample of a running stage: bytes, bytes a second, seconds.

    ``total`` is None while nobody knows it; ``is_estimate`` says that the engine guessed it.
    ``uploaded``, ``peers`` and ``seeds`` are of torrents.
    """

    done: int = 0
    total: int | None = None
    speed: float = 0.0
    is_estimate: bool = False
    connections: int = 0
    uploaded: int = 0
    peers: int = 0
    seeds: int = 0

    @property
    def eta(self) -> float | None:
        """Seconds left at the present speed; None when that can't be said."""
        if self.total is None or self.speed <= 0:
            return None
        return max(0, self.total - self.done) / self.speed


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a stage failed, as every door shows it."""

    code: str
    message: str
    stage: str
    at: float
    hint: str | None = None
    retryable: bool = False
    attempt: int = 1

    @classmethod
    def of(cls, error: TransferError, *, stage: str, at: float, attempt: int) -> Failure:
        """The record of ``error``, met in ``stage`` at time ``at`` in its ``attempt``-th try."""
        return cls(
            code=error.code,
            message=error.message,
            stage=stage,
            at=at,
            hint=error.hint,
            retryable=error.retryable,
            attempt=attempt,
        )


class Stage(msgspec.Struct, omit_defaults=True):
    """One stage and its journal.

    ``name`` is the engine or the step. ``token`` is what its engine or step needs to go on after a
    crash; ``files`` is what the stage left, once it is done; ``seconds`` is the time it ran.
    """

    kind: StageKind
    name: str
    params: dict[str, Any] = {}
    state: StageState = StageState.PENDING
    attempt: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    seconds: float = 0.0
    token: dict[str, Any] | None = None
    files: list[FileEntry] = []
    result: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """``fetch``, ``deliver``, ``verify``, ``seed``, or the name of the step."""
        return self.name if self.kind is StageKind.STEP else str(self.kind)


class StepSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that a submission asks for: its name and its parameters."""

    name: str
    params: dict[str, Any] = {}


class TaskOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a submission may say beyond source and destination.

    ``limit`` is in bytes a second; ``checksum`` is ``sha256:HEX`` (or md5, sha1, sha512) of the
    fetched file; ``select`` are indexes of files; ``stream`` None leaves the choice to the
    planner; ``seed_ratio`` and ``seed_seconds`` end the seeding, whichever comes first.
    """

    name: str | None = None
    headers: dict[str, str] = {}
    username: str | None = None
    password: str | None = None
    checksum: str | None = None
    limit: int | None = None
    segments: int | None = None
    select: list[int] | None = None
    ask_selection: bool = False
    quality: str | None = None
    playlist: bool = False
    engine: str | None = None
    engine_options: dict[str, Any] = {}
    stream: bool | None = None
    overwrite: str = "rename"
    seed_ratio: float | None = None
    seed_seconds: float | None = None


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a delivered task leaves for good.

    ``method`` says how the destination was verified: ``read-back`` (the bytes at the destination
    were hashed again), ``remote-hash`` (the remote computed a hash that matches one of ours),
    ``same-inode`` (the verified file itself was moved, on one filesystem) or ``size``.
    """

    task: str
    source: str
    destination: str
    files: list[FileEntry]
    size: int
    sha256: str | None
    path: str | None
    method: str
    steps: list[str]
    created_at: float
    finished_at: float
    fetch_seconds: float = 0.0
    total_seconds: float = 0.0


class Task(msgspec.Struct, omit_defaults=True):
    """One source on its way to one destination.

    ``destination`` is an absolute directory or ``remote:path``. ``workspace`` is where its bytes
    lie meanwhile. ``waiting_since`` is when it began to wait for room on the disk; ``probes``
    counts the tries to plan it that failed. ``version`` grows by one with each stored change.
    ``order`` is its place among the waiting tasks of its priority, where it was moved; else that is
    its ``id``.
    """

    id: str
    user: str
    source: str
    destination: str
    created_at: float
    state: TaskState = TaskState.QUEUED
    options: TaskOptions = TaskOptions()
    steps: list[StepSpec] = []
    stages: list[Stage] = []
    priority: int = 0
    start_at: float | None = None
    force: bool = False
    engine: str | None = None
    name: str | None = None
    size: int | None = None
    workspace: str | None = None
    waiting_since: float | None = None
    probes: int = 0
    updated_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    failure: Failure | None = None
    note: str | None = None
    receipt: Receipt | None = None
    key: str | None = None
    version: int = 0
    order: str | None = None

    def move(self, to: TaskState, *, at: float) -> None:
        """Go to the state ``to`` at time ``at``; IllegalMove where the table has no such move."""
        if to not in MOVES[self.state]:
            allowed = ", ".join(sorted(MOVES[self.state])) or "nothing: it is final"
            raise IllegalMove(
                f"task {self.id} can't go from {self.state} to {to}",
                hint=f"from {self.state} it can go to {allowed}",
                task=self.id,
                state=str(self.state),
            )
        self.state = to
        self.updated_at = at
        if to in FINAL:
            self.finished_at = at
        elif to is TaskState.QUEUED:
            self.finished_at = None

    @property
    def current(self) -> Stage | None:
        """The first stage that is not done; None when all are, or when there is no plan yet."""
        return next((s for s in self.stages if s.state is not StageState.DONE), None)

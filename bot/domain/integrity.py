"""Checks of what was delivered and of the data directory, and what they find."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from bot.domain.task import FileEntry


class Condition(StrEnum):
    """What is the matter with a file, or with a part of the data directory."""

    MISSING = "missing"
    SIZE_DIFFERS = "size_differs"
    HASH_DIFFERS = "hash_differs"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"
    NO_HASH = "no_hash"
    DATABASE = "database"
    MODE = "mode"
    STRAY = "stray"
    DANGLING = "dangling"
    JOURNAL = "journal"


#: Nothing is known to be wrong: there was nothing to compare with.
UNDECIDED = frozenset({Condition.UNKNOWN, Condition.NO_HASH})
#: What fetching the file again puts right.
REFETCHABLE = frozenset(
    {
        Condition.MISSING,
        Condition.SIZE_DIFFERS,
        Condition.HASH_DIFFERS,
        Condition.UNREADABLE,
    }
)


class Inspected(msgspec.Struct, frozen=True):
    """One delivered file after a look at it. ``condition`` is None where it is sound.

    ``path`` is as its receipt has it; ``size`` are the bytes that were compared. ``expected`` and
    ``found`` are bytes for a size, ``sha256:HEX`` for a hash, a reason for what can't be read.
    """

    path: str
    size: int = 0
    condition: Condition | None = None
    expected: str | None = None
    found: str | None = None


@dataclass(slots=True)
class Inspection:
    """A look at what a receipt says was delivered: ``files``, relative to ``root``.

    ``rate`` limits the reading, in bytes a second. ``hashes`` are what the destination said of
    each file when it was delivered, by kind; ``read_back`` reads the file where neither that nor
    a hash that the destination has can be compared.
    """

    root: str
    files: Sequence[FileEntry]
    rate: int | None = None
    read_back: bool = True
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@runtime_checkable
class Inspector(Protocol):
    """An engine that can look again, long after, at what it delivered."""

    def inspect(self, wanted: Inspection) -> AsyncIterator[Inspected]:
        """Compare each file, in order. Changes nothing; raises nothing that one file is to blame
        for."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a check found; ``number`` counts from 1 in its check. ``path`` is whole."""

    number: int
    condition: Condition
    path: str
    task: str | None = None
    expected: str | None = None
    found: str | None = None


class CheckScope(StrEnum):
    """What a check looks at."""

    PATH = "path"
    TASK = "task"
    ALL = "all"
    DATA = "data"
    SCHEDULED = "scheduled"


class CheckState(StrEnum):
    """How far a check is. ``interrupted`` and ``partial`` can be gone on with."""

    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be checked. ``target`` is a path or the id of a task.

    ``owner`` limits it to the receipts of one user; ``limit`` to so many receipts, after which the
    check is ``partial``. ``read_back`` reads what lies on a remote where that has no hash to
    compare. ``cursor`` is where an earlier check stopped.
    """

    scope: CheckScope
    target: str | None = None
    owner: str | None = None
    limit: int | None = None
    read_back: bool = False
    cursor: str | None = None


class Check(msgspec.Struct, omit_defaults=True):
    """One check and its outcome: ``user`` asked for it. Times are UNIX seconds.

    ``wrong`` counts what is known to be wrong, ``undecided`` what could not be compared;
    ``findings`` are those that are stored.
    """

    id: str
    user: str
    order: Order
    started_at: float
    state: CheckState = CheckState.RUNNING
    finished_at: float | None = None
    seconds: float = 0.0
    receipts: int = 0
    files: int = 0
    bytes: int = 0
    wrong: int = 0
    undecided: int = 0
    findings: int = 0
    cursor: str | None = None
    error: str | None = None


class ResumedTask(msgspec.Struct, frozen=True):
    """A task that was under way when the service ended; ``kept`` bytes of it are on the disk."""

    task: str
    user: str
    stage: str
    kept: int


class Recovery(msgspec.Struct, omit_defaults=True):
    """What a start found and settled.

    ``workspaces`` are the ids of tasks whose directories were removed, ``leftovers`` what each
    engine removed (half uploads, old resume data), ``checks`` those that were cut off, ``failed``
    what could not be cleaned and why.
    """

    resumed: list[ResumedTask] = []
    workspaces: list[str] = []
    leftovers: dict[str, int] = {}
    checks: list[str] = []
    failed: list[str] = []


class Start(msgspec.Struct, omit_defaults=True):
    """One start of the service. ``clean`` says whether every earlier run had ended as it should.

    ``swept`` says whether the report is complete: the first sweep comes after the start.
    ``killed`` says that this run itself did not end as it should; ``ended_at`` is then the time at
    which that was found out.
    """

    id: str
    started_at: float
    version: str
    clean: bool = True
    swept: bool = False
    killed: bool = False
    ended_at: float | None = None
    recovery: Recovery = msgspec.field(default_factory=Recovery)

"""Backups of the state."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from bot.graphql.declaring import BigInt, choice, described, instant, moment, said
from bot.operations.backup_catalog import Record
from bot.operations.backup_jobs import Failed, Job
from bot.operations.backup_restore import Outcome
from bot.services.backups import BackupStats as Stats


class BackupState(Enum):
    """Whether a backup has proved itself."""

    UNVERIFIED = "unverified"
    GOOD = "good"
    BAD = "bad"


choice(BackupState)


@described
class BackupCopy:
    """A copy of a backup at a remote."""

    destination: str = said("The remote.")
    done: bool = said("Whether it is whole.")
    at: datetime | None = said("When it was made.")
    error: str | None = said("Why it is not.")


@described
class Verification:
    """The last verification of a backup."""

    at: datetime = said("When.")
    ok: bool = said("Whether everything passed.")
    passed: list[str] = said("What passed.")
    unchecked: list[str] = said("What could not be checked, and why.")
    error: str | None = said("What did not pass.")
    seconds: float = said("How long it took.")


@described
class Backup:
    """One backup."""

    name: str = said("Its name, and that of its file.")
    state: BackupState = said("Whether it has proved itself.")
    created_at: datetime = said("When it was made.")
    size: BigInt | None = said("Bytes of the archive.")
    content: BigInt | None = said("Bytes of what is in it.")
    members: int | None = said("Files in it.")
    sha256: str | None = said("The hash of the archive, in hex.")
    encrypted: bool = said("Whether it is encrypted.")
    local: bool = said("Whether it lies in BACKUP_DIR.")
    copies: list[BackupCopy] = said("Its copies at remotes.")
    program: str | None = said("The version of the program that made it.")
    database: str | None = said("The kind of its database.")
    seconds: float | None = said("How long making it took.")
    verification: Verification | None = said("Its last verification.")

    @classmethod
    def of(cls, found: Record) -> Backup:
        """As the schema has it."""
        good, last = found.good, found.verification
        return cls(
            name=found.name,
            state=BackupState.UNVERIFIED
            if good is None
            else BackupState.GOOD
            if good
            else BackupState.BAD,
            created_at=instant(found.created_at),
            size=found.size,
            content=found.content,
            members=found.members,
            sha256=found.sha256,
            encrypted=found.encrypted,
            local=found.local,
            copies=[
                BackupCopy(destination=place, done=copy.done, at=moment(copy.at), error=copy.error)
                for place, copy in sorted(found.copies.items())
            ],
            program=found.program,
            database=found.database,
            seconds=found.seconds,
            verification=None
            if last is None
            else Verification(
                at=instant(last.at),
                ok=last.ok,
                passed=last.passed,
                unchecked=last.unchecked,
                error=last.error,
                seconds=last.seconds,
            ),
        )


@described
class BackupJob:
    """Work on a backup that is under way."""

    kind: str = said("`create`, `verify`, `restore` or `delete`.")
    name: str = said("The backup.")
    step: str = said("What it does now.")
    done: BigInt = said("Bytes (or pages) of the present step so far.")
    total: BigInt = said("Of how many.")
    started_at: datetime = said("When it began.")

    @classmethod
    def of(cls, found: Job) -> BackupJob:
        """As the schema has it."""
        return cls(
            kind=found.kind,
            name=found.name,
            step=found.step,
            done=found.done,
            total=found.total,
            started_at=instant(found.started_at),
        )


@described
class BackupFailure:
    """How the last work on a backup that failed ended."""

    kind: str = said("`create`, `verify`, `restore` or `delete`.")
    name: str = said("The backup.")
    at: datetime = said("When.")
    code: str = said("A stable word for programs.")
    message: str = said("What happened.")

    @classmethod
    def of(cls, found: Failed) -> BackupFailure:
        """As the schema has it."""
        return cls(
            kind=found.kind,
            name=found.name,
            at=instant(found.at),
            code=found.code,
            message=found.message,
        )


@described
class BackupStats:
    """The backups as a whole."""

    directory: str = said("Where they lie.")
    destinations: list[str] = said("The remotes that get copies.")
    interval: float = said("Seconds between two; 0 where none is made by itself.")
    encrypted: bool = said("Whether new ones are encrypted.")
    count: int = said("How many there are.")
    good: int = said("How many have proved themselves.")
    bad: int = said("How many did not pass.")
    size: BigInt = said("Bytes of those that lie here.")
    age: float | None = said("Seconds since the newest.")
    newest: Backup | None = said("The newest.")
    running: BackupJob | None = said("What is under way.")
    last_failure: BackupFailure | None = said("What failed last.")

    @classmethod
    def of(cls, found: Stats) -> BackupStats:
        """As the schema has it."""
        records, good = found.records, [record.good for record in found.records]
        failure = found.last_failure
        return cls(
            directory=str(found.directory),
            destinations=list(found.destinations),
            interval=found.interval,
            encrypted=found.encrypted,
            count=len(records),
            good=good.count(True),
            bad=good.count(False),
            size=sum(record.size or 0 for record in records if record.local),
            age=found.age,
            newest=Backup.of(records[0]) if records else None,
            running=None if found.running is None else BackupJob.of(found.running),
            last_failure=None if failure is None else BackupFailure.of(failure),
        )


@described
class Restore:
    """How the last restore ended."""

    id: str = said("Its id.")
    name: str = said("The backup.")
    at: datetime = said("When.")
    state: str = said("`restored`, `rolled_back` or `failed`.")
    message: str = said("What happened.")
    kept: str | None = said("Where the state before it lies.")

    @classmethod
    def of(cls, found: Outcome) -> Restore:
        """As the schema has it."""
        return cls(
            id=found.id,
            name=found.name,
            at=instant(found.at),
            state=found.state,
            message=found.message,
            kept=found.kept,
        )

"""Tasks and what belongs to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from bot.domain import task as domain
from bot.graphql.declaring import BigInt, Json, described, instant, moment, resolver, said
from bot.graphql.enums import StageKind, StageState, TaskState
from bot.services import TaskView
from bot.web import render


@described
class Progress:
    """A sample of a running stage."""

    done: BigInt = said("Bytes so far.")
    total: BigInt | None = said("Bytes in all, where they are known.")
    speed: float = said("Bytes a second.")
    is_estimate: bool = said("Whether the total is a guess of the engine.")
    connections: int = said("Connections in use.")
    uploaded: BigInt = said("Bytes given to others, of a torrent.")
    peers: int = said("Peers, of a torrent.")
    seeds: int = said("Peers that have everything, of a torrent.")
    eta: float | None = said("Seconds left at the present speed.")

    @classmethod
    def of(cls, found: domain.Progress) -> Progress:
        """As the schema has it."""
        return cls(
            done=found.done,
            total=found.total,
            speed=found.speed,
            is_estimate=found.is_estimate,
            connections=found.connections,
            uploaded=found.uploaded,
            peers=found.peers,
            seeds=found.seeds,
            eta=found.eta,
        )


@described
class Failure:
    """Why a stage of a task failed, and what to do."""

    code: str = said("A stable word for programs.")
    message: str = said("What happened.")
    stage: str = said("The stage that failed.")
    at: datetime = said("When.")
    hint: str | None = said("What is allowed, or what to do.")
    retryable: bool = said("Whether trying again may help.")
    attempt: int = said("Which try it was, from 1.")

    @classmethod
    def of(cls, found: domain.Failure) -> Failure:
        """As the schema has it."""
        return cls(
            code=found.code,
            message=found.message,
            stage=found.stage,
            at=instant(found.at),
            hint=found.hint,
            retryable=found.retryable,
            attempt=found.attempt,
        )


@described
class Stage:
    """One stage on the way of a task."""

    kind: StageKind = said("What kind of work it is.")
    name: str = said("The engine, or the step, that does it.")
    state: StageState = said("How far it is.")
    attempt: int = said("Tries that failed so far.")
    seconds: float = said("How long it ran.")
    started_at: datetime | None = said("When it began first.")
    finished_at: datetime | None = said("When it was done.")
    files: int = said("How many files it left.")

    @classmethod
    def of(cls, found: domain.Stage) -> Stage:
        """As the schema has it."""
        return cls(
            kind=found.kind,
            name=found.name,
            state=found.state,
            attempt=found.attempt,
            seconds=found.seconds,
            started_at=moment(found.started_at),
            finished_at=moment(found.finished_at),
            files=len(found.files),
        )


@described
class Step:
    """What is done with the files before they are delivered."""

    name: str = said("The name of the step.")
    params: Json = said("Its parameters; passwords are stars.")


@described
class DeliveredFile:
    """A file that was delivered."""

    path: str = said("Relative to the place of the delivery.")
    size: BigInt = said("Bytes.")
    sha256: str | None = said("The hash of its content, in hex.")


@described
class Receipt:
    """What a delivery leaves for good."""

    task_id: strawberry.ID = said("The task that delivered it; it may be forgotten since.")
    source: str = said("The link; passwords are stars.")
    destination: str = said("Where it was to go.")
    path: str | None = said("Where it lies.")
    size: BigInt = said("Bytes in all.")
    sha256: str | None = said("The hash of a single file, in hex.")
    method: str = said("How the destination was verified.")
    stages: list[str] = said("The stages that it went through.")
    files: list[DeliveredFile] = said("Every file.")
    created_at: datetime = said("When the task was made.")
    finished_at: datetime = said("When it was delivered.")
    fetch_seconds: float = said("How long the fetch took.")
    total_seconds: float = said("How long all stages took.")

    @classmethod
    def of(cls, found: domain.Receipt) -> Receipt:
        """As the schema has it."""
        return cls(
            task_id=strawberry.ID(found.task),
            source=render.source(found.source),
            destination=found.destination,
            path=found.path,
            size=found.size,
            sha256=found.sha256,
            method=found.method,
            stages=found.steps,
            files=[DeliveredFile(path=f.path, size=f.size, sha256=f.sha256) for f in found.files],
            created_at=instant(found.created_at),
            finished_at=instant(found.finished_at),
            fetch_seconds=found.fetch_seconds,
            total_seconds=found.total_seconds,
        )


@described
class Task:
    """One source on its way to one destination."""

    view: strawberry.Private[TaskView]
    id: strawberry.ID = said("Stable and unique.")
    state: TaskState = said("What it does now.")
    source: str = said("The link; passwords are stars.")
    destination: str = said("A directory, or remote:path.")
    user: str = said("Whose it is.")
    name: str | None = said("The name of the file or folder, once it is known.")
    size: BigInt | None = said("Bytes, once they are known.")
    engine: str | None = said("What fetches it, once that is known.")
    priority: int = said("The higher ones go first.")
    force: bool = said("Whether it starts beyond the limit of running tasks.")
    note: str | None = said("Something worth knowing.")
    version: int = said("Grows by one with each stored change.")
    created_at: datetime = said("When it was submitted.")
    updated_at: datetime = said("When it changed last.")
    start_at: datetime | None = said("It does not start before then.")
    started_at: datetime | None = said("When it started first.")
    finished_at: datetime | None = said("When it ended.")

    @classmethod
    def of(cls, view: TaskView) -> Task:
        """As the schema has it."""
        of = view.task
        return cls(
            view=view,
            id=strawberry.ID(of.id),
            state=of.state,
            source=render.source(of.source),
            destination=of.destination,
            user=of.user,
            name=of.name,
            size=of.size,
            engine=of.engine,
            priority=of.priority,
            force=of.force,
            note=of.note,
            version=of.version,
            created_at=instant(of.created_at),
            updated_at=instant(of.updated_at),
            start_at=moment(of.start_at),
            started_at=moment(of.started_at),
            finished_at=moment(of.finished_at),
        )

    @resolver
    def progress(self) -> Progress | None:
        """How far the running stage is; null where none runs."""
        found = self.view.progress
        return None if found is None else Progress.of(found)

    @resolver
    def error(self) -> Failure | None:
        """Why it failed last."""
        found = self.view.task.failure
        return None if found is None else Failure.of(found)

    @resolver
    def stages(self) -> list[Stage]:
        """Its stages in order; none before it was planned."""
        return [Stage.of(each) for each in self.view.task.stages]

    @resolver
    def steps(self) -> list[Step]:
        """The steps that were asked for."""
        return [
            Step(name=each.name, params=render.params(each.params)) for each in self.view.task.steps
        ]

    @resolver
    def receipt(self) -> Receipt | None:
        """What it delivered, once it is done."""
        found = self.view.task.receipt
        return None if found is None else Receipt.of(found)

    @resolver
    def path(self) -> str | None:
        """Where what it delivered lies."""
        found = self.view.task.receipt
        return None if found is None else found.path

    @resolver
    def sha256(self) -> str | None:
        """The hash of the single file that it delivered, in hex."""
        found = self.view.task.receipt
        return None if found is None else found.sha256


@described
class TaskEdge:
    """A task at its place in a list."""

    cursor: str = said("What `after` takes to go on behind it.")
    node: Task = said("The task.")


@described
class PageInfo:
    """Where a page is in its list (Relay)."""

    has_next_page: bool = said("Whether more follow.")
    has_previous_page: bool = said("Whether it began behind a cursor.")
    start_cursor: str | None = said("The cursor of the first.")
    end_cursor: str | None = said("The cursor of the last.")


@described
class TaskConnection:
    """A page of tasks (Relay)."""

    edges: list[TaskEdge] = said("The tasks with their cursors.")
    nodes: list[Task] = said("The tasks.")
    page_info: PageInfo = said("What is around the page.")


@described
class TaskCount:
    """How many tasks are in a state."""

    state: TaskState = said("The state.")
    count: int = said("How many.")


@described
class PlannedFile:
    """A file that a source holds."""

    index: int = said("What a selection names.")
    path: str = said("Its relative path.")
    size: BigInt | None = said("Bytes, where they are known.")


@described
class DiskNeed:
    """What a plan takes of the disk."""

    needed: BigInt | None = said("Bytes at most; null where nobody knows.")
    available: BigInt = said("Bytes that are free for it.")
    fits: bool = said("Whether it fits, as far as it is known.")


@described
class Plan:
    """What a submission would do."""

    engine: str = said("What would fetch it.")
    source: str = said("The link; passwords are stars.")
    destination: str = said("Where it would go.")
    name: str = said("The name that it would have.")
    size: BigInt | None = said("Bytes, where they are known.")
    is_estimate: bool = said("Whether the size is a guess.")
    resumable: bool = said("Whether it can go on after a break.")
    files: list[PlannedFile] = said("What the source holds, of several files.")
    way: str = said("`disk`, `stream` or `remote-copy`.")
    stages: list[str] = said("The stages that it would go through.")
    disk: DiskNeed = said("What it takes of the disk.")
    note: str | None = said("Something worth knowing.")

    @classmethod
    def of(cls, found: dict[str, Any]) -> Plan:
        """As the schema has it."""
        rest = {name: found[name] for name in found if name not in {"files", "disk", "source"}}
        return cls(
            **rest,
            source=render.source(found["source"]),
            files=[PlannedFile(**each) for each in found["files"]],
            disk=DiskNeed(**found["disk"]),
        )

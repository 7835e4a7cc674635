"""What goes in and out of the REST interface, for checking what comes in and for OpenAPI."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bot.domain.task import StageKind, StageState, StepSpec, TaskOptions, TaskState
from bot.services import MAX_SUBMISSIONS, Submission

Scope = Literal["view", "operate", "admin"]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StepIn(_In):
    """A step between fetching and delivering."""

    name: str = Field(description="Name of the step, such as extract or zip.", examples=["extract"])
    params: dict[str, Any] = Field({}, description="Its parameters.", examples=[{"password": "x"}])


class OptionsIn(_In):
    """How the source is to be fetched and delivered."""

    name: Annotated[str, Field(max_length=255)] | None = Field(None, description="Another name.")
    headers: dict[str, str] = Field({}, description="Request headers for HTTP.", max_length=64)
    username: str | None = Field(None, description="User name at the source.")
    password: str | None = Field(None, description="Password at the source; never shown again.")
    checksum: str | None = Field(
        None,
        pattern=r"^(md5|sha1|sha256|sha512):[0-9A-Fa-f]{32,128}$",
        description="What the fetched file must have, such as sha256:HEX.",
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="Bytes a second.")
    segments: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="Connections for one file; left out, as many as pay."
    )
    select: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, description="Indexes of the wanted files of a torrent or playlist."
    )
    ask_selection: bool = Field(False, description="Stop after planning, until files are chosen.")
    quality: str | None = Field(
        None,
        max_length=200,
        description="best, 1080p, audio, or a format expression of yt-dlp.",
    )
    playlist: bool = Field(False, description="Take the whole playlist.")
    engine: str | None = Field(None, description="This engine and no other.", examples=["ytdlp"])
    engine_options: dict[str, Any] = Field({}, description="Options of the engine, allow-listed.")
    stream: bool | None = Field(
        None,
        description="Pass the disk by (to a remote); left out, the planner chooses.",
    )
    overwrite: Literal["rename", "replace", "refuse"] = Field(
        "rename", description="What happens when the name is taken at the destination."
    )
    seed_ratio: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Seed to this ratio."
    )
    seed_seconds: Annotated[float, Field(ge=0)] | None = Field(None, description="Seed so long.")


class SubmissionIn(_In):
    """A link, where it is to go, and how."""

    source: str = Field(
        description="A link, a magnet, remote:path, or torrent:base64,DATA.",
        min_length=1,
        max_length=4_000_000,
        examples=["https://example.org/file.iso"],
    )
    to: str | None = Field(
        None,
        max_length=4096,
        description="An absolute directory under LOCAL_ROOTS, or remote:path. "
        "Left out, DOWNLOAD_DIR.",
    )
    options: OptionsIn = OptionsIn()
    steps: list[StepIn] = Field([], max_length=16)
    priority: int = Field(0, ge=-100, le=100, description="Higher goes first.")
    start_at: datetime | None = Field(None, description="Not before this time.")
    force: bool = Field(False, description="Start at once, past the limits (admins).")
    again: bool = Field(False, description="Also when an unfinished task does the same.")

    def submission(self) -> Submission:
        """The same for the services."""
        return Submission(
            source=self.source,
            to=self.to,
            options=msgspec.convert(self.options.model_dump(), TaskOptions),
            steps=[StepSpec(step.name, step.params) for step in self.steps],
            priority=self.priority,
            start_at=None if self.start_at is None else self.start_at.timestamp(),
            force=self.force,
            again=self.again,
        )


class BatchIn(_In):
    """Many submissions in one transaction."""

    tasks: list[SubmissionIn] = Field(min_length=1, max_length=MAX_SUBMISSIONS)


class SelectIn(_In):
    """The chosen files."""

    files: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, description="Their indexes.")


class ChangeIn(_In):
    """What can be changed of an unfinished task."""

    priority: int | None = Field(None, ge=-100, le=100)
    force: bool | None = Field(None, description="Start at once, past the limits (admins).")


class ProgressOut(BaseModel):
    """A sample of the running stage."""

    done: int = Field(description="Bytes.")
    total: int | None = Field(description="Bytes; null while unknown.")
    speed: int = Field(description="Bytes a second.")
    eta: float | None = Field(description="Seconds left; null while unknown.")
    is_estimate: bool = Field(description="Whether the total is a guess.")
    connections: int
    uploaded: int = Field(description="Bytes given to others (torrents).")
    peers: int
    seeds: int


class ErrorOut(BaseModel):
    """Why a stage failed."""

    code: str = Field(examples=["source_not_found"])
    message: str
    stage: str = Field(examples=["fetch"])
    hint: str | None
    retryable: bool
    attempt: int
    at: datetime


class StageOut(BaseModel):
    """A stage of a task."""

    kind: StageKind
    name: str = Field(description="Its engine or step.")
    state: StageState
    attempt: int = Field(description="Tries that failed.")
    seconds: float
    started_at: datetime | None
    finished_at: datetime | None
    files: int


class FileOut(BaseModel):
    """A delivered file."""

    path: str
    size: int
    sha256: str | None


class ReceiptOut(BaseModel):
    """What a delivery left for good."""

    task: str
    source: str
    destination: str
    files: list[FileOut]
    size: int
    sha256: str | None
    path: str | None
    method: str = Field(description="How the destination was verified.")
    steps: list[str]
    created_at: datetime
    finished_at: datetime
    fetch_seconds: float = 0.0
    total_seconds: float = 0.0


class TaskOut(BaseModel):
    """A task."""

    id: str
    state: TaskState
    source: str
    to: str
    user: str
    name: str | None
    size: int | None
    engine: str | None
    priority: int
    order: str = Field(description="Waiting tasks of one priority start in this order.")
    force: bool
    steps: list[StepIn]
    stages: list[StageOut]
    progress: ProgressOut | None
    error: ErrorOut | None
    note: str | None
    path: str | None
    sha256: str | None
    receipt: ReceiptOut | None
    created_at: datetime
    updated_at: datetime
    start_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    version: int


class ReceiptListOut(BaseModel):
    """The newest receipts."""

    status: Literal["ok"]
    items: list[ReceiptOut]
    cursor: None


class TaskPageOut(BaseModel):
    """A page of tasks."""

    status: Literal["ok"]
    items: list[TaskOut]
    cursor: str | None = Field(description="Give it back for the next page; null on the last.")


class ProblemOut(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(examples=["urn:mltb:error:not_found"])
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    details: dict[str, Any] | None = None
    request_id: str | None = Field(None, description="What the log has it under.")


class SubmittedOut(BaseModel):
    """The answer to one submission of many."""

    index: int
    task: TaskOut | None
    error: ProblemOut | None


class BatchOut(BaseModel):
    """One answer for each submission, in order."""

    status: Literal["ok"]
    items: list[SubmittedOut]
    accepted: int
    refused: int


class PlannedFileOut(BaseModel):
    """A file that the source holds."""

    index: int
    path: str
    size: int | None


class DiskOut(BaseModel):
    """Room for the work, in bytes."""

    needed: int | None
    available: int
    fits: bool


class PlanOut(BaseModel):
    """What a submission would do."""

    engine: str
    source: str
    destination: str
    name: str
    size: int | None
    is_estimate: bool
    resumable: bool
    files: list[PlannedFileOut]
    way: Literal["disk", "stream", "remote-copy"]
    stages: list[str]
    disk: DiskOut
    note: str | None


class HealthOut(BaseModel):
    """Whether the service is alive, or ready."""

    status: str


class TokenIn(_In):
    """A token to make."""

    name: str = Field("token", min_length=1, max_length=100)
    scope: Scope = "operate"
    user: str = Field("admin", min_length=1, max_length=100)
    lifetime: Annotated[float, Field(gt=0, le=3_200_000_000)] | None = Field(
        None, description="Seconds, up to a century; left out, it does not end."
    )


class TokenOut(BaseModel):
    """A token, without its secret."""

    id: str
    name: str
    scope: Scope
    user: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class TokenListOut(BaseModel):
    """Every token."""

    status: Literal["ok"]
    items: list[TokenOut]
    cursor: None


class NewTokenOut(TokenOut):
    """A new token; its secret is shown this once."""

    secret: str

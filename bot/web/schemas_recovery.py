"""What goes in and out of the routes of integrity and recovery."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.integrity import CheckScope, CheckState, Condition
from bot.web.schemas import TaskOut

Ok = Literal["ok"]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VerifyIn(_In):
    """One thing to check: a path, a task, everything, the data directory, or the rest of an earlier
    check."""

    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None,
        description="A delivered file, or a directory: all receipts below it. An absolute path "
        "under LOCAL_ROOTS, or remote:path.",
        examples=["/srv/files/Film.mkv"],
    )
    task: Annotated[str, Field(pattern="^[0-9a-z]{1,32}$")] | None = Field(
        None, description="What this task delivered."
    )
    all: bool = Field(False, description="Every receipt, the newest first.")
    data: bool = Field(False, description="The data directory (admins).")
    resume: Annotated[str, Field(pattern="^[0-9a-z]{1,32}$")] | None = Field(
        None, description="A check that was cut off, cancelled or limited: go on with it."
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Receipts at most; the check is partial then, and can be gone on with."
    )
    read_back: bool | None = Field(
        None,
        description="Whether files are read back from a remote that has no hash to compare. Left "
        "out: where a path or a task is named.",
    )
    wait: Annotated[float, Field(ge=0, le=60)] = Field(
        0, description="Seconds to wait for the end."
    )


class RefetchIn(_In):
    """What is to be fetched again."""

    check: str = Field(pattern="^[0-9a-z]{1,32}$", description="The id of a check.")
    finding: int = Field(ge=1, description="The number of its finding.")


class FindingOut(BaseModel):
    """What a check found."""

    number: int
    condition: Condition
    path: str
    task: str | None
    expected: str | None = Field(description="Bytes, a hash such as sha256:HEX, a mode, or null.")
    found: str | None = Field(description="The same of what is there; or a reason.")


class CheckOut(BaseModel):
    """A check."""

    id: str
    state: CheckState
    scope: CheckScope
    target: str | None
    user: str = Field(description="Who asked for it.")
    started_at: datetime
    finished_at: datetime | None
    seconds: float
    receipts: int
    files: int
    bytes: int = Field(description="Bytes that were compared.")
    wrong: int = Field(description="What is known to be wrong.")
    undecided: int = Field(description="What could not be compared: no receipt, no hash.")
    findings: int = Field(description="Findings that are stored, of both kinds.")
    resumable: bool
    error: str | None


class CheckAnswer(CheckOut):
    """A check and the first of its findings."""

    status: Ok
    first_findings: list[FindingOut] = Field(description="The first hundred.")


class FindingsAnswer(BaseModel):
    """A page of findings."""

    status: Ok
    items: list[FindingOut]
    cursor: str | None


class ResumedOut(BaseModel):
    """A task that was under way when the service ended."""

    task: str
    user: str
    stage: str
    kept: int = Field(description="Bytes of it that were on the disk.")


class RecoveredOut(BaseModel):
    """What a start found and settled."""

    resumed: list[ResumedOut]
    workspaces: list[str] = Field(description="Tasks whose directories were removed.")
    leftovers: dict[str, int] = Field(
        description="Half uploads and other leftovers that were removed, by engine."
    )
    checks: list[str] = Field(description="Checks that were cut off.")
    failed: list[str] = Field(description="What could not be cleaned, and why.")


class StartOut(BaseModel):
    """A start of the service."""

    id: str
    started_at: datetime
    ended_at: datetime | None = Field(
        description="Of a run that was killed: when that was found out."
    )
    version: str
    clean: bool = Field(description="Whether the run before had ended as it should.")
    killed: bool = Field(description="Whether this run did not end as it should.")
    swept: bool = Field(description="Whether the first sweep is over and the report complete.")
    recovered: RecoveredOut


class RateOut(BaseModel):
    """How many ended well."""

    good: int
    total: int
    ratio: float | None = Field(description="From 0 to 1; null where there are none.")


class RatesOut(BaseModel):
    """Of tasks that ended by themselves: delivered, of delivered and failed."""

    day: RateOut
    week: RateOut
    all: RateOut


class StatusAnswer(BaseModel):
    """How the service started and fares."""

    status: Ok
    start: StartOut
    tasks: RatesOut
    checks: RateOut
    last_check: CheckOut | None
    running: CheckOut | None
    data: CheckOut | None = Field(description="The last check of the data directory.")


class HistoryAnswer(BaseModel):
    """A page of checks, or of starts."""

    status: Ok
    items: list[CheckOut] | list[StartOut]
    cursor: str | None


class RefetchAnswer(BaseModel):
    """The task that fetches it again."""

    status: Ok
    task: TaskOut

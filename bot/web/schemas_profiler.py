"""What goes in and out of ``/api/v3/profiler``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.operations.sampling import MAX_SECONDS, Format


class OperationOut(BaseModel):
    """Figures of one operation; times in seconds, quantiles within 1 %."""

    operation: str
    count: int
    errors: int
    slow: int = Field(description="Runs that took PROFILER_SLOW_THRESHOLD or longer.")
    total: float
    mean: float
    median: float
    p95: float
    p99: float
    min: float
    max: float


class ProfilerStatsOut(BaseModel):
    """The figures of all operations, those with the greatest total first."""

    status: Literal["ok"]
    enabled: bool
    since: datetime | None = Field(description="From when on runs are counted.")
    overflowed: int = Field(description="Runs in `other`, because there were too many names.")
    items: list[OperationOut]
    areas: list[OperationOut] = Field(description="By the first part of their names together.")
    cursor: None


class SlowRunOut(BaseModel):
    """One slow run."""

    operation: str
    seconds: float
    at: datetime
    failed: bool
    detail: dict[str, str]


class SlowRunsOut(BaseModel):
    """The slowest runs, the slowest first."""

    status: Literal["ok"]
    items: list[SlowRunOut]
    cursor: None


class ResetOut(BaseModel):
    """The figures are forgotten."""

    status: Literal["ok"]


class ProfileIn(BaseModel):
    """What profile to take."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(5.0, gt=0, le=MAX_SECONDS, description="How long to look.")
    format: Format = Field("text", description="speedscope is JSON for that program.")


class ProfileOut(BaseModel):
    """A sampling profile of the thread of the event loop."""

    status: Literal["ok"]
    format: Format
    seconds: float
    samples: int
    content: str = Field(description="Text, an HTML page, or the JSON of speedscope, as text.")

"""What is answered about the service as a whole."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class StatusOut(BaseModel):
    """How the service is. ``values`` are the readings at this moment, by name."""

    status: Literal["ok"]
    version: str
    open: bool = Field(description="Whether it takes work.")
    started_at: datetime
    uptime: float = Field(description="Seconds.")
    database: Literal["sqlite", "postgresql"]
    cache: Literal["memory", "redis"]
    max_active: int
    max_active_per_user: int | None
    values: dict[str, float]


class SettingOut(BaseModel):
    """A setting in force."""

    name: str
    value: str
    origin: str
    help: str


class SettingsOut(BaseModel):
    """Every setting."""

    status: Literal["ok"]
    items: list[SettingOut]
    cursor: None


class QueryCacheOut(BaseModel):
    """What the cache of answers did since the start."""

    status: Literal["ok"]
    enabled: bool
    backend: Literal["memory", "redis"]
    hits: int
    misses: int
    hit_ratio: float | None
    evictions: int
    entries: int | None
    bytes: int | None
    max_bytes: int


class HotQueryOut(BaseModel):
    """A query that is asked often; seconds."""

    fingerprint: str
    operation: str | None
    document: str
    count: int
    hits: int
    mean: float
    max: float
    last_at: datetime


class HotQueriesOut(BaseModel):
    """The hottest ones."""

    status: Literal["ok"]
    items: list[HotQueryOut]
    cursor: None


class InvalidateIn(BaseModel):
    """What is to be forgotten."""

    model_config = ConfigDict(extra="forbid")

    tags: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)] | None = (
        Field(None, description="About these alone; left out: everything.", examples=[["tasks"]])
    )


class InvalidatedOut(BaseModel):
    """What is forgotten."""

    status: Literal["ok"]
    tags: list[str]

"""What comes out of ``/api/v3/metrics/history``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

_Column = list[float | None]


class SeriesOut(BaseModel):
    """A series: one value for each of `times`, null where nothing was measured."""

    name: str
    unit: str | None = Field(description="None where this version has no such reading any more.")
    help: str | None
    mean: _Column
    min: _Column
    max: _Column
    last: _Column


class HistoryOut(BaseModel):
    """Series over the same stretches of time, each `step` seconds long."""

    status: Literal["ok"]
    step: int = Field(description="Seconds from one of `times` to the next.")
    resolution: int = Field(description="Seconds; what the answer was made of.")
    times: list[datetime] = Field(description="When each stretch begins.")
    items: list[SeriesOut]
    cursor: None

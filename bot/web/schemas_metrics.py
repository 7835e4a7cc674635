"""What goes out of the routes about metrics, for OpenAPI."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ReadingOut(BaseModel):
    """A number about the service."""

    name: str = Field(description="Its stable name.", examples=["tasks_running"])
    unit: str = Field(examples=["tasks"])
    help: str = Field(description="What it says.")
    total: bool = Field(description="Whether it only grows while the service runs.")
    value: float | None = Field(description="None while it is not known.")


class ReadingsOut(BaseModel):
    """All numbers about the service, as they are now."""

    status: Literal["ok"]
    items: list[ReadingOut]
    cursor: None = None

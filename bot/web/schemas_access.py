"""What is sent and answered about access."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class LoginIn(BaseModel):
    """How somebody proves who they are."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=1, max_length=200)]


class SessionOut(BaseModel):
    """Who is logged in."""

    status: Literal["ok"]
    user: str
    scope: Literal["view", "operate", "admin"]
    csrf: str | None = Field(description="To be sent as X-CSRF-Token with each write.")

"""Bodies and answers of the order of the queue and of actions on many tasks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.web.schemas import ProblemOut, TaskOut

_Id = Annotated[str, Field(pattern="^[0-9a-z]{1,32}$")]


class MoveIn(BaseModel):
    """Where a waiting task is to be."""

    model_config = ConfigDict(extra="forbid")

    before: _Id | None = Field(
        description="The waiting task before which it goes, whose priority it takes; null: the "
        "last of its priority."
    )


class BulkIn(BaseModel):
    """An action on many tasks."""

    model_config = ConfigDict(extra="forbid")

    ids: list[_Id] = Field(min_length=1, max_length=1000)
    action: Literal["cancel", "retry", "pause", "resume", "delete"]


class ActedOut(BaseModel):
    """What came of it for one task."""

    id: str
    task: TaskOut | None = Field(description="Null where it was deleted, or where it failed.")
    error: ProblemOut | None


class BulkOut(BaseModel):
    """One answer for each task, in order."""

    items: list[ActedOut]
    accepted: int
    refused: int

"""What comes out of the REST interface about the log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class LogLineOut(BaseModel):
    """A line of the log."""

    time: datetime
    level: str
    logger: str
    message: str
    request: str | None = Field(description="The X-Request-ID it belongs to.")
    task: str | None = Field(description="The task it belongs to.")
    fields: dict[str, Any] = Field(description="More, by name.")
    error: str | None = Field(description="A traceback.")


class RecentLogsOut(BaseModel):
    """Lines, the newest first."""

    status: Literal["ok"]
    items: list[LogLineOut]
    cursor: str | None = Field(
        description="Give it back for older lines; null where there are none. A page that is not "
        "full has a cursor where the search would have taken too long."
    )
    end: str = Field(description="Where the next line will be; follow after it.")
    examined: int = Field(description="Bytes that were looked at.")
    skipped: int = Field(description="Lines among them that can't be read.")


class LogStatsOut(BaseModel):
    """The files of the log."""

    status: Literal["ok"]
    enabled: bool = Field(description="Whether this service writes them.")
    directory: str
    files: int
    bytes: int
    dropped: int = Field(description="Lines since the start that could not be written.")
    oldest: datetime | None
    newest: datetime | None

"""What goes in and out of the routes of alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.alerts import AlertState, Severity

_Label = Annotated[str, Field(max_length=200)]
_Labels = dict[Annotated[str, Field(max_length=50)], _Label]
_Ok = Literal["ok"]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TriggerIn(_In):
    """An alert by hand."""

    title: str = Field(min_length=1, max_length=200, examples=["The mirror moves"])
    message: str = Field("", max_length=4000, description="More about it.")
    severity: Severity = Severity.MEDIUM
    labels: _Labels = Field({}, max_length=20, description="What it is about.")


class NoteIn(_In):
    """Why somebody does it."""

    note: Annotated[str, Field(max_length=1000)] | None = None


class SilenceIn(_In):
    """What is to be quiet, and until when. All that is given has to fit."""

    rule: Annotated[str, Field(max_length=50)] | None = None
    severity: Severity | None = None
    labels: _Labels = Field({}, max_length=20)
    until: datetime | None = Field(None, description="The end; or give `seconds`.")
    seconds: Annotated[float, Field(gt=0, le=366 * 86400)] | None = Field(
        None, description="How long from now; or give `until`."
    )
    reason: str = Field(min_length=1, max_length=1000)


class AlertOut(BaseModel):
    """One thing that is wrong, or was."""

    id: str
    rule: str
    severity: Severity
    state: AlertState
    title: str
    message: str
    labels: dict[str, str] = Field(description="What it is about; the same is one alert.")
    count: int = Field(description="How often it was noticed.")
    value: float | None = Field(description="Of the reading, when it was noticed last.")
    announced: bool = Field(description="Whether the channels were told.")
    started_at: datetime
    last_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    silence: str | None = Field(description="The silence that keeps it quiet.")
    resolved_at: datetime | None
    resolved_by: str | None = Field(description="Empty: it ended by itself.")
    note: str | None


class OneAlertOut(AlertOut):
    """An alert."""

    status: _Ok


class AlertPageOut(BaseModel):
    """A page of alerts, the newest first."""

    status: _Ok
    items: list[AlertOut]
    cursor: str | None = Field(description="Give it back for the next page; null on the last.")


class AlertSummaryOut(BaseModel):
    """How many alerts there are."""

    status: _Ok
    by_state: dict[AlertState, int]
    by_severity: dict[Severity, int] = Field(description="Of those that are not over.")
    by_rule: dict[str, int] = Field(description="Of those that are not over.")
    firing: list[AlertOut] = Field(description="Those that fire now, the worst first; 100 at most.")
    pending: list[str] = Field(description="Rules that are broken, not for long enough yet.")


class SilenceOut(BaseModel):
    """What is quiet, and until when."""

    id: str
    rule: str | None
    severity: Severity | None
    labels: dict[str, str]
    until: datetime
    reason: str
    by: str
    created_at: datetime


class OneSilenceOut(SilenceOut):
    """A silence."""

    status: _Ok


class SilenceListOut(BaseModel):
    """The silences, the one that ends first before the others."""

    status: _Ok
    items: list[SilenceOut]
    cursor: None


class RuleOut(BaseModel):
    """A rule: over a reading, or over an event."""

    name: str
    kind: Literal["reading", "event"]
    severity: Severity
    title: str
    reading: str | None
    comparison: str | None
    threshold: float | None
    clear: float | None = Field(description="Where it ends, when not at the threshold.")
    hold: float | None = Field(description="`for`: seconds that it has to last.")
    missing: Literal["keep", "ok", "fire"] | None
    event: str | None
    keep: float | None = Field(description="Seconds after which it ends by itself.")


class RuleListOut(BaseModel):
    """The rules that are in force."""

    status: _Ok
    items: list[RuleOut]
    cursor: None


class ChannelOut(BaseModel):
    """A channel and how it does."""

    name: str
    url: str | None = Field(description="Without its secrets; null where it has none.")
    min_severity: Severity
    severities: list[Severity] = Field(description="Empty: all.")
    rules: list[str] = Field(description="Empty: all.")
    resolved: bool = Field(description="Whether it is told of the end as well.")
    per_minute: int
    pending: int
    delivered: int
    failed: int
    failing: int = Field(description="Tries that failed since the last that did not.")
    error: str | None
    last_sent: datetime | None
    last_failed: datetime | None


class ChannelListOut(BaseModel):
    """The channels."""

    status: _Ok
    items: list[ChannelOut]
    cursor: None


class NotificationOut(BaseModel):
    """What one channel has to tell, and how far it is."""

    id: str
    channel: str
    kind: Literal["raised", "resolved"]
    severity: Severity
    state: Literal["pending", "delivered", "failed"]
    title: str
    body: str
    alerts: list[str]
    attempts: int
    tried_for: float = Field(description="Seconds.")
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class NotificationListOut(BaseModel):
    """The newest notifications."""

    status: _Ok
    items: list[NotificationOut]
    cursor: None


class DoneOut(BaseModel):
    """It is done."""

    status: _Ok

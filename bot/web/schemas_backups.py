"""What goes in and out of the routes of backups."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.operations.backup_names import PATTERN


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CreateIn(_In):
    """A backup to make."""

    wait: float = Field(
        60, ge=0, le=60, description="Seconds to wait for it; then it goes on by itself."
    )


class KeysIn(_In):
    """What opens an encrypted backup, where it is not what the settings say."""

    passphrase: str | None = Field(None, max_length=4096, description="Never stored.")
    identity: str | None = Field(
        None, max_length=65536, description="age identities (AGE-SECRET-KEY-...); never stored."
    )


class VerifyIn(KeysIn):
    """A backup to verify."""

    wait: float = Field(
        60, ge=0, le=60, description="Seconds to wait for the result; then it goes on by itself."
    )


class VerificationOut(BaseModel):
    """The result of the last verification."""

    at: datetime
    ok: bool
    passed: list[str] = Field(description="The checks that passed.")
    unchecked: list[str] = Field(description="What could not be checked, and why.")
    counts: dict[str, int] = Field(description="Rows of each kind that were read.")
    error: str | None
    seconds: float


class CopyOut(BaseModel):
    """A copy at a remote."""

    destination: str
    done: bool
    at: datetime | None
    error: str | None


class BackupFields(BaseModel):
    """A backup; null is what is not known."""

    name: str
    state: Literal["unverified", "good", "bad"]
    created_at: datetime
    size: int | None = Field(description="Bytes of the archive.")
    content: int | None = Field(description="Bytes of what it holds.")
    members: int | None = Field(description="Files in it.")
    sha256: str | None
    encrypted: bool
    local: bool = Field(description="Whether it lies in BACKUP_DIR.")
    copies: list[CopyOut]
    program: str | None = Field(description="The version of the program that made it.")
    database: str | None = Field(examples=["sqlite"])
    revision: str | None = Field(description="The revision of the schema.")
    seconds: float | None = Field(description="How long making it took.")
    verification: VerificationOut | None


class BackupOut(BackupFields):
    """One backup."""

    status: Literal["ok"]


class BackupPageOut(BaseModel):
    """All backups, newest first."""

    status: Literal["ok"]
    items: list[BackupFields]
    cursor: None


class JobFields(BaseModel):
    """What is under way."""

    job: str = Field(examples=["create"])
    name: str
    state: Literal["running"]
    step: str
    done: int = Field(description="Bytes or pages of the present step.")
    total: int
    started_at: datetime


class JobOut(JobFields):
    """What goes on by itself; see /backups/stats."""

    status: Literal["ok"]


class JobFailedOut(BaseModel):
    """How the last job that failed ended."""

    job: str
    name: str
    at: datetime
    code: str
    message: str


class BackupStatsOut(BaseModel):
    """The backups as a whole."""

    status: Literal["ok"]
    directory: str
    destinations: list[str]
    interval: float = Field(description="Seconds; 0: only when asked for.")
    encrypted: bool = Field(description="Whether new ones are encrypted.")
    count: int
    good: int = Field(description="Those that passed their last verification.")
    bad: int
    size: int = Field(description="Bytes in the directory.")
    age: float | None = Field(description="Seconds since the newest one was made.")
    newest: BackupFields | None
    running: JobFields | None
    last_failure: JobFailedOut | None


class RestoreIn(KeysIn):
    """A backup to restore."""

    name: str = Field(pattern=f"^{PATTERN}$")
    confirm: str = Field(description="The same name again.")
    config: bool = Field(
        False, description="Put back .env and config.py too; the next start reads them."
    )


class RestoringOut(BaseModel):
    """A restore that goes on by itself; GET /backups/restore tells how it ended."""

    status: Literal["ok"]
    id: str
    name: str
    state: Literal["restoring"]


class RestoreOut(BaseModel):
    """How the last restore ended."""

    status: Literal["ok"]
    id: str | None
    name: str | None
    state: Literal["none", "restored", "rolled_back", "failed"]
    at: datetime | None
    message: str | None
    kept: str | None = Field(description="Where the state before it lies.")

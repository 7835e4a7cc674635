"""What a mutation takes. The limits are those of REST: both doors check with the same models."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import strawberry
from pydantic import BaseModel, ValidationError

from bot.errors import InvalidInput
from bot.graphql.declaring import BigInt, Json, choice, given, said
from bot.graphql.enums import Severity
from bot.services import Submission
from bot.web import schemas, schemas_alerts, schemas_recovery

M = TypeVar("M", bound=BaseModel)


class Overwrite(Enum):
    """What happens when the name is taken at the destination."""

    RENAME = "rename"
    REPLACE = "replace"
    REFUSE = "refuse"


choice(Overwrite)


@given
class NameValueInput:
    """A name and its value."""

    name: str = said("The name.")
    value: str = said("The value.")


def pairs(found: list[NameValueInput] | None) -> dict[str, str]:
    """Names and values as a dictionary."""
    return {each.name: each.value for each in found or ()}


@given
class StepInput:
    """What is to be done with the files before they are delivered."""

    name: str = said("The name of the step, such as `extract`, or of a plugin.")
    params: Json | None = said("Its parameters, an object.", default=None)


@given
class OptionsInput:
    """How the source is to be fetched and delivered."""

    name: str | None = said("Another name.", default=None)
    headers: list[NameValueInput] | None = said("Request headers for HTTP.", default=None)
    username: str | None = said("User name at the source.", default=None)
    password: str | None = said("Password at the source; never shown again.", default=None)
    checksum: str | None = said("What the file must have, such as sha256:HEX.", default=None)
    limit: BigInt | None = said("Bytes a second.", default=None)
    segments: int | None = said("Connections for one file.", default=None)
    select: list[int] | None = said("Indexes of the wanted files.", default=None)
    ask_selection: bool = said("Stop after planning, until files are chosen.", default=False)
    quality: str | None = said("best, 1080p, audio, or a format of yt-dlp.", default=None)
    playlist: bool = said("Take the whole playlist.", default=False)
    engine: str | None = said("This engine and no other.", default=None)
    engine_options: Json | None = said("Options of the engine, an object.", default=None)
    stream: bool | None = said("Pass the disk by; null lets the planner choose.", default=None)
    overwrite: Overwrite = said("When the name is taken.", default=Overwrite.RENAME)
    seed_ratio: float | None = said("Seed to this ratio.", default=None)
    seed_seconds: float | None = said("Seed so long.", default=None)


@given
class SubmissionInput:
    """A link, where it is to go, and how."""

    source: str = said("A link, a magnet, remote:path, or torrent:base64,DATA.")
    to: str | None = said("A directory, or remote:path; DOWNLOAD_DIR.", default=None)
    options: OptionsInput | None = said("How.", default=None)
    steps: list[StepInput] | None = said("What is done in between.", default=None)
    priority: int = said("From -100 to 100; higher goes first.", default=0)
    start_at: datetime | None = said("Not before this time.", default=None)
    force: bool = said("Start at once, past the limits (for admins).", default=False)
    again: bool = said("Also when an unfinished task does the same.", default=False)

    def submission(self) -> Submission:
        """The same for the services. InvalidInput where a value is wrong."""
        options = None if self.options is None else _options(self.options)
        return checked(
            schemas.SubmissionIn,
            {
                "source": self.source,
                "to": self.to,
                "options": options or {},
                "steps": [
                    {"name": each.name, "params": each.params or {}} for each in self.steps or ()
                ],
                "priority": self.priority,
                "start_at": self.start_at,
                "force": self.force,
                "again": self.again,
            },
        ).submission()


def _options(given: OptionsInput) -> dict[str, Any]:
    found = {each.name: getattr(given, each.name) for each in dataclasses.fields(given)}
    found["headers"] = pairs(given.headers)
    found["engine_options"] = given.engine_options or {}
    found["overwrite"] = given.overwrite.value
    return found


@given
class AlertInput:
    """An alert by hand."""

    title: str = said("In a few words.")
    message: str = said("More about it.", default="")
    severity: Severity = said("How bad it is.", default=Severity.MEDIUM)
    labels: list[NameValueInput] | None = said("What it is about.", default=None)

    def checked(self) -> schemas_alerts.TriggerIn:
        """With its limits. InvalidInput where a value is wrong."""
        return checked(
            schemas_alerts.TriggerIn,
            {
                "title": self.title,
                "message": self.message,
                "severity": self.severity,
                "labels": pairs(self.labels),
            },
        )


@given
class SilenceInput:
    """What is to be quiet, and until when. All that is given has to fit."""

    reason: str = said("Why.")
    until: datetime | None = said("How long; or seconds.", default=None)
    seconds: float | None = said("How long, from now; or until.", default=None)
    rule: str | None = said("Of that rule alone.", default=None)
    severity: Severity | None = said("Of that severity alone.", default=None)
    labels: list[NameValueInput] | None = said("With those labels alone.", default=None)

    def checked(self) -> schemas_alerts.SilenceIn:
        """With its limits. InvalidInput where a value is wrong."""
        return checked(
            schemas_alerts.SilenceIn,
            {
                "reason": self.reason,
                "until": self.until,
                "seconds": self.seconds,
                "rule": self.rule,
                "severity": self.severity,
                "labels": pairs(self.labels),
            },
        )


@given
class IntegrityInput:
    """One thing to check: a path, a task, everything, the data directory, or the rest of an
    earlier check."""

    path: str | None = said("A delivered file, or a directory of them.", default=None)
    task: strawberry.ID | None = said("What this task delivered.", default=None)
    all: bool = said("Every receipt, the newest first.", default=False)
    data: bool = said("The data directory (for admins).", default=False)
    resume: strawberry.ID | None = said("Go on with this check.", default=None)
    limit: int | None = said("Receipts at most.", default=None)
    read_back: bool | None = said("Whether files are read back from a remote.", default=None)

    def checked(self) -> schemas_recovery.VerifyIn:
        """With its limits. InvalidInput where a value is wrong."""
        found = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return checked(schemas_recovery.VerifyIn, found)


def checked(model: type[M], values: dict[str, Any]) -> M:
    """The values in a model of REST. InvalidInput names what is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = [
            {"at": ".".join(map(str, item["loc"])), "message": item["msg"]}
            for item in error.errors(include_url=False)
        ]
        first = wrong[0]
        raise InvalidInput(f"{first['at']}: {first['message']}", errors=wrong[:50]) from None

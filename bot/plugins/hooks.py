"""The hooks: what a plugin is told of. Each is an empty, typed function.

A plugin takes part by having a method of that name. They tell it something and expect no answer.
Payloads are frozen; a field may be added in a minor version of the interface, and none ever goes in
one.

Standard library and msgspec only: this is imported in the sandbox.
"""

from __future__ import annotations

import inspect
import typing
from typing import Any

import msgspec


class TaskInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task. Sizes are bytes; passwords in its source are stars."""

    id: str
    user: str
    source: str
    destination: str
    state: str
    name: str | None = None
    engine: str | None = None
    size: int | None = None


class StageInfo(msgspec.Struct, frozen=True):
    """A stage that ended well."""

    task: TaskInfo
    stage: str
    seconds: float
    size: int


class DoneInfo(msgspec.Struct, frozen=True):
    """What a task delivered."""

    task: TaskInfo
    path: str | None
    size: int
    sha256: str | None


class FailureInfo(msgspec.Struct, frozen=True):
    """Why a task failed."""

    task: TaskInfo
    stage: str
    code: str
    message: str


class AlertInfo(msgspec.Struct, frozen=True):
    """An alert."""

    id: str
    rule: str
    severity: str
    message: str


class BackupInfo(msgspec.Struct, frozen=True):
    """A backup that is complete."""

    name: str
    path: str
    size: int


class ServiceInfo(msgspec.Struct, frozen=True):
    """The service; ``at`` is UNIX time in seconds."""

    at: float
    version: str


class Hooks:
    """Every hook."""

    async def on_task_submitted(self, task: TaskInfo) -> None:
        """A task was stored."""

    async def on_task_planned(self, task: TaskInfo) -> None:
        """Its plan is known: name, size, engine."""

    async def on_task_started(self, task: TaskInfo) -> None:
        """It has a turn."""

    async def on_stage_finished(self, stage: StageInfo) -> None:
        """One of its stages ended well."""

    async def on_task_completed(self, done: DoneInfo) -> None:
        """It was delivered and verified."""

    async def on_task_failed(self, failure: FailureInfo) -> None:
        """It failed, and will not be tried again by itself."""

    async def on_task_cancelled(self, task: TaskInfo) -> None:
        """Somebody cancelled it."""

    async def on_alert_raised(self, alert: AlertInfo) -> None:
        """An alert began to fire."""

    async def on_backup_made(self, backup: BackupInfo) -> None:
        """A backup is complete."""

    async def on_service_started(self, service: ServiceInfo) -> None:
        """The service takes work."""

    async def on_service_stopping(self, service: ServiceInfo) -> None:
        """The service ends."""


def _payloads() -> dict[str, type[msgspec.Struct]]:
    found: dict[str, type[msgspec.Struct]] = {}
    for name, function in vars(Hooks).items():
        if inspect.iscoroutinefunction(function):
            kinds = typing.get_type_hints(function)
            kinds.pop("return")
            (found[name],) = kinds.values()
    return found


#: The payload of every hook, by its name.
PAYLOADS = _payloads()


def payload(name: str, value: Any) -> msgspec.Struct:
    """The payload of a hook from its plain form."""
    return msgspec.convert(value, PAYLOADS[name])

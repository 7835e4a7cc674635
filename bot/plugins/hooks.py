"""The hooks: what a plugin is told of, and what it is asked. Each is an empty, typed function.

A plugin takes part by having a method of that name. Payloads are frozen; a hook or a field may be
added in a minor version of the interface, and none ever goes in one.

Standard library and msgspec only: this is imported in the sandbox.
"""

from __future__ import annotations

import inspect
import typing
from typing import Annotated, Any

import msgspec

_LINE = r"\A[^\x00-\x1f\x7f]*\Z"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=_LINE)]
Place = Annotated[str, msgspec.Meta(min_length=1, max_length=4096, pattern=_LINE)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


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


class ProgressInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the present stage of a task is: bytes, and bytes a second. ``total`` is None while
    nobody knows it."""

    task: TaskInfo
    done: int
    total: int | None = None
    speed: float = 0.0


class DoneInfo(msgspec.Struct, frozen=True):
    """What a task delivered."""

    task: TaskInfo
    path: str | None
    size: int
    sha256: str | None


class FailureInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a try of a task failed; ``attempt`` counts those of this stage from 1. ``wait`` is what
    the service would do: the next try in so many seconds, or None for no more."""

    task: TaskInfo
    stage: str
    code: str
    message: str
    attempt: int = 1
    wait: float | None = None


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
    """Every hook, since version 1.0 of the interface.

    Those that begin with ``on_`` tell something, and no answer is expected. The others ask, in the
    order of the plugins' names: the first answer that is not None counts, where it is one that a
    user could have given; else it is logged and the next is asked. They need the right ``decide``,
    and all plugins together have PLUGIN_HOOK_TIMEOUT seconds for one question. What a user has
    chosen is never asked for.
    """

    async def on_task_submitted(self, task: TaskInfo) -> None:
        """A task was stored."""

    async def on_task_planned(self, task: TaskInfo) -> None:
        """Its plan is known: name, size, engine."""

    async def on_task_started(self, task: TaskInfo) -> None:
        """It has a turn."""

    async def on_task_progress(self, progress: ProgressInfo) -> None:
        """It moves on; told at most once a second."""

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

    async def veto_task(self, task: TaskInfo) -> Reason | None:
        """Why the task may not be; it fails with that reason. Asked once its plan is known, before
        anything is fetched."""

    async def choose_destination(self, task: TaskInfo) -> Place | None:
        """Where it goes; asked before it is stored, so it has no id yet."""

    async def choose_engine(self, task: TaskInfo) -> Name | None:
        """The engine that fetches it; asked before it is planned."""

    async def choose_name(self, task: TaskInfo) -> Name | None:
        """What it is called instead of ``task.name``; asked once its plan is known."""

    async def choose_retry(self, failure: FailureInfo) -> float | bool | None:
        """In how many seconds it is tried again, or False for never. RETRY_ATTEMPTS and RETRY_MAX
        hold, and what the other side asked for."""


def _declared() -> dict[str, dict[str, Any]]:
    return {
        name: typing.get_type_hints(function, include_extras=True)
        for name, function in vars(Hooks).items()
        if inspect.iscoroutinefunction(function)
    }


def _payload_of(kinds: dict[str, Any]) -> type[msgspec.Struct]:
    (found,) = (kind for name, kind in kinds.items() if name != "return")
    kind: type[msgspec.Struct] = found
    return kind


#: The payload of every hook, by its name.
PAYLOADS = {name: _payload_of(kinds) for name, kinds in _declared().items()}
#: The type of the answer of every hook that asks, by its name.
ANSWERS = {
    name: kinds["return"] for name, kinds in _declared().items() if not name.startswith("on_")
}


def payload(name: str, value: Any) -> msgspec.Struct:
    """The payload of a hook from its plain form, or from itself. ValidationError."""
    return msgspec.convert(value, PAYLOADS[name])


def answer(name: str, value: Any) -> Any:
    """The answer to a hook that asks. ValidationError where it is of another kind."""
    return msgspec.convert(value, ANSWERS[name])

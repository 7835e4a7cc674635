"""A sample event for each hook and for the ``execute`` of each type: what an author tries a plugin
with, and what the templates are made for."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from bot.errors import InvalidInput
from bot.plugins import hooks

_TASK = hooks.TaskInfo(
    id="01JSAMPLE",
    user="sample",
    source="https://example.org/film.mkv",
    destination="films",
    state="running",
    name="film.mkv",
    engine="http",
    size=1048576,
)
_HASH = hashlib.sha256(b"sample").hexdigest()
_FAILURE = hooks.FailureInfo(
    task=_TASK, stage="fetch", code="network", message="the connection broke"
)
_PAYLOADS: tuple[msgspec.Struct, ...] = (
    _TASK,
    hooks.StageInfo(task=_TASK, stage="fetch", seconds=2.5, size=1048576),
    hooks.ProgressInfo(task=_TASK, done=524288, total=1048576, speed=262144.0),
    hooks.DoneInfo(task=_TASK, path="films/film.mkv", size=1048576, sha256=_HASH),
    _FAILURE,
    hooks.AlertInfo(id="01JSAMPLE", rule="disk_full", severity="critical", message="95 % full"),
    hooks.BackupInfo(name="mltb-sample.tar.zst", path="/backups/mltb-sample.tar.zst", size=6),
    hooks.ServiceInfo(at=1_800_000_000.0, version="0.0.0"),
)
_OF_KIND = {type(each): each for each in _PAYLOADS}

#: What ``execute`` is called with, by the type of the plugin. A backup comes through a descriptor.
_CALLS: dict[str, list[Any]] = {
    "alert": [
        {
            "id": "01JSAMPLE",
            "rule": "disk_full",
            "severity": "critical",
            "state": "firing",
            "title": "Disk full",
            "message": "95 % full",
            "labels": {},
            "value": 95.0,
        }
    ],
    "monitor": [{"cpu_percent": 12.5, "tasks_running": 2.0}],
    "task": [["film.mkv"], {}],
    "source": ["https://example.org/files/"],
    "backup": ["mltb-sample.tar.zst"],
    "custom": [],
}
#: The content of the sample backup.
ARCHIVE = b"sample"


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a recording: a hook with its payload, or (``hook`` is "execute") a call with
    ``args`` and ``kwargs``."""

    hook: str
    payload: dict[str, Any] = {}
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


def sample(hook: str) -> Event:
    """The sample of a hook."""
    return Event(hook, msgspec.to_builtins(_OF_KIND[hooks.PAYLOADS[hook]]))


def samples(kind: str, taken: list[str]) -> list[Event]:
    """Those of a plugin of that type that takes part in these hooks."""
    return [Event("execute", args=_CALLS[kind]), *(sample(hook) for hook in taken)]


def recorded(text: bytes) -> list[Event]:
    """The events of a recording, a line of JSON each. InvalidInput where one is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            event = msgspec.json.decode(line, type=Event)
            if event.hook != "execute":
                hooks.payload(event.hook, event.payload)
        except KeyError:
            known = ", ".join(["execute", *hooks.PAYLOADS])
            raise InvalidInput(f"line {number}: no hook {event.hook!r}", hint=known) from None
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"line {number}: {error}") from None
        found.append(event)
    return found

"""Tasks, plans and errors as JSON: what REST answers and what the command line prints.

Times are RFC 3339 in UTC, sizes bytes, speeds bytes a second, durations seconds. Secrets do not
come out: no password, no header, no password in a URL.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from bot.domain.task import Failure, Progress, Receipt, Stage
from bot.errors import MltbError, PluginFailed
from bot.services import Submitted, TaskView

_USERINFO = re.compile(r"(?<=://)([^/@?#]*)@")
_TORRENT_DATA = "torrent:"


@lru_cache(8192)  # The times of a task stay while it is looked at again and again.
def moment(value: float | None) -> str | None:
    """UNIX seconds as RFC 3339 with milliseconds."""
    if value is None:
        return None
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")


def source(text: str) -> str:
    """A source without its password, and short where it carries data itself."""
    if text.startswith(_TORRENT_DATA):
        return text[:48] + ("…" if len(text) > 48 else "")
    if "@" not in text:
        return text
    return _USERINFO.sub(lambda found: found[1].split(":")[0] + ":***@", text)


def task(view: TaskView) -> dict[str, Any]:
    """A task and its progress."""
    of = view.task
    receipt = of.receipt
    return {
        "id": of.id,
        "state": str(of.state),
        "source": source(of.source),
        "to": of.destination,
        "user": of.user,
        "name": of.name,
        "size": of.size,
        "engine": of.engine,
        "priority": of.priority,
        "order": of.order or of.id,
        "force": of.force,
        "steps": [msgspec.to_builtins(step) | {"params": params(step.params)} for step in of.steps],
        "stages": [_stage(stage) for stage in of.stages],
        "progress": None if view.progress is None else progress(view.progress),
        "error": None if of.failure is None else failure(of.failure),
        "note": of.note,
        "path": receipt.path if receipt else None,
        "sha256": receipt.sha256 if receipt else None,
        "receipt": None if receipt is None else receipt_(receipt),
        "created_at": moment(of.created_at),
        "updated_at": moment(of.updated_at),
        "start_at": moment(of.start_at),
        "started_at": moment(of.started_at),
        "finished_at": moment(of.finished_at),
        "version": of.version,
    }


def progress(of: Progress) -> dict[str, Any]:
    """A sample of a running stage; ``eta`` in seconds."""
    return {
        "done": of.done,
        "total": of.total,
        "speed": round(of.speed),
        "is_estimate": of.is_estimate,
        "connections": of.connections,
        "uploaded": of.uploaded,
        "peers": of.peers,
        "seeds": of.seeds,
        "eta": _rounded(of.eta),
    }


def failure(of: Failure) -> dict[str, Any]:
    """Why a stage failed."""
    return {**msgspec.structs.asdict(of), "at": moment(of.at)}


def receipt_(of: Receipt) -> dict[str, Any]:
    """What a delivery left for good."""
    return {
        **msgspec.to_builtins(of),
        "source": source(of.source),
        "created_at": moment(of.created_at),
        "finished_at": moment(of.finished_at),
        "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in of.files],
    }


def submitted(answer: Submitted) -> dict[str, Any]:
    """One answer of a submission of many."""
    if answer.task is not None:
        return {
            "index": answer.index,
            "task": task(TaskView(answer.task)),
            "error": None,
        }
    return {
        "index": answer.index,
        "task": None,
        "error": problem(answer.error or MltbError("?")),
    }


def problem(error: MltbError) -> dict[str, Any]:
    """An error as problem details (RFC 9457)."""
    return {
        "type": f"urn:mltb:error:{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "hint": error.hint,
        **({"details": error.details} if error.details else {}),
    }


def _stage(of: Stage) -> dict[str, Any]:
    return {
        "kind": str(of.kind),
        "name": of.name,
        "state": str(of.state),
        "attempt": of.attempt,
        "seconds": round(of.seconds, 3),
        "started_at": moment(of.started_at),
        "finished_at": moment(of.finished_at),
        "files": len(of.files),
    }


def params(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a step, without passwords."""
    return {name: "***" if "password" in name else value for name, value in given.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def jsonable(plugin: str, result: Any) -> Any:
    """What a plugin gave: bytes become base64; PluginFailed where it is no JSON all the same."""
    try:
        return msgspec.json.decode(msgspec.json.encode(result))
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise PluginFailed(f"plugin {plugin} gave something that is no JSON: {error}") from None

"""Backups as JSON: what REST answers, and what the command line prints without a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bot.operations.backup_catalog import Record, Verification
from bot.operations.backup_jobs import Failed, Job
from bot.operations.backup_restore import Outcome
from bot.services.backups import BackupStats
from bot.web.render import moment

_OK: dict[str, Any] = {"status": "ok"}


def backup(of: Record) -> dict[str, Any]:
    """One backup."""
    return _OK | _fields(of)


def backups(records: Sequence[Record]) -> dict[str, Any]:
    """All of them."""
    return _OK | {"items": [_fields(record) for record in records], "cursor": None}


def job(of: Job) -> dict[str, Any]:
    """What goes on by itself."""
    return _OK | _job(of)


def stats(of: BackupStats) -> dict[str, Any]:
    """The backups as a whole."""
    records, good = of.records, [record.good for record in of.records]
    return _OK | {
        "directory": str(of.directory),
        "destinations": list(of.destinations),
        "interval": of.interval,
        "encrypted": of.encrypted,
        "count": len(records),
        "good": good.count(True),
        "bad": good.count(False),
        "size": sum(record.size or 0 for record in records if record.local),
        "age": None if of.age is None else round(of.age, 3),
        "newest": _fields(records[0]) if records else None,
        "running": None if of.running is None else _job(of.running),
        "last_failure": None if of.last_failure is None else _failed(of.last_failure),
    }


def restore(of: Outcome | None) -> dict[str, Any]:
    """How the last restore ended."""
    if of is None:
        names = ("id", "name", "at", "message", "kept")
        return _OK | dict.fromkeys(names) | {"state": "none"}
    return _OK | msgspec.structs.asdict(of) | {"at": moment(of.at)}


def _fields(of: Record) -> dict[str, Any]:
    good = of.good
    return {
        "name": of.name,
        "state": "unverified" if good is None else "good" if good else "bad",
        "created_at": moment(of.created_at),
        "size": of.size,
        "content": of.content,
        "members": of.members,
        "sha256": of.sha256,
        "encrypted": of.encrypted,
        "local": of.local,
        "copies": [
            {"destination": place, "done": copy.done, "at": moment(copy.at), "error": copy.error}
            for place, copy in sorted(of.copies.items())
        ],
        "program": of.program,
        "database": of.database,
        "revision": of.revision,
        "seconds": of.seconds,
        "verification": None if of.verification is None else _verification(of.verification),
    }


def _verification(of: Verification) -> dict[str, Any]:
    return {**msgspec.structs.asdict(of), "at": moment(of.at)}


def _job(of: Job) -> dict[str, Any]:
    return {
        "job": of.kind,
        "name": of.name,
        "state": "running",
        "step": of.step,
        "done": of.done,
        "total": of.total,
        "started_at": moment(of.started_at),
    }


def _failed(of: Failed) -> dict[str, Any]:
    return {
        "job": of.kind,
        "name": of.name,
        "at": moment(of.at),
        "code": of.code,
        "message": of.message,
    }

"""Tasks and receipts for the tests of the store."""

from __future__ import annotations

from typing import Any

from bot.domain.task import (
    Failure,
    FileEntry,
    Receipt,
    Stage,
    StageKind,
    StageState,
    StepSpec,
    Task,
    TaskOptions,
    TaskState,
)


def new_task(number: int = 1, **fields: Any) -> Task:
    """A task that was just submitted."""
    given: dict[str, Any] = {
        "id": f"task{number:012d}",
        "user": "ann",
        "source": f"https://example.org/files/{number}.bin",
        "destination": "/srv/downloads",
        "created_at": 1_700_000_000.0 + number,
        "updated_at": 1_700_000_000.0 + number,
    }
    return Task(**(given | fields))


def full_task(number: int = 1) -> Task:
    """A task in which no field has its default."""
    return new_task(
        number,
        state=TaskState.FAILED,
        options=TaskOptions(
            name="x", headers={"A": "b"}, select=[1, 2], engine_options={"deep": [{"x": None}]}
        ),
        steps=[StepSpec("extract", {"password": "pä"})],
        stages=[
            Stage(
                StageKind.FETCH,
                "http",
                params={"a": 1},
                state=StageState.DONE,
                attempt=2,
                started_at=1.5,
                finished_at=2.5,
                seconds=1.0,
                token={"etag": '"x"'},
                files=[FileEntry("a/ü.bin", 5, "0" * 64)],
                result={"ok": True},
            )
        ],
        priority=-3,
        start_at=1_700_000_100.25,
        force=True,
        engine="http",
        name="Über 文件.bin",
        size=2**40,
        probes=3,
        workspace="/tmp/w",
        waiting_since=7.5,
        updated_at=1_700_000_050.125,
        started_at=8.5,
        finished_at=9.5,
        failure=Failure("network", "broke", "fetch", 3.5, hint="again", retryable=True, attempt=2),
        note="a note",
        receipt=receipt(number),
        key="submission-1",
        order="0000000000000001",
        version=4,
    )


def receipt(number: int = 1, **fields: Any) -> Receipt:
    """What the delivery of task ``number`` left."""
    given: dict[str, Any] = {
        "task": f"task{number:012d}",
        "source": f"https://example.org/files/{number}.bin",
        "destination": "/srv/downloads",
        "files": [FileEntry(f"{number}.bin", 100 + number, "a" * 64)],
        "size": 100 + number,
        "sha256": "a" * 64,
        "path": f"/srv/downloads/{number}.bin",
        "method": "read-back",
        "steps": ["fetch", "deliver", "verify"],
        "created_at": 1_700_000_000.0 + number,
        "finished_at": 1_700_001_000.0 + number,
        "fetch_seconds": 1.25,
        "total_seconds": 2.5,
    }
    return Receipt(**(given | fields))

"""Between the domain and the rows of ``schema``: one place knows both shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from bot.domain.ports import Token
from bot.domain.task import (
    FINAL,
    Failure,
    FileEntry,
    Receipt,
    Stage,
    StepSpec,
    Task,
    TaskOptions,
    TaskState,
)
from bot.errors import InternalFailure

#: What a row holds where the size of a task is unknown.
NO_SIZE = -1

_LARGEST = 2**63
_NAME_KEY = 64


class TaskRest(msgspec.Struct, omit_defaults=True):
    """The fields of a task that have no column: nothing filters or sorts by them."""

    options: TaskOptions = TaskOptions()
    steps: list[StepSpec] = []
    stages: list[Stage] = []
    force: bool = False
    workspace: str | None = None
    waiting_since: float | None = None
    started_at: float | None = None
    failure: Failure | None = None
    note: str | None = None


class ReceiptRest(msgspec.Struct, omit_defaults=True):
    """The fields of a receipt that have no column."""

    files: list[FileEntry]
    method: str
    steps: list[str]
    created_at: float
    fetch_seconds: float = 0.0
    total_seconds: float = 0.0


class Change(msgspec.Struct):
    """The state of a task at the moment of one ``save``.

    ``text`` is name, source and destination; ``columns`` are state, engine, size, priority, start
    and end. Both are compared with what was stored last: a column that did not change is not
    written, since each costs the indexes that hold it.
    """

    id: str
    version: int
    updated_at: float
    body: str
    columns: tuple[str, str | None, int, int, float | None, float | None]
    text: tuple[str | None, str, str]
    receipt: dict[str, Any] | None

    @property
    def final(self) -> bool:
        """Whether nothing more will be saved soon."""
        return self.columns[0] in FINAL


_Rest = TypeVar("_Rest", TaskRest, ReceiptRest)

_encoder = msgspec.json.Encoder()
_task_rest = msgspec.json.Decoder(TaskRest)
_receipt_rest = msgspec.json.Decoder(ReceiptRest)


def change_of(task: Task) -> Change:
    """What a save of ``task`` writes. InternalFailure where it can't be stored."""
    body = _body(task)
    size = NO_SIZE if task.size is None else task.size
    _check_text(
        task.id,
        task.user,
        task.source,
        task.destination,
        task.name or "",
        task.engine or "",
        task.key or "",
    )
    _check_number(task.id, size, task.priority)
    return Change(
        id=task.id,
        version=task.version,
        updated_at=task.updated_at,
        body=body,
        columns=(
            task.state.value,
            task.engine,
            size,
            task.priority,
            task.start_at,
            task.finished_at,
        ),
        text=(task.name, task.source, task.destination),
        receipt=None if task.receipt is None else receipt_row(task.receipt, task.user),
    )


def task_row(task: Task, position: int | None) -> dict[str, Any]:
    """The whole row of a new task. InternalFailure where it can't be stored."""
    change = change_of(task)
    state, engine, size, priority, start_at, finished_at = change.columns
    return {
        "id": task.id,
        "user": task.user,
        "state": state,
        "engine": engine,
        "name": task.name,
        "source": task.source,
        "destination": task.destination,
        "size": size,
        "priority": priority,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "start_at": start_at,
        "finished_at": finished_at,
        "key": task.key,
        "position": position,
        "version": task.version,
        "name_key": name_key(task.name),
        "search": search_text(task.name, task.source),
        "body": change.body,
    }


def name_key(name: str | None) -> str:
    """What tasks are sorted by name with."""
    return (name or "").casefold()[:_NAME_KEY]


def search_text(name: str | None, source: str) -> str:
    """What text is looked for in.

    The end is such that each character is the first of a sequence of three, as the index has them.
    """
    return f"{name or ''}\n{source}\n\n".casefold()


def task_of(row: Mapping[str, Any]) -> Task:
    """The task of a row of ``tasks`` with the columns of its receipt, prefixed by ``receipt_``."""
    rest = _decoded(_task_rest, row["body"], row["id"])
    size = row["size"]
    return Task(
        id=row["id"],
        user=row["user"],
        source=row["source"],
        destination=row["destination"],
        created_at=row["created_at"],
        state=TaskState(row["state"]),
        options=rest.options,
        steps=rest.steps,
        stages=rest.stages,
        priority=row["priority"],
        start_at=row["start_at"],
        force=rest.force,
        engine=row["engine"],
        name=row["name"],
        size=None if size == NO_SIZE else size,
        workspace=rest.workspace,
        waiting_since=rest.waiting_since,
        updated_at=row["updated_at"],
        started_at=rest.started_at,
        finished_at=row["finished_at"],
        failure=rest.failure,
        note=rest.note,
        receipt=receipt_of(row, "receipt_") if row["receipt_task"] else None,
        key=row["key"],
        version=row["version"],
    )


def receipt_row(receipt: Receipt, user: str) -> dict[str, Any]:
    """The row of a receipt. InternalFailure where it can't be stored."""
    _check_text(
        receipt.task, receipt.source, receipt.destination, receipt.path or "", receipt.sha256 or ""
    )
    _check_number(receipt.task, receipt.size)
    rest = ReceiptRest(
        files=receipt.files,
        method=receipt.method,
        steps=receipt.steps,
        created_at=receipt.created_at,
        fetch_seconds=receipt.fetch_seconds,
        total_seconds=receipt.total_seconds,
    )
    return {
        "task": receipt.task,
        "user": user,
        "source": receipt.source,
        "source_key": source_key(receipt.source),
        "destination": receipt.destination,
        "path": receipt.path,
        "size": receipt.size,
        "sha256": receipt.sha256,
        "finished_at": receipt.finished_at,
        "body": _encoded(rest, receipt.task),
    }


def source_key(source: str) -> str:
    """A digest of a source, short enough for any index."""
    return hashlib.blake2b(source.encode("utf-8", "replace"), digest_size=16).hexdigest()


def receipt_of(row: Mapping[str, Any], prefix: str = "") -> Receipt:
    """The receipt in the columns of ``row`` that begin with ``prefix``."""
    rest = _decoded(_receipt_rest, row[f"{prefix}body"], row[f"{prefix}task"])
    return Receipt(
        task=row[f"{prefix}task"],
        source=row[f"{prefix}source"],
        destination=row[f"{prefix}destination"],
        files=rest.files,
        size=row[f"{prefix}size"],
        sha256=row[f"{prefix}sha256"],
        path=row[f"{prefix}path"],
        method=rest.method,
        steps=rest.steps,
        created_at=rest.created_at,
        finished_at=row[f"{prefix}finished_at"],
        fetch_seconds=rest.fetch_seconds,
        total_seconds=rest.total_seconds,
    )


def token_of(row: Mapping[str, Any]) -> Token:
    """The token of a row of ``tokens``."""
    return Token(
        id=row["id"],
        name=row["name"],
        scope=row["scope"],
        user=row["user"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )


def _body(task: Task) -> str:
    rest = TaskRest(
        options=task.options,
        steps=task.steps,
        stages=task.stages,
        force=task.force,
        workspace=task.workspace,
        waiting_since=task.waiting_since,
        started_at=task.started_at,
        failure=task.failure,
        note=task.note,
    )
    return _encoded(rest, task.id)


def _encoded(rest: msgspec.Struct, task_id: str) -> str:
    try:
        return _encoder.encode(rest).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InternalFailure(f"task {task_id} can't be stored: {error}") from error


def _decoded(decoder: msgspec.json.Decoder[_Rest], body: str, task_id: str) -> _Rest:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise InternalFailure(
            f"what the database holds of task {task_id} can't be read: {error}",
            hint="restore the database from a copy, or delete that row",
        ) from error


# Both refuse what a database would refuse later, amid the changes of other tasks.


def _check_text(task_id: str, *texts: str) -> None:
    text = "\n".join(texts)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InternalFailure(f"task {task_id} can't be stored: {error}") from error
    if "\0" in text:
        raise InternalFailure(f"task {task_id} can't be stored: a name of it has a NUL character")


def _check_number(task_id: str, *numbers: int) -> None:
    for number in numbers:
        if not -_LARGEST <= number < _LARGEST:
            raise InternalFailure(
                f"task {task_id} can't be stored: {number} is out of the range of 64 bits"
            )

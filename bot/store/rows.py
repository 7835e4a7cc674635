"""Between the domain and the rows of ``schema``: one place knows both shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from bot.domain.ports import Token
from bot.domain.task import FINAL, Receipt, Task, TaskState
from bot.errors import InternalFailure

#: What a row holds where the size of a task is unknown.
NO_SIZE = -1

_LARGEST = 2**63
_NAME_KEY = 64


_TASK_COLUMNS = (
    "id",
    "user",
    "source",
    "destination",
    "created_at",
    "state",
    "priority",
    "start_at",
    "engine",
    "name",
    "updated_at",
    "finished_at",
    "key",
    "version",
)
_RECEIPT_COLUMNS = ("task", "source", "destination", "size", "sha256", "path", "finished_at")


def _rest_of(whole: type[msgspec.Struct], columns: Iterable[str]) -> type[msgspec.Struct]:
    """A struct of the fields of ``whole`` that have no column: it is the body of a row.

    So a field that is new in the domain is stored without a word here, and a row that is older
    than it has its default.
    """
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(whole):
        if field.name in columns:
            continue
        if field.default is not msgspec.NODEFAULT:
            fields.append((field.name, field.type, field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=field.default_factory)
            fields.append((field.name, field.type, default))
        else:
            fields.append((field.name, field.type))
    return msgspec.defstruct(f"{whole.__name__}Rest", fields, omit_defaults=True)


# The size has a column of another kind, the receipt a table.
_TaskRest = _rest_of(Task, {*_TASK_COLUMNS, "size", "receipt"})
_ReceiptRest = _rest_of(Receipt, _RECEIPT_COLUMNS)
_task_fields = attrgetter(*_TaskRest.__struct_fields__)
_receipt_fields = attrgetter(*_ReceiptRest.__struct_fields__)


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


_encoder = msgspec.json.Encoder()
_task_rest = msgspec.json.Decoder(_TaskRest)
_receipt_rest = msgspec.json.Decoder(_ReceiptRest)


def change_of(task: Task) -> Change:
    """What a save of ``task`` writes. InternalFailure where it can't be stored."""
    body = _encoded(_TaskRest(*_task_fields(task)), task.id)
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
    size = row["size"]
    values: dict[str, Any] = {name: row[name] for name in _TASK_COLUMNS}
    values |= _decoded(_task_rest, row["body"], row["id"])
    values["state"] = TaskState(values["state"])
    values["size"] = None if size == NO_SIZE else size
    values["receipt"] = receipt_of(row, "receipt_") if row["receipt_task"] else None
    return Task(**values)


def receipt_row(receipt: Receipt, user: str) -> dict[str, Any]:
    """The row of a receipt. InternalFailure where it can't be stored."""
    _check_text(
        receipt.task, receipt.source, receipt.destination, receipt.path or "", receipt.sha256 or ""
    )
    _check_number(receipt.task, receipt.size)
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
        "body": _encoded(_ReceiptRest(*_receipt_fields(receipt)), receipt.task),
    }


def source_key(source: str) -> str:
    """A digest of a source, short enough for any index."""
    return hashlib.blake2b(source.encode("utf-8", "replace"), digest_size=16).hexdigest()


def receipt_of(row: Mapping[str, Any], prefix: str = "") -> Receipt:
    """The receipt in the columns of ``row`` that begin with ``prefix``."""
    values: dict[str, Any] = {name: row[f"{prefix}{name}"] for name in _RECEIPT_COLUMNS}
    values |= _decoded(_receipt_rest, row[f"{prefix}body"], values["task"])
    return Receipt(**values)


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


def _encoded(rest: msgspec.Struct, task_id: str) -> str:
    try:
        return _encoder.encode(rest).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InternalFailure(f"task {task_id} can't be stored: {error}") from error


def _decoded(
    decoder: msgspec.json.Decoder[msgspec.Struct], body: str, task_id: str
) -> dict[str, Any]:
    try:
        rest = decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise InternalFailure(
            f"what the database holds of task {task_id} can't be read: {error}",
            hint="restore the database from a copy, or delete that row",
        ) from error
    return {name: getattr(rest, name) for name in rest.__struct_fields__}


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

"""The query of one page of tasks, and the cursor that leads to the next.

A cursor holds the place of the last task of a page in its order (the sorted value and ``seq``),
so the next page begins right after it, whatever was added or removed meanwhile.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
import sqlalchemy as sa

from bot.domain.ports import TaskQuery
from bot.domain.task import FINAL
from bot.errors import InvalidInput
from bot.store.backend import Backend, Values
from bot.store.schema import SORTS, receipts, tasks

_MAX_LIMIT = 500
_MAX_TEXT = 500
_MAX_CURSOR = 1000
_LARGEST = 2**63

# Every column of a task, and those of its receipt.
_TASK_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
    *(column for column in tasks.c if column.name != "search"),
    *(column.label(f"receipt_{column.name}") for column in receipts.c if column.name != "user"),
)


class _Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What a cursor holds."""

    sort: str
    descending: bool
    value: int | float | str
    seq: int


_places = msgspec.json.Decoder(_Place)


async def page_query(query: TaskQuery, database: Backend) -> sa.Select[Any]:
    """The places of a page (``id``, ``seq`` and the sorted column of its tasks, in order) and one
    more, so that the caller sees whether another page follows.

    InvalidInput where the query asks for what there is not.
    """
    if query.sort not in SORTS:
        raise InvalidInput(
            f"tasks can't be sorted by {query.sort[:100]!r}", hint=f"sort by {', '.join(SORTS)}"
        )
    if not 1 <= query.limit <= _MAX_LIMIT:
        raise InvalidInput(
            f"a page can't have {query.limit} tasks", hint=f"ask for 1 to {_MAX_LIMIT}"
        )
    column = tasks.c[SORTS[query.sort]]
    conditions, by_index = await _conditions(query, database)
    by: sa.ColumnElement[Any] = column if by_index else database.unindexed(column)
    order: list[sa.ColumnElement[Any]] = [by, tasks.c.seq]
    if query.cursor is not None:
        place = _place(query)
        after = sa.tuple_(sa.literal(place.value, column.type), sa.literal(place.seq))
        here = sa.tuple_(*order)
        conditions.append(here < after if query.descending else here > after)
    chosen = sa.select(tasks.c.seq).where(*conditions)
    if query.descending:
        order = [part.desc() for part in order]
    ids = chosen.order_by(*order).limit(query.limit + 1).subquery("chosen")
    return (
        sa.select(tasks.c.id, tasks.c.seq, column)
        .select_from(ids.join(tasks, tasks.c.seq == ids.c.seq))
        .order_by(*order)
    )


def rows_query(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The whole rows of the tasks that fit, each with its receipt, as ``task_of`` expects them."""
    source = tasks.outerjoin(receipts, receipts.c.task == tasks.c.id)
    return sa.select(*_TASK_COLUMNS).select_from(source).where(*conditions)


def cursor_after(place: Values, query: TaskQuery) -> str:
    """The cursor of the page that follows the one which ends with the task at ``place``."""
    kept = _Place(query.sort, query.descending, place[SORTS[query.sort]], place["seq"])
    return base64.urlsafe_b64encode(msgspec.json.encode(kept)).decode().rstrip("=")


async def _conditions(
    query: TaskQuery, database: Backend
) -> tuple[list[sa.ColumnElement[bool]], bool]:
    """The conditions of a query, and whether to walk the index of its order to find what fits.

    Otherwise they lead to a few tasks by themselves, which are sorted then.
    """
    found = _filters(query, database)
    by_index = True
    if query.states and not FINAL.intersection(query.states):
        # Of these there are never many: the index by state finds them.
        found.append(tasks.c.state.in_([state.value for state in query.states]))
        by_index = False
    if query.text:
        text = _text(query.text)
        found.append(database.holds(text))
        candidates = await database.candidates(text)
        if candidates is not None:
            found.append(candidates)
            by_index = False
    return found, by_index


def _filters(query: TaskQuery, database: Backend) -> list[sa.ColumnElement[bool]]:
    state, engine, user, created = (
        database.unindexed(tasks.c[name]) for name in ("state", "engine", "user", "created_at")
    )
    found: list[sa.ColumnElement[bool]] = []
    if query.states:
        found.append(state.in_(sorted(state.value for state in set(query.states))))
    if query.engine is not None:
        found.append(engine == _plain(query.engine, "engine"))
    if query.user is not None:
        found.append(user == _plain(query.user, "user"))
    if query.since is not None:
        found.append(created >= query.since)
    if query.until is not None:
        found.append(created < query.until)
    return found


def _text(text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise InvalidInput(
            f"a text of {len(text)} characters is too long to look for",
            hint=f"give {_MAX_TEXT} characters at most",
        )
    return _plain(text, "text").casefold()


def _plain(text: str, what: str) -> str:
    """``text``, if a database can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the {what} to look for is not valid Unicode") from error
    if "\0" in text:
        raise InvalidInput(f"the {what} to look for has a NUL character")
    return text


def _place(query: TaskQuery) -> _Place:
    """The place in the cursor of ``query``; InvalidInput where it is not one of ours."""
    cursor = query.cursor or ""
    wrong = InvalidInput(
        f"{cursor[:40]!r} is no cursor of this list",
        hint="send the cursor of the page before with the same sort and direction, or none",
    )
    if len(cursor) > _MAX_CURSOR:
        raise wrong
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        place = _places.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.MsgspecError, UnicodeError) as error:
        raise wrong from error
    is_text = isinstance(place.value, str)
    if (
        (place.sort, place.descending) != (query.sort, query.descending)
        or is_text != (query.sort == "name")
        or not -_LARGEST <= place.seq < _LARGEST
        or (isinstance(place.value, str) and "\0" in place.value)
        or (query.sort in {"size", "priority"} and not _is_whole(place.value))
    ):
        raise wrong
    return place


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and -_LARGEST <= value < _LARGEST

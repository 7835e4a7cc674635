"""Checks of integrity, their findings and the starts of the service; and receipts by path."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bot.domain.integrity import Check, CheckScope, CheckState, Condition, Finding, Order, Start
from bot.domain.task import Receipt, StageKind, TaskState
from bot.errors import InvalidInput
from bot.store import rows
from bot.store.backend import Backend, Values
from bot.store.schema import checks, findings, receipts, starts, tasks


class _Body(msgspec.Struct, omit_defaults=True):
    """What a check has besides its columns."""

    order: Order
    receipts: int = 0
    undecided: int = 0
    cursor: str | None = None
    error: str | None = None


class _Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a walk over receipts goes on: after this one."""

    finished_at: float
    task: str


class _DoneStage(msgspec.Struct):
    kind: str
    result: dict[str, Any] = {}


class _Journal(msgspec.Struct):
    """The body of a task, as far as it is needed here."""

    stages: list[_DoneStage] = []


class Granted(msgspec.Struct, frozen=True):
    """A receipt, whose it is, and what the destination said of its files (see ``Inspection``)."""

    receipt: Receipt
    user: str
    hashes: Mapping[str, Mapping[str, str]] = {}


class RecoveryStore:
    """Over the database of the store."""

    def __init__(self, database: Backend) -> None:
        self._database = database

    # Receipts

    async def granted(self, order: Order, limit: int) -> tuple[list[Granted], str | None]:
        """The next receipts that ``order`` asks for, newest first, and the cursor after them; None
        at the end. Where two receipts have one path, the newer one speaks for it.
        """
        source = receipts.outerjoin(tasks, tasks.c.id == receipts.c.task)
        query = sa.select(*receipts.c, tasks.c.body.label("journal")).select_from(source)
        query = query.where(*_wanted(order), ~_superseded())
        if order.cursor is not None:
            place = _place(order.cursor)
            here = sa.tuple_(receipts.c.finished_at, receipts.c.task)
            query = query.where(
                here < sa.tuple_(sa.literal(place.finished_at), sa.literal(place.task))
            )
        query = query.order_by(receipts.c.finished_at.desc(), receipts.c.task.desc())
        found = [_granted(row) for row in await self._database.read(query.limit(limit))]
        if len(found) < limit:
            return found, None
        last = found[-1].receipt
        return found, msgspec.json.encode(_Place(last.finished_at, last.task)).decode()

    async def newer(self, path: str, than: Receipt) -> bool:
        """Whether a later delivery put something at ``path`` or at a folder that holds it."""
        query = sa.select(receipts.c.task).where(
            receipts.c.path.in_(_upwards(path)), receipts.c.finished_at > than.finished_at
        )
        return bool(await self._database.read(query.limit(1)))

    async def receipt(self, task_id: str) -> tuple[Receipt, str] | None:
        """The receipt of a task, and whose it is."""
        query = sa.select(receipts).where(receipts.c.task == task_id)
        found = await self._database.read(query)
        return (rows.receipt_of(found[0]), str(found[0]["user"])) if found else None

    # Checks

    async def add_check(self, check: Check) -> None:
        """Store a new check."""
        await self._database.insert(checks, [_check_row(check)])

    async def save_check(self, check: Check, new: Sequence[Finding] = ()) -> None:
        """Store how far a check is, and what it found since; both or nothing."""
        values = _check_row(check)
        statements: list[sa.UpdateBase] = [
            sa.update(checks).where(checks.c.id == check.id).values(values)
        ]
        statements += [
            sa.insert(findings).values(check_id=check.id, **msgspec.structs.asdict(finding))
            for finding in new
        ]
        await self._database.write(*statements)

    async def check(self, check_id: str) -> Check | None:
        """A check, or None."""
        found = await self._database.read(sa.select(checks).where(checks.c.id == check_id))
        return _check(found[0]) if found else None

    async def checks(
        self,
        *,
        limit: int,
        user: str | None = None,
        before: str | None = None,
        scope: CheckScope | None = None,
        states: Sequence[CheckState] = (),
    ) -> list[Check]:
        """The newest checks, of one user or of all; ``before`` is the last id of a page."""
        query = sa.select(checks).order_by(checks.c.id.desc()).limit(limit)
        if user is not None:
            query = query.where(checks.c.user == user)
        if before is not None:
            query = query.where(checks.c.id < before)
        if scope is not None:
            query = query.where(checks.c.scope == scope.value)
        if states:
            query = query.where(checks.c.state.in_([state.value for state in states]))
        return [_check(row) for row in await self._database.read(query)]

    async def outcomes(self, user: str | None) -> tuple[int, int]:
        """How many checks found nothing wrong, and how many came to an end."""
        sound = sa.func.sum(sa.case((checks.c.wrong == 0, 1), else_=0)).label("sound")
        figures: list[sa.ColumnElement[Any]] = [sa.func.count().label("ended"), sound]
        query = sa.select(*figures).where(
            checks.c.state.in_([CheckState.DONE.value, CheckState.PARTIAL.value])
        )
        if user is not None:
            query = query.where(checks.c.user == user)
        row = (await self._database.read(query))[0]
        return int(row["sound"] or 0), int(row["ended"])

    async def findings(self, check_id: str, *, after: int, limit: int) -> list[Finding]:
        """What a check found, from the number after ``after`` on."""
        query = (
            sa.select(findings)
            .where(findings.c.check_id == check_id, findings.c.number > after)
            .order_by(findings.c.number)
            .limit(limit)
        )
        return [_finding(row) for row in await self._database.read(query)]

    async def findings_of(
        self, check_ids: Collection[str], user: str | None, *, after: int, limit: int
    ) -> dict[str, list[Finding]]:
        """What several checks found, of each as ``findings``; in one query. Those of that user
        alone, where one is named."""
        place = sa.func.row_number().over(
            partition_by=findings.c.check_id, order_by=findings.c.number
        )
        known = sa.select(checks.c.id).where(checks.c.id.in_(check_ids))
        if user is not None:
            known = known.where(checks.c.user == user)
        numbered = (
            sa.select(findings, place.label("place"))
            .where(findings.c.check_id.in_(known), findings.c.number > after)
            .subquery()
        )
        query = (
            sa.select(numbered)
            .where(numbered.c.place <= limit)
            .order_by(numbered.c.check_id, numbered.c.number)
        )
        found: dict[str, list[Finding]] = {each: [] for each in check_ids}
        for row in await self._database.read(query):
            found[row["check_id"]].append(_finding(row))
        return found

    async def prune(self, keep: int) -> None:
        """Forget all but the newest ``keep`` checks and as many starts."""
        for table in (checks, starts):
            query = sa.select(table.c.id).order_by(table.c.id.desc()).offset(keep).limit(1)
            found = await self._database.read(query)
            if not found:
                continue
            last = found[0]["id"]
            statements = [sa.delete(table).where(table.c.id <= last)]
            if table is checks:
                statements.append(sa.delete(findings).where(findings.c.check_id <= last))
            await self._database.write(*statements)

    # Starts

    async def add_start(self, start: Start) -> None:
        """Store a new start."""
        await self._database.insert(starts, [_start_row(start)])

    async def save_start(self, start: Start) -> None:
        """Store how far a start is, or its end."""
        row = _start_row(start)
        await self._database.write(sa.update(starts).where(starts.c.id == start.id).values(row))

    async def drop_start(self, start_id: str) -> None:
        """Forget a start."""
        await self._database.write(sa.delete(starts).where(starts.c.id == start_id))

    async def starts(self, *, limit: int, before: str | None = None) -> list[Start]:
        """The newest starts."""
        query = sa.select(starts).order_by(starts.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(starts.c.id < before)
        return [_start(row) for row in await self._database.read(query)]

    async def unended(self) -> list[Start]:
        """The starts whose end was never seen."""
        query = sa.select(starts).where(starts.c.ended_at.is_(None)).order_by(starts.c.id)
        return [_start(row) for row in await self._database.read(query)]

    # Figures

    async def ended_since(self, since: float, user: str | None) -> dict[TaskState, int]:
        """How many tasks ended how since then (UNIX seconds)."""
        ends = [TaskState.DONE, TaskState.FAILED]
        query = (
            sa.select(tasks.c.state, sa.func.count().label("n"))
            .where(tasks.c.updated_at >= since, tasks.c.state.in_([s.value for s in ends]))
            .group_by(tasks.c.state)
        )
        if user is not None:
            query = query.where(tasks.c.user == user)
        counts = dict.fromkeys(ends, 0)
        for row in await self._database.read(query):
            counts[TaskState(row["state"])] = int(row["n"])
        return counts


def _wanted(order: Order) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if order.owner is not None:
        conditions.append(receipts.c.user == order.owner)
    if order.scope is CheckScope.TASK:
        conditions.append(receipts.c.task == order.target)
    if order.scope is CheckScope.PATH and order.target is not None:
        below = f"{order.target.rstrip('/')}/" if not order.target.endswith(":") else order.target
        start = sa.func.substr(receipts.c.path, 1, len(below))
        conditions.append(receipts.c.path.in_(_upwards(order.target)) | (start == below))
    return conditions


def _superseded() -> sa.ColumnElement[bool]:
    later = receipts.alias("later")
    return sa.exists().where(
        later.c.path == receipts.c.path, later.c.finished_at > receipts.c.finished_at
    )


def _upwards(path: str) -> list[str]:
    """The path itself and every folder above it."""
    found = [path]
    while "/" in path.rstrip("/"):
        path = path.rstrip("/").rpartition("/")[0]
        found.append(path or "/")
    return found


def _place(cursor: str) -> _Place:
    try:
        return msgspec.json.decode(cursor, type=_Place)
    except msgspec.MsgspecError as error:
        raise InvalidInput("the check can't be gone on with: its place is not known") from error


def _granted(row: Values) -> Granted:
    hashes: Mapping[str, Mapping[str, str]] = {}
    if row["journal"] is not None:
        stages = msgspec.json.decode(row["journal"], type=_Journal).stages
        for stage in stages:
            if stage.kind == StageKind.DELIVER:
                hashes = stage.result.get("detail", {}).get("hashes") or {}
    return Granted(rows.receipt_of(row), str(row["user"]), hashes)


def _check_row(check: Check) -> dict[str, Any]:
    order = check.order
    body = _Body(order, check.receipts, check.undecided, check.cursor, check.error)
    return {
        "id": check.id,
        "user": check.user,
        "owner": order.owner,
        "scope": order.scope.value,
        "target": order.target,
        "state": check.state.value,
        "started_at": check.started_at,
        "finished_at": check.finished_at,
        "seconds": check.seconds,
        "files": check.files,
        "bytes": check.bytes,
        "wrong": check.wrong,
        "findings": check.findings,
        "body": _encoded(body),
    }


def _check(row: Values) -> Check:
    body = msgspec.json.decode(row["body"], type=_Body)
    return Check(
        id=row["id"],
        user=row["user"],
        order=body.order,
        started_at=row["started_at"],
        state=CheckState(row["state"]),
        finished_at=row["finished_at"],
        seconds=row["seconds"],
        receipts=body.receipts,
        files=row["files"],
        bytes=row["bytes"],
        wrong=row["wrong"],
        undecided=body.undecided,
        findings=row["findings"],
        cursor=body.cursor,
        error=body.error,
    )


def _finding(row: Values) -> Finding:
    return Finding(
        number=row["number"],
        condition=Condition(row["condition"]),
        path=row["path"],
        task=row["task"],
        expected=row["expected"],
        found=row["found"],
    )


def _start_row(start: Start) -> dict[str, Any]:
    return {
        "id": start.id,
        "started_at": start.started_at,
        "ended_at": start.ended_at,
        "body": _encoded(start),
    }


def _start(row: Values) -> Start:
    return msgspec.json.decode(row["body"], type=Start)


def _encoded(body: msgspec.Struct) -> str:
    return msgspec.json.encode(body).decode()

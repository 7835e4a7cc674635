"""Checks of what was delivered, what the last start found, and fetching again what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from bot.domain.integrity import (
    REFETCHABLE,
    Check,
    CheckScope,
    CheckState,
    Finding,
    Order,
    Start,
)
from bot.domain.ports import Clock, TaskStore
from bot.domain.task import Receipt, StageKind, StepSpec, Task, TaskOptions, TaskState
from bot.engines.local_roots import Roots
from bot.errors import Conflict, InvalidInput, NotFound, PolicyRefused
from bot.operations.integrity import Integrity
from bot.operations.recovery import Starts
from bot.services.callers import Caller, Scope
from bot.services.submissions import Submission
from bot.services.tasks import Tasks
from bot.store.recovery import RecoveryStore
from bot.transfers.jobs import deliver_job, source_stage, stage_of

_DAY = 86400.0
_UNCHANGED = frozenset({StageKind.FETCH, StageKind.DELIVER, StageKind.VERIFY, StageKind.SEED})


class Rate(msgspec.Struct, frozen=True):
    """How many of ``total`` ended well."""

    good: int
    total: int

    @property
    def ratio(self) -> float | None:
        """From 0 to 1; None where there are none."""
        return self.good / self.total if self.total else None


class Status(msgspec.Struct, frozen=True):
    """The last start, how tasks and checks fare, and the last check of files and of the data."""

    start: Start
    tasks: dict[str, Rate]
    checks: Rate
    last_check: Check | None
    last_data_check: Check | None
    running: Check | None


class Recovery:
    """A caller without the scope ``admin`` checks and sees what belongs to own tasks only."""

    def __init__(
        self,
        *,
        store: RecoveryStore,
        task_store: TaskStore,
        integrity: Integrity,
        starts: Starts,
        tasks: Tasks,
        clock: Clock,
        roots: Sequence[Path],
    ) -> None:
        self._store = store
        self._task_store = task_store
        self._integrity = integrity
        self._starts = starts
        self._tasks = tasks
        self._clock = clock
        self._roots = Roots(roots)

    # Checks

    async def verify(
        self,
        caller: Caller,
        *,
        path: str | None = None,
        task: str | None = None,
        everything: bool = False,
        data: bool = False,
        limit: int | None = None,
        read_back: bool | None = None,
    ) -> Check:
        """Begin a check of one thing: a path, a task, everything, or the data directory (admins).

        ``read_back`` None reads back from remotes where one path or task is named. Conflict while
        another check runs.
        """
        caller.require(Scope.OPERATE)
        if sum((path is not None, task is not None, everything, data)) != 1:
            raise InvalidInput("name one thing to check", hint="path, task, all or data")
        owner = None if caller.scope is Scope.ADMIN else caller.user
        if data:
            caller.require(Scope.ADMIN)
            return await self._integrity.start(caller.user, Order(CheckScope.DATA))
        if everything:
            order = Order(CheckScope.ALL, None, owner, limit, bool(read_back))
        elif task is not None:
            await self._own_receipt(caller, task)
            order = Order(CheckScope.TASK, task, owner, None, read_back is not False)
        else:
            target = self._target(path or "")
            order = Order(CheckScope.PATH, target, owner, limit, read_back is not False)
        return await self._integrity.start(caller.user, order)

    async def resume(self, caller: Caller, check_id: str) -> Check:
        """Begin a check where an earlier one was cut off. Conflict where nothing is left to do."""
        caller.require(Scope.OPERATE)
        earlier = await self._seen(caller, check_id)
        if earlier.cursor is None or earlier.state is CheckState.RUNNING:
            raise Conflict(
                f"the check {check_id} is {earlier.state} and has nothing left",
                hint="one that was interrupted, cancelled or limited can be gone on with",
            )
        owner = None if caller.scope is Scope.ADMIN else caller.user
        order = msgspec.structs.replace(earlier.order, cursor=earlier.cursor, owner=owner)
        return await self._integrity.start(caller.user, order)

    async def cancel(self, caller: Caller, check_id: str) -> Check:
        """End a check; what it found so far stays."""
        caller.require(Scope.OPERATE)
        await self._seen(caller, check_id)
        await self._integrity.cancel(check_id)
        return await self._integrity.show(check_id)

    async def check(self, caller: Caller, check_id: str, wait: float = 0.0) -> Check:
        """One check, as soon as it is over, at last after ``wait`` seconds."""
        caller.require(Scope.VIEW)
        found = await self._seen(caller, check_id)
        if found.state is CheckState.RUNNING and wait > 0:
            await self._integrity.wait(check_id, wait)
            found = await self._integrity.show(check_id)
        return found

    async def findings(
        self, caller: Caller, check_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Finding]:
        """What a check found, from the number after ``after`` on."""
        caller.require(Scope.VIEW)
        await self._seen(caller, check_id)
        return await self._store.findings(check_id, after=after, limit=limit)

    async def findings_of(
        self, caller: Caller, check_ids: Collection[str], *, after: int, limit: int
    ) -> dict[str, list[Finding]]:
        """What several checks found, of each as ``findings``; none of one that is not to be
        seen."""
        caller.require(Scope.VIEW)
        user = None if caller.scope is Scope.ADMIN else caller.user
        return await self._store.findings_of(check_ids, user, after=after, limit=limit)

    async def checks(self, caller: Caller, *, limit: int, before: str | None) -> list[Check]:
        """The newest checks; ``before`` is the last id of the page before."""
        caller.require(Scope.VIEW)
        user = None if caller.sees_all else caller.user
        found = await self._store.checks(limit=limit, user=user, before=before)
        running = self._integrity.running
        return [running if running and each.id == running.id else each for each in found]

    async def _seen(self, caller: Caller, check_id: str) -> Check:
        check = await self._integrity.show(check_id)
        if not caller.sees_all and check.user != caller.user:
            raise NotFound(f"there is no check {check_id!r}", hint="recovery/history has them")
        return check

    async def _own_receipt(self, caller: Caller, task_id: str) -> tuple[Receipt, str]:
        found = await self._store.receipt(task_id)
        if found is None or (not caller.sees_all and found[1] != caller.user):
            raise NotFound(
                f"there is no receipt of a task {task_id!r}", hint="tasks that are done have one"
            )
        return found

    def _target(self, path: str) -> str:
        """A path as receipts have it. PolicyRefused where it leads out of the local roots.

        The last name is not followed: it may be the link that somebody put in the place of a file.
        """
        if any(ord(character) < 32 for character in path) or ".." in path.split("/"):
            raise PolicyRefused(
                f"{path[:200]!r} holds '..' or a control character", hint="write the path itself"
            )
        if not path.startswith("/"):
            return path
        head, _, leaf = path.rstrip("/").rpartition("/")
        if leaf in {"", ".", ".."}:
            return self._roots.locate(path).path
        try:
            parent = self._roots.locate(head or "/").path
        except PolicyRefused:
            return self._roots.locate(path).path
        return f"{parent.rstrip('/')}/{leaf}"

    # What was found wrong

    async def refetch(self, caller: Caller, check_id: str, number: int) -> Task:
        """Fetch again what a finding is about, to where it was: what lies there is replaced once
        the new one is whole. Asked twice, the same task.

        Conflict where that would not put it right, or could replace something else.
        """
        caller.require(Scope.OPERATE)
        found = await self.findings(caller, check_id, after=number - 1, limit=1)
        if not found or found[0].number != number:
            raise NotFound(f"the check {check_id} has no finding {number}")
        finding = found[0]
        if finding.task is None or finding.condition not in REFETCHABLE:
            raise Conflict(
                f"{finding.path} is {finding.condition}: fetching it again would not change that"
            )
        receipt, owner = await self._own_receipt(caller, finding.task)
        wanted = _again(receipt, await self._task_store.get(finding.task))
        return await self._tasks.submit(
            Caller(owner, caller.scope), wanted, key=f"refetch:{check_id}:{number}"
        )

    # The service

    async def status(self, caller: Caller) -> Status:
        """How the service started, and how tasks and checks fare."""
        caller.require(Scope.VIEW)
        user = None if caller.sees_all else caller.user
        now = self._clock.now()
        counts = await self._task_store.count(user)
        rates = {"all": _rate(counts)}
        for name, seconds in (("day", _DAY), ("week", 7 * _DAY)):
            rates[name] = _rate(await self._store.ended_since(now - seconds, user))
        last = await self._store.checks(limit=1, user=user)
        data = await self._store.checks(limit=1, scope=CheckScope.DATA, user=user)
        return Status(
            start=_own(self._starts.current, user),
            tasks=rates,
            checks=Rate(*await self._store.outcomes(user)),
            last_check=last[0] if last else None,
            last_data_check=data[0] if data else None,
            running=self._integrity.running if user is None else None,
        )

    async def starts(self, caller: Caller, *, limit: int, before: str | None) -> list[Start]:
        """The newest starts; without the scope ``admin`` with own tasks only."""
        caller.require(Scope.VIEW)
        user = None if caller.sees_all else caller.user
        return [_own(start, user) for start in await self._store.starts(limit=limit, before=before)]


def _rate(counts: dict[TaskState, int]) -> Rate:
    done, failed = counts[TaskState.DONE], counts[TaskState.FAILED]
    return Rate(done, done + failed)


def _own(start: Start, user: str | None) -> Start:
    """What that user may see of a start: own tasks, and no paths."""
    if user is None:
        return start
    resumed = [each for each in start.recovery.resumed if each.user == user]
    recovery = msgspec.structs.replace(
        start.recovery, resumed=resumed, workspaces=[], checks=[], failed=[]
    )
    return msgspec.structs.replace(start, recovery=recovery)


def _again(receipt: Receipt, task: Task | None) -> Submission:
    """The submission that brings the same files to the same place."""
    leaf = (receipt.path or "").rstrip("/").rpartition("/")[2].rpartition(":")[2]
    options = TaskOptions() if task is None else task.options
    steps: list[StepSpec] = [] if task is None else task.steps
    if not steps and set(receipt.steps) - {str(kind) for kind in _UNCHANGED}:
        raise Conflict(
            f"task {receipt.task} is forgotten, and with it the parameters of its steps",
            hint="submit its source again, with its steps and overwrite=replace",
        )
    wished = None if task is None else _wished(task)
    if steps and wished != leaf:
        raise Conflict(
            f"{receipt.path} has a name of its own because another was taken; going through the "
            "steps again would replace that other",
            hint="submit its source again, with its steps",
        )
    if wished != leaf:
        options = msgspec.structs.replace(options, name=leaf)
    # Through the disk, where it is compared before anything at the destination is touched.
    options = msgspec.structs.replace(options, overwrite="replace", stream=False)
    if not steps and receipt.sha256 is not None and options.checksum is None:
        options = msgspec.structs.replace(options, checksum=f"sha256:{receipt.sha256}")
    return Submission(receipt.source, receipt.destination, options, steps, again=True)


def _wished(task: Task) -> str | None:
    """The name that a delivery of this task would have where nothing is in its way."""
    deliver = stage_of(task, StageKind.DELIVER)
    if deliver is None or source_stage(task, deliver) is None:
        return None
    job = deliver_job(task, deliver, _nothing)
    return job.name or (job.files[0].path if job.files else None)


async def _nothing(token: dict[str, object]) -> None:
    """A checkpoint of a job that is not run."""

"""Starts of the service, and checks of what was delivered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from bot.domain import integrity as domain
from bot.graphql.context import FindingsOf
from bot.graphql.declaring import (
    Asked,
    BigInt,
    argument,
    described,
    instant,
    moment,
    resolver,
    said,
)
from bot.graphql.enums import CheckScope, CheckState, Condition
from bot.graphql.paging import page_size
from bot.graphql.types.tasks import Task
from bot.services.recovery import Rate as DomainRate
from bot.services.recovery import Status


@described
class Finding:
    """What a check found."""

    number: int = said("Counts from 1 in its check.")
    condition: Condition = said("What is the matter.")
    path: str = said("With which file.")
    task_id: strawberry.ID | None = said("The task that delivered it.")
    expected: str | None = said("What should be there.")
    found: str | None = said("What is there.")

    @resolver
    async def task(self, info: Asked) -> Task | None:
        """The task that delivered it, where it is still known."""
        if self.task_id is None:
            return None
        view = await info.context.tasks.load(str(self.task_id))
        return None if view is None else Task.of(view)

    @classmethod
    def of(cls, found: domain.Finding) -> Finding:
        """As the schema has it."""
        return cls(
            number=found.number,
            condition=found.condition,
            path=found.path,
            task_id=None if found.task is None else strawberry.ID(found.task),
            expected=found.expected,
            found=found.found,
        )


@described
class Check:
    """A check of files, or of the data directory."""

    id: strawberry.ID = said("Stable and unique.")
    user: str = said("Who asked for it.")
    scope: CheckScope = said("What it looks at.")
    target: str | None = said("The path or the task that it is about.")
    state: CheckState = said("How far it is.")
    started_at: datetime = said("When it began.")
    finished_at: datetime | None = said("When it ended.")
    seconds: float = said("How long it ran.")
    receipts: int = said("Receipts that were looked at.")
    files: int = said("Files that were looked at.")
    bytes: BigInt = said("Bytes that were compared.")
    wrong: int = said("Files that are known to be wrong.")
    undecided: int = said("Files with nothing to compare with.")
    resumable: bool = said("Whether there is something left to do.")
    error: str | None = said("Why it failed.")

    @resolver
    async def findings(
        self,
        info: Asked,
        first: Annotated[int, argument("How many at most, from 1 to 500.")] = 100,
        after: Annotated[int, argument("The number of the finding before.")] = 0,
    ) -> list[Finding]:
        """What it found, in order."""
        wanted = FindingsOf(str(self.id), after, page_size(first))
        found = await info.context.findings.load(wanted)
        return [Finding.of(each) for each in found]

    @classmethod
    def of(cls, found: domain.Check) -> Check:
        """As the schema has it."""
        over = found.state is not CheckState.RUNNING
        return cls(
            id=strawberry.ID(found.id),
            user=found.user,
            scope=found.order.scope,
            target=found.order.target,
            state=found.state,
            started_at=instant(found.started_at),
            finished_at=moment(found.finished_at),
            seconds=found.seconds,
            receipts=found.receipts,
            files=found.files,
            bytes=found.bytes,
            wrong=found.wrong,
            undecided=found.undecided,
            resumable=over and found.cursor is not None,
            error=found.error,
        )


@described
class Rate:
    """How many ended well."""

    name: str = said("Of what: `all`, `day` or `week`; or `checks`.")
    good: int = said("How many ended well.")
    total: int = said("Of how many.")
    ratio: float | None = said("From 0 to 1; null where there are none.")

    @classmethod
    def of(cls, name: str, found: DomainRate) -> Rate:
        """As the schema has it."""
        return cls(name=name, good=found.good, total=found.total, ratio=found.ratio)


@described
class ResumedTask:
    """A task that was under way when the service ended."""

    task_id: strawberry.ID = said("Which.")
    user: str = said("Whose.")
    stage: str = said("The stage that it was in.")
    kept: BigInt = said("Bytes of it that were on the disk.")


@described
class Start:
    """One start of the service, and what it settled."""

    id: strawberry.ID = said("Stable and unique.")
    started_at: datetime = said("When.")
    version: str = said("Of the program.")
    clean: bool = said("Whether every earlier run had ended as it should.")
    killed: bool = said("Whether this run did not end as it should.")
    ended_at: datetime | None = said("When it ended, or when that was found out.")
    resumed: list[ResumedTask] = said("Tasks that went on.")
    workspaces: list[str] = said("Tasks whose leftover directories were removed.")
    failed: list[str] = said("What could not be cleaned, and why.")

    @classmethod
    def of(cls, found: domain.Start) -> Start:
        """As the schema has it."""
        return cls(
            id=strawberry.ID(found.id),
            started_at=instant(found.started_at),
            version=found.version,
            clean=found.clean,
            killed=found.killed,
            ended_at=moment(found.ended_at),
            resumed=[
                ResumedTask(
                    task_id=strawberry.ID(each.task),
                    user=each.user,
                    stage=each.stage,
                    kept=each.kept,
                )
                for each in found.recovery.resumed
            ],
            workspaces=found.recovery.workspaces,
            failed=found.recovery.failed,
        )


@described
class RecoveryStatus:
    """What the last start found, and how tasks and checks fare."""

    start: Start = said("The last start.")
    tasks: list[Rate] = said("How many tasks were delivered, of those that ended.")
    checks: Rate = said("How many checks found nothing wrong.")
    last_check: Check | None = said("The newest check.")
    last_data_check: Check | None = said("The newest check of the data directory.")
    running: Check | None = said("The check that is under way.")

    @classmethod
    def of(cls, found: Status) -> RecoveryStatus:
        """As the schema has it."""
        return cls(
            start=Start.of(found.start),
            tasks=[Rate.of(name, rate) for name, rate in found.tasks.items()],
            checks=Rate.of("checks", found.checks),
            last_check=None if found.last_check is None else Check.of(found.last_check),
            last_data_check=None
            if found.last_data_check is None
            else Check.of(found.last_data_check),
            running=None if found.running is None else Check.of(found.running),
        )

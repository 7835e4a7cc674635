"""Backups of the state, for admins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.errors import NotFound, Unavailable
from bot.operations.backup_catalog import Record
from bot.operations.backup_jobs import Failed, Job
from bot.operations.backup_restore import Outcome, Prepared
from bot.operations.backup_seal import Keys
from bot.operations.backups import Backups as Maker
from bot.services.callers import Caller, Scope


@dataclass(frozen=True, slots=True)
class BackupStats:
    """The backups as a whole; sizes in bytes, ages and intervals in seconds."""

    directory: Path
    destinations: Sequence[str]
    interval: float
    encrypted: bool
    records: Sequence[Record]
    age: float | None
    running: Job | None
    last_failure: Failed | None


class Backups:
    """What can be done with backups."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker

    async def list(self, caller: Caller, *, remotes: bool = False) -> Sequence[Record]:
        """Every backup, newest first; with ``remotes`` they are asked what they hold."""
        caller.require(Scope.ADMIN)
        return await self._maker.list(remotes=remotes)

    def show(self, caller: Caller, name: str) -> Record:
        """What is known of one. NotFound."""
        caller.require(Scope.ADMIN)
        return self._maker.catalog.get(name)

    async def create(self, caller: Caller, within: float) -> Record | Job:
        """Make a backup; the job where that takes longer than so many seconds. Conflict."""
        caller.require(Scope.ADMIN)
        found: Record | Job = await _settled(self._maker.create(), within)
        return found

    async def verify(
        self, caller: Caller, name: str, keys: Keys | None, within: float
    ) -> Record | Job:
        """Restore one into a scratch place and open it; the job where that takes longer."""
        caller.require(Scope.ADMIN)
        found: Record | Job = await _settled(self._maker.verify(name, keys), within)
        return found

    async def delete(self, caller: Caller, name: str) -> None:
        """Remove one, here and at the remotes. NotFound, Conflict."""
        caller.require(Scope.ADMIN)
        await self._maker.delete(name)

    def file(self, caller: Caller, name: str) -> Path:
        """The archive, to hand out. NotFound where it does not lie here."""
        caller.require(Scope.ADMIN)
        path = self._maker.catalog.path(name)
        if not self._maker.catalog.get(name).local:
            raise NotFound(f"the backup {name} does not lie here", hint="fetch it from its remote")
        return path

    async def restore(
        self, caller: Caller, name: str, keys: Keys | None, *, config: bool, within: float
    ) -> str:
        """Check a backup, and have it take the place of the state; the id of the restore.

        It goes on by itself where checking takes longer than so many seconds; ``last_restore``
        tells how it ended. Corrupt, NotFound, Conflict, Unavailable.
        """
        caller.require(Scope.ADMIN)
        if not self._maker.restores:
            raise Unavailable(
                "this process can't change its state while it runs",
                hint="stop it, and use mltb backup restore",
            )
        restore, job = self._maker.restore(name, keys, config=config)
        await _settled(job, within)
        return restore

    def last_restore(self, caller: Caller) -> Outcome | None:
        """How the last restore ended; None of none."""
        caller.require(Scope.ADMIN)
        return self._maker.restorer.outcome

    async def restore_wanted(self) -> Prepared:
        """For the process that hosts the service: wait for a backup to put in place."""
        return await self._maker.restore_wanted()

    def restored(self, outcome: Outcome) -> None:
        """Tell everybody how a restore before this start ended."""
        self._maker.tell_restored(outcome)

    def stats(self, caller: Caller) -> BackupStats:
        """The backups as a whole."""
        caller.require(Scope.ADMIN)
        maker = self._maker
        return BackupStats(
            directory=maker.catalog.directory,
            destinations=maker.remotes.destinations,
            interval=maker.options.interval,
            encrypted=bool(maker.options.lock),
            records=maker.catalog.records(),
            age=maker.age(),
            running=maker.jobs.running,
            last_failure=maker.jobs.last_failure,
        )


async def _settled(job: Job, within: float) -> Any:
    """The result of a job, or the job itself where that takes longer."""
    try:
        return await job.result(within)
    except TimeoutError:
        return job

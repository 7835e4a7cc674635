"""Where backups are kept: their copies at remotes, and what is let go."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from bot.domain import events
from bot.domain.ports import Clock
from bot.errors import MltbError, TransferError
from bot.operations import backup_names as names
from bot.operations.backup_catalog import Catalog, Record
from bot.operations.backup_jobs import Job
from bot.operations.backup_remotes import Remotes
from bot.operations.backup_retention import Candidate, Policy, surplus

log = logging.getLogger(__name__)


class Keeper:
    """Copies backups to the remotes, and removes what ``policy`` lets go."""

    def __init__(
        self,
        catalog: Catalog,
        remotes: Remotes,
        policy: Policy,
        clock: Clock,
        publish: Callable[[events.Event], None],
    ) -> None:
        self._catalog = catalog
        self._remotes = remotes
        self._policy = policy
        self._clock = clock
        self._publish = publish

    async def copy_out(self, job: Job, record: Record) -> None:
        """Copy to every remote that has none yet; a failure is noted, and tried again later."""
        for destination in self._remotes.destinations:
            copy = record.copies.get(destination)
            if copy is not None and copy.done:
                continue
            job.report(f"copying to {destination}", 0, record.size or 0)
            try:
                await self._remotes.put(record, self._catalog, destination)
            except MltbError as error:
                log.warning("backup: %s is not at %s: %s", record.name, destination, error)
                message = f"{record.name} is not at {destination}: {error.message}"
                self._publish(events.BackupFailed(self._clock.now(), error.code, message))
                continue
            record.copies[destination].at = self._clock.now()
            self._catalog.note(record)

    async def forget_surplus(self) -> None:
        """Remove what the policy lets go, here and at the remotes."""
        records = {record.name: record for record in self._catalog.records()}
        here = [_candidate(record) for record in records.values() if record.local]
        for name in surplus(here, self._policy):
            log.info("backup: %s goes", name)
            elsewhere = any(copy.done for copy in records[name].copies.values())
            self._catalog.remove(name, notes=not elsewhere)
        for destination in self._remotes.destinations:
            with contextlib.suppress(TransferError):  # The next backup tries again.
                await self._forget_at(destination, records)

    async def _forget_at(self, destination: str, records: dict[str, Record]) -> None:
        there = await self._remotes.names(destination)
        known = [_candidate(records.get(n) or Record(n, names.made_at(n))) for n in there]
        for name in surplus(known, self._policy):
            log.info("backup: %s goes from %s", name, destination)
            await self._remotes.remove(name, destination)
            record = self._catalog.find(name)
            if record is not None and record.copies.pop(destination, None) is not None:
                self._catalog.note(record)
            if self._catalog.find(name) is None:
                self._catalog.remove(name, notes=True)

    def uncopied(self) -> Record | None:
        """The newest backup, if a remote still lacks it."""
        newest = next((each for each in self._catalog.records() if each.local), None)
        if newest is None or newest.good is False:
            return None
        done = {place for place, copy in newest.copies.items() if copy.done}
        return newest if set(self._remotes.destinations) - done else None


def _candidate(record: Record) -> Candidate:
    return Candidate(record.name, record.created_at, record.good)

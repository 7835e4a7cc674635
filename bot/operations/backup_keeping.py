"""Where backups are kept: their copies at remotes, and what is let go."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bot.domain import events
from bot.domain.ports import Clock
from bot.errors import MltbError, TransferError
from bot.operations import backup_names as names
from bot.operations.backup_catalog import Catalog, Copy, Record
from bot.operations.backup_jobs import Job
from bot.operations.backup_remotes import Remotes
from bot.operations.backup_retention import Candidate, Policy, surplus

log = logging.getLogger(__name__)


class Taker(Protocol):
    """Somebody else who takes backups: a plugin."""

    @property
    def name(self) -> str:
        """What its copies are listed under."""

    async def take(self, record: Record, path: Path) -> None:
        """Take the archive at ``path``. Raises an MltbError."""


#: Gives those that can take a backup now.
Takers = Callable[[], Sequence[Taker]]


class Keeper:
    """Copies backups to the remotes, gives them to ``takers``, and lets go what ``policy`` does."""

    def __init__(
        self,
        catalog: Catalog,
        remotes: Remotes,
        policy: Policy,
        clock: Clock,
        publish: Callable[[events.Event], None],
        takers: Takers,
    ) -> None:
        self._catalog = catalog
        self._remotes = remotes
        self._policy = policy
        self._clock = clock
        self._publish = publish
        self._takers = takers

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

    async def hand_over(self, job: Job, record: Record) -> None:
        """Give it to everybody who takes backups and has not taken this one yet; a failure is
        noted, and tried again later."""
        for taker in self._takers():
            copy = record.copies.setdefault(taker.name, Copy(by_plugin=True))
            if copy.done:
                continue
            job.report(f"handing over to {taker.name}", 0, record.size or 0)
            try:
                await self._taken(taker, record)
            except MltbError as error:
                copy.error = error.message
                log.warning("backup: %s has not taken %s: %s", taker.name, record.name, error)
                message = f"{taker.name} has not taken {record.name}: {error.message}"
                self._publish(events.BackupFailed(self._clock.now(), error.code, message))
            else:
                copy.done, copy.error, copy.at = True, None, self._clock.now()
            self._catalog.note(record)

    async def _taken(self, taker: Taker, record: Record) -> None:
        """In two tries: the first may have met a connection that had ended meanwhile."""
        try:
            await taker.take(record, self._catalog.path(record.name))
        except MltbError as error:
            log.info("backup: %s fails, and is tried once more: %s", taker.name, error)
            await taker.take(record, self._catalog.path(record.name))

    async def forget_surplus(self) -> None:
        """Remove what the policy lets go, here and at the remotes."""
        records = {record.name: record for record in self._catalog.records()}
        here = [_candidate(record) for record in records.values() if record.local]
        for name in surplus(here, self._policy):
            log.info("backup: %s goes", name)
            self._catalog.remove(name, notes=not records[name].remote)
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
        """The newest backup, if a remote or a plugin still lacks it."""
        newest = next((each for each in self._catalog.records() if each.local), None)
        if newest is None or newest.good is False:
            return None
        done = {place for place, copy in newest.copies.items() if copy.done}
        wanted = {*self._remotes.destinations, *(taker.name for taker in self._takers())}
        return newest if wanted - done else None


def _candidate(record: Record) -> Candidate:
    return Candidate(record.name, record.created_at, record.good)

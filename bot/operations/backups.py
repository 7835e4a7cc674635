"""Backups of the state: made on a schedule and on demand, verified, kept, copied to remotes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bot import __version__
from bot.domain import events
from bot.domain.ports import Clock
from bot.errors import Conflict, Corrupt, MltbError, Unavailable
from bot.operations import backup_archive as archive
from bot.operations import backup_names as names
from bot.operations.backup_catalog import Catalog, Copy, Record, Verification, sync_directory
from bot.operations.backup_database import Database
from bot.operations.backup_jobs import Job, Jobs, interruptible
from bot.operations.backup_keeping import Keeper, Takers
from bot.operations.backup_open import Opened, opened_backup
from bot.operations.backup_remotes import Remotes
from bot.operations.backup_restore import Outcome, Prepared, Restorer
from bot.operations.backup_retention import Policy
from bot.operations.backup_seal import Keys, Lock
from bot.operations.backup_state import Part, gather, size_of

log = logging.getLogger(__name__)

_LOOK = 60.0  # seconds between two looks at the schedule
_RETRY = 900.0  # seconds after which what failed is tried again
_FIRST = 3600.0  # seconds after the start at which the first backup of all is made
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Options:
    """How backups are made. ``interval`` in seconds, 0 for on demand only; ``verify`` right after
    each was made, where ``keys`` open it."""

    interval: float
    policy: Policy
    lock: Lock
    keys: Keys
    verify: bool


class Backups:
    """``work`` is a directory for what is under way; it is emptied at the start."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        database: Database,
        parts: list[Part],
        remotes: Remotes,
        restorer: Restorer,
        options: Options,
        work: Path,
        clock: Clock,
        publish: Callable[[events.Event], None],
        takers: Takers = tuple,
    ) -> None:
        self.catalog = catalog
        self.database = database
        self.remotes = remotes
        self.restorer = restorer
        self.options = options
        self.jobs = Jobs(clock)
        self._parts = parts
        self._work = work
        self._clock = clock
        self._publish = publish
        self._keeper = Keeper(catalog, remotes, options.policy, clock, publish, takers)
        self._tried_at = 0.0
        self._newest: float | None = None
        self._schedule: asyncio.Task[None] | None = None
        self._restore: asyncio.Future[Prepared] | None = None

    def prepare(self) -> None:
        """Remove what a crash left half made."""
        shutil.rmtree(self._work, ignore_errors=True)
        self.catalog.prepare()
        self._look()

    def start(self) -> None:
        """Follow the schedule from now on."""
        self._tried_at = self._clock.monotonic()
        self._schedule = asyncio.create_task(self._follow(), name="backup schedule")

    async def stop(self) -> None:
        """End the schedule and what is under way; nothing half made is left."""
        if self._schedule is not None:
            self._schedule.cancel()
            await asyncio.wait([self._schedule])
        await self.jobs.stop()

    # What can be asked for

    def create(self) -> Job:
        """Make a backup; the Record is the result of the job. Conflict where one is under way."""
        encrypted = bool(self.options.lock)
        name = names.new_name(self._clock.now(), encrypted=encrypted)
        self._tried_at = self._clock.monotonic()
        return self.jobs.begin("create", name, self._create)

    def verify(self, name: str, keys: Keys | None = None) -> Job:
        """Restore a backup into a scratch place and open it; the Record is the result.

        Conflict where something is under way. The job fails with Corrupt where the backup is bad.
        """
        names.checked(name)
        return self.jobs.begin("verify", name, lambda job: self._verify(job, keys))

    def restore(self, name: str, keys: Keys | None, *, config: bool) -> tuple[str, Job]:
        """Open a backup for good: an id of the restore, and the job whose result is Prepared.

        Whoever waits in ``restore_wanted`` gets that, too. Conflict where something is under way.
        """
        names.checked(name)
        restore = secrets.token_hex(6)

        async def work(job: Job) -> Prepared:
            try:
                opened = await self._opened(job, keys, self._scratch("restore"))
            except MltbError as error:
                self.restorer.failed(restore, name, error)
                raise
            prepared = Prepared(restore, name, opened, config)
            if self._restore is not None and not self._restore.done():
                self._restore.set_result(prepared)
            return prepared

        return restore, self.jobs.begin("restore", name, work)

    @property
    def restores(self) -> bool:
        """Whether somebody waits in ``restore_wanted``: the process can change its state."""
        return self._restore is not None

    async def restore_wanted(self) -> Prepared:
        """Wait until a backup is ready to take the place of the state."""
        self._restore = asyncio.get_running_loop().create_future()
        return await self._restore

    def tell_restored(self, outcome: Outcome) -> None:
        """Tell everybody how a restore ended."""
        ok = outcome.state == "restored"
        self._publish(events.BackupRestored(self._clock.now(), outcome.name, ok, outcome.message))

    async def _opened(self, job: Job, keys: Keys | None, scratch: Path) -> Opened:
        """The backup of a job, whole and checked, in the new directory ``scratch``."""
        fetched = scratch.with_name(f"{scratch.name}-fetched")
        try:
            path = self.catalog.path(job.name)
            if not path.is_file():
                fetched.mkdir(mode=0o700, parents=True)
                job.report("fetching", 0, 0)
                path = await self.remotes.fetch(job.name, fetched)
            keys = keys or self.options.keys
            return await opened_backup(path, scratch, self.database, keys, job.report)
        except OSError as error:
            raise _translated(error, scratch, 0) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, fetched, ignore_errors=True)

    async def list(self, *, remotes: bool = False) -> list[Record]:
        """Every backup, newest first; with ``remotes`` they are asked what they hold.

        Raises a TransferError of a remote that does not answer.
        """
        records = {record.name: record for record in self.catalog.records()}
        for destination in self.remotes.destinations if remotes else ():
            for name, size in (await self.remotes.names(destination)).items():
                record = records.setdefault(name, Record(name, names.made_at(name), size=size))
                record.copies.setdefault(destination, Copy(done=True))
        return sorted(records.values(), key=lambda each: each.created_at, reverse=True)

    async def delete(self, name: str) -> None:
        """Remove a backup here and at every remote. NotFound; Conflict where it is under way, or
        the only one that is good."""
        names.checked(name)
        known = await self.list(remotes=bool(self.remotes.destinations))
        record = next((each for each in known if each.name == name), None)
        if record is None:
            record = self.catalog.get(name)
        if self.jobs.running is not None and self.jobs.running.name == name:
            raise Conflict(f"{self.jobs.running.kind} of {name} is under way")
        if record.good is not False and not any(
            each.good is not False for each in known if each.name != name
        ):
            raise Conflict(f"{name} is the only good backup", hint="make another one first")
        for destination in record.copies:
            if destination in self.remotes.destinations:
                await self.remotes.remove(name, destination)
        self.catalog.remove(name, notes=True)
        self._look()

    def age(self) -> float | None:
        """Seconds since the newest backup that is not known to be bad was made; None of none."""
        return None if self._newest is None else max(0.0, self._clock.now() - self._newest)

    def _look(self) -> None:
        """Look which is the newest."""
        made = [each.created_at for each in self.catalog.records() if each.good is not False]
        self._newest = max(made, default=None)

    # Making one

    async def _create(self, job: Job) -> Record:
        started = self._clock.monotonic()
        try:
            record = await self._made(job)
            record.seconds = round(self._clock.monotonic() - started, 3)
            self.catalog.note(record)
            self._look()
            log.info("backup: made %s, %d bytes", record.name, record.size)
            if self.options.verify and (self.options.keys or not record.encrypted):
                record = await self._verified(job, record, None)
        except MltbError as error:
            self._publish(events.BackupFailed(self._clock.now(), error.code, error.message))
            raise
        await self._keeper.copy_out(job, record)
        path = str(self.catalog.path(record.name))
        now, size, seconds = self._clock.now(), record.size or 0, record.seconds or 0.0
        self._publish(events.BackupMade(now, record.name, path, size, seconds))
        # After the word that it is made, which ends the alert that one was not.
        await self._keeper.hand_over(job, record)
        await self._keeper.forget_surplus()
        return record

    async def _made(self, job: Job) -> Record:
        staging = self._scratch("snapshot")
        database, part = self.database, self.catalog.part(job.name)
        try:
            await self._check_room(staging)
            copy = staging / database.copy_path
            copy.parent.mkdir(mode=0o700)
            revision = await database.snapshot(copy, job.report)
            job.report("collecting", 0, 0)
            await asyncio.to_thread(gather, self._parts, staging)
            members = await asyncio.to_thread(archive.members_of, staging)
            created = names.made_at(job.name)
            manifest = archive.Manifest(
                archive.FORMAT, __version__, database.kind, revision, created, members
            )

            def write(report: archive.Report) -> str:
                return archive.write(staging, manifest, part, self.options.lock, report)

            sha256 = await interruptible(write, job.report)
            path = part.rename(self.catalog.path(job.name))
            sync_directory(path.parent)
        except OSError as error:
            raise _translated(error, self.catalog.directory, size_of(self._parts)) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        return Record(
            job.name,
            created,
            size=path.stat().st_size,
            sha256=sha256,
            content=manifest.size,
            members=len(members),
            program=manifest.program,
            database=manifest.database,
            revision=revision,
            local=True,
        )

    async def _check_room(self, staging: Path) -> None:
        needed = await self.database.size() + await asyncio.to_thread(size_of, self._parts)
        if needed > archive.free_bytes(staging):
            raise archive.no_space(staging, needed)

    def _scratch(self, kind: str) -> Path:
        """A new, empty directory."""
        scratch = self._work / kind
        shutil.rmtree(scratch, ignore_errors=True)
        self.catalog.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch.mkdir(mode=0o700, parents=True)
        return scratch

    # Verifying

    async def _verify(self, job: Job, keys: Keys | None) -> Record:
        record = self.catalog.find(job.name)
        if record is None:
            record = Record(job.name, names.made_at(job.name))
        return await self._verified(job, record, keys)

    async def _verified(self, job: Job, record: Record, keys: Keys | None) -> Record:
        started, scratch = self._clock.monotonic(), self._scratch("verify")
        try:
            opened = await self._opened(job, keys, scratch)
        except Corrupt as error:
            self._note_result(record, Verification(self._clock.now(), ok=False, error=str(error)))
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        manifest, checked = opened.manifest, opened.checked
        record.members, record.content = len(manifest.members), manifest.size
        record.program, record.database = manifest.program, manifest.database
        record.revision = manifest.revision
        result = Verification(
            self._clock.now(),
            ok=True,
            passed=list(checked.passed),
            unchecked=list(checked.unchecked),
            counts=dict(checked.counts),
            seconds=round(self._clock.monotonic() - started, 3),
        )
        self._note_result(record, result)
        return record

    def _note_result(self, record: Record, result: Verification) -> None:
        record.verification = result
        self.catalog.note(record)
        self._look()
        self._publish(events.BackupVerified(self._clock.now(), record.name, result.ok))

    # The schedule

    async def _follow(self) -> None:
        while True:
            await self._clock.sleep(_LOOK)
            since = self._clock.monotonic() - self._tried_at
            with contextlib.suppress(MltbError):  # The job has logged it.
                if self._due():
                    await self.create().result()
                elif since >= _RETRY and (record := self._keeper.uncopied()) is not None:
                    await self._copy_again(record).result()

    def _copy_again(self, record: Record) -> Job:
        self._tried_at = self._clock.monotonic()
        return self.jobs.begin("copy", record.name, lambda job: self._copy(job, record))

    async def _copy(self, job: Job, record: Record) -> None:
        await self._keeper.copy_out(job, record)
        await self._keeper.hand_over(job, record)

    def _due(self) -> bool:
        """Whether the next is due. A clock that was set back makes the newest one lie in the
        future: then it is the time since the last try that counts."""
        interval = self.options.interval
        if not interval:
            return False
        since, newest = self._clock.monotonic() - self._tried_at, self._newest
        if newest is None:
            return since >= min(interval, _FIRST)
        age = self._clock.now() - newest
        return since >= interval if age < 0 else age >= interval and since >= min(interval, _RETRY)


def _translated(error: OSError, place: Path, needed: int) -> MltbError:
    if error.errno in _NO_ROOM:
        return archive.no_space(place, needed)
    return Unavailable(
        f"the backup can't be written to {place}: {error.strerror or error}",
        hint="look at the rights of that directory",
    )

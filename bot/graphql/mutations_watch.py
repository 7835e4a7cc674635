"""What can be changed of alerts, backups and checks."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated

import strawberry

from bot.errors import InvalidInput
from bot.graphql.declaring import Asked, argument, described, resolver, said, seconds
from bot.graphql.doing import MAX_WAIT, Id, TaskResult, Wait, asked, task_of, tried, waited
from bot.graphql.inputs import AlertInput, IntegrityInput, SilenceInput
from bot.graphql.problems import Refusal
from bot.graphql.types.alerts import Alert, Silence
from bot.graphql.types.backups import Backup, BackupJob
from bot.graphql.types.recovery import Check
from bot.operations.backup_catalog import Record
from bot.operations.backup_jobs import Job
from bot.operations.backup_seal import Keys


@described
class RestorePayload:
    """A restore that has begun; the service starts again with it."""

    id: strawberry.ID = said("Its id, as in `lastRestore`.")
    name: str = said("The backup.")


@described
class DeletedBackup:
    """A backup that is gone."""

    name: str = said("Its name.")


@described
class EndedSilence:
    """A silence that holds no more."""

    id: strawberry.ID = said("Its id.")


@described
class TestedChannel:
    """A channel that a message went through."""

    name: str = said("Its name.")


DeleteBackupResult = Annotated[DeletedBackup | Refusal, strawberry.union("DeleteBackupResult")]
EndSilenceResult = Annotated[EndedSilence | Refusal, strawberry.union("EndSilenceResult")]
TestChannelResult = Annotated[TestedChannel | Refusal, strawberry.union("TestChannelResult")]
BackupResult = Annotated[Backup | BackupJob | Refusal, strawberry.union("BackupResult")]
RestoreResult = Annotated[RestorePayload | Refusal, strawberry.union("RestoreResult")]
AlertResult = Annotated[Alert | Refusal, strawberry.union("AlertResult")]
SilenceResult = Annotated[Silence | Refusal, strawberry.union("SilenceResult")]
CheckResult = Annotated[Check | Refusal, strawberry.union("CheckResult")]


async def _backup(work: Awaitable[Record | Job]) -> Backup | BackupJob:
    found = await work
    return BackupJob.of(found) if isinstance(found, Job) else Backup.of(found)


@described
class WatchMutations:
    """Alerts, backups and checks."""

    @resolver
    async def trigger_alert(
        self,
        info: Asked,
        input: Annotated[AlertInput, argument("What it says.")],  # noqa: A002
    ) -> AlertResult:
        """Raise an alert by hand."""
        caller, services = asked(info)

        async def work() -> Alert:
            of = input.checked()
            found = await services.alerts.trigger(
                caller, of.title, of.message, of.severity, of.labels
            )
            return Alert.of(found)

        return await tried(info, work())

    @resolver
    async def acknowledge_alert(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        note: Annotated[str | None, argument("What they say.")] = None,
    ) -> AlertResult:
        """Say that somebody looks after an alert."""
        caller, services = asked(info)

        async def work() -> Alert:
            return Alert.of(await services.alerts.acknowledge(caller, str(id), _note(note)))

        return await tried(info, work())

    @resolver
    async def resolve_alert(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        note: Annotated[str | None, argument("What they say.")] = None,
    ) -> AlertResult:
        """Say that what an alert is about is over."""
        caller, services = asked(info)

        async def work() -> Alert:
            return Alert.of(await services.alerts.resolve(caller, str(id), _note(note)))

        return await tried(info, work())

    @resolver
    async def silence_alert(
        self,
        info: Asked,
        input: Annotated[SilenceInput, argument("Which, and until when.")],  # noqa: A002
    ) -> SilenceResult:
        """Keep alerts quiet until a time."""
        caller, services = asked(info)

        async def work() -> Silence:
            of = input.checked()
            found = await services.alerts.silence(
                caller,
                until=seconds(of.until),
                seconds=of.seconds,
                reason=of.reason,
                rule=of.rule,
                severity=of.severity,
                labels=of.labels,
            )
            return Silence.of(found)

        return await tried(info, work())

    @resolver
    async def end_silence(self, info: Asked, id: Id) -> EndSilenceResult:  # noqa: A002
        """End a silence; what it kept quiet is told."""
        caller, services = asked(info)

        async def work() -> EndedSilence:
            await services.alerts.unsilence(caller, str(id))
            return EndedSilence(id=id)

        return await tried(info, work())

    @resolver
    async def test_alert_channel(
        self, info: Asked, name: Annotated[str, argument("Its name.")]
    ) -> TestChannelResult:
        """Send a message through a channel at once (for admins)."""
        caller, services = asked(info)

        async def work() -> TestedChannel:
            await services.alerts.test(caller, name)
            return TestedChannel(name=name)

        return await tried(info, work())

    @resolver
    async def create_backup(self, info: Asked, wait: Wait = 20.0) -> BackupResult:
        """Make a backup, verify it, and copy it to the remotes."""
        caller, services = asked(info)

        async def work() -> Backup | BackupJob:
            return await _backup(services.backups.create(caller, waited(wait)))

        return await tried(info, work())

    @resolver
    async def verify_backup(
        self,
        info: Asked,
        name: Annotated[str, argument("Its name.")],
        passphrase: Annotated[str | None, argument("What opens it; never stored.")] = None,
        identity: Annotated[str | None, argument("An age identity; never stored.")] = None,
        wait: Wait = 20.0,
    ) -> BackupResult:
        """Restore a backup into a scratch place and open it."""
        caller, services = asked(info)

        async def work() -> Backup | BackupJob:
            keys = Keys(identity, passphrase) or None
            return await _backup(services.backups.verify(caller, name, keys, waited(wait)))

        return await tried(info, work())

    @resolver
    async def delete_backup(
        self, info: Asked, name: Annotated[str, argument("Its name.")]
    ) -> DeleteBackupResult:
        """Remove a backup, here and at the remotes."""
        caller, services = asked(info)

        async def work() -> DeletedBackup:
            await services.backups.delete(caller, name)
            return DeletedBackup(name=name)

        return await tried(info, work())

    @resolver
    async def restore_backup(
        self,
        info: Asked,
        name: Annotated[str, argument("Its name.")],
        confirm: Annotated[str, argument("Its name again.")],
        config: Annotated[bool, argument("With the configuration that is in it.")] = False,
        passphrase: Annotated[str | None, argument("What opens it; never stored.")] = None,
        identity: Annotated[str | None, argument("An age identity; never stored.")] = None,
    ) -> RestoreResult:
        """Check a backup, stop, put it in place, and start again."""
        caller, services = asked(info)

        async def work() -> RestorePayload:
            if confirm != name:
                raise InvalidInput(f"confirm is {confirm[:100]!r}", hint=f"repeat the name: {name}")
            keys = Keys(identity, passphrase) or None
            found = await services.backups.restore(
                caller, name, keys, config=config, within=MAX_WAIT
            )
            return RestorePayload(id=strawberry.ID(found), name=name)

        return await tried(info, work())

    @resolver
    async def verify_integrity(
        self,
        info: Asked,
        input: Annotated[IntegrityInput, argument("What is to be checked.")],  # noqa: A002
        wait: Wait = 0.0,
    ) -> CheckResult:
        """Compare what was delivered with its receipts."""
        caller, services = asked(info)

        async def work() -> Check:
            of, patience = input.checked(), waited(wait)
            if of.resume is not None:
                begun = await services.recovery.resume(caller, of.resume)
            else:
                begun = await services.recovery.verify(
                    caller,
                    path=of.path,
                    task=of.task,
                    everything=of.all,
                    data=of.data,
                    limit=of.limit,
                    read_back=of.read_back,
                )
            return Check.of(await services.recovery.check(caller, begun.id, patience))

        return await tried(info, work())

    @resolver
    async def cancel_check(self, info: Asked, id: Id) -> CheckResult:  # noqa: A002
        """End a check; what it found so far stays."""
        caller, services = asked(info)

        async def work() -> Check:
            return Check.of(await services.recovery.cancel(caller, str(id)))

        return await tried(info, work())

    @resolver
    async def refetch(
        self,
        info: Asked,
        check: Annotated[strawberry.ID, argument("The check.")],
        finding: Annotated[int, argument("The number of the finding.")],
    ) -> TaskResult:
        """Fetch again what a check found to be wrong."""
        caller, services = asked(info)
        return await tried(info, task_of(services.recovery.refetch(caller, str(check), finding)))


def _note(note: str | None) -> str | None:
    if note is not None and len(note) > 1000:
        raise InvalidInput(f"a note of {len(note)} characters", hint="at most 1000")
    return note

"""What can be changed. Each answers with what it did, or with a problem."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, TypeVar

import strawberry

from bot.domain.task import Task as DomainTask
from bot.errors import InternalFailure, InvalidInput, MltbError
from bot.graphql.declaring import Asked, Json, argument, described, resolver, said
from bot.graphql.inputs import AlertInput, IntegrityInput, SilenceInput, SubmissionInput
from bot.graphql.problems import Problem, Refusal, problem
from bot.graphql.types.alerts import Alert, Silence
from bot.graphql.types.backups import Backup, BackupJob
from bot.graphql.types.plugins import Plugin
from bot.graphql.types.recovery import Check
from bot.graphql.types.tasks import Task
from bot.operations.backup_catalog import Record
from bot.operations.backup_jobs import Job
from bot.operations.backup_seal import Keys
from bot.services import Caller, Services, Submitted, TaskView

T = TypeVar("T")

_MAX_WAIT = 60.0

Id = Annotated[strawberry.ID, argument("Its id.")]
Wait = Annotated[float, argument("Seconds to wait for the result, up to 60.")]
PluginName = Annotated[str, argument("The name of the plugin.")]


@described
class SubmittedTask:
    """The answer to one submission of many."""

    index: int = said("Which one, from 0.")
    task: Task | None = said("The task; null where it was refused.")
    problem: Problem | None = said("Why it was refused.")

    @classmethod
    def of(cls, found: Submitted) -> SubmittedTask:
        """As the schema has it."""
        refused = found.error or InternalFailure("a submission without an answer")
        return cls(
            index=found.index,
            task=None if found.task is None else Task.of(TaskView(found.task)),
            problem=None if found.task is not None else problem(refused),
        )


@described
class SubmitTasksPayload:
    """What became of the submissions."""

    items: list[SubmittedTask] = said("One answer each, in their order.")
    accepted: int = said("How many were taken.")
    refused: int = said("How many were not.")


@described
class RestorePayload:
    """A restore that has begun; the service starts again with it."""

    id: strawberry.ID = said("Its id, as in `lastRestore`.")
    name: str = said("The backup.")


@described
class ExecutePluginPayload:
    """What a plugin gave."""

    plugin: str = said("Its name.")
    result: Json | None = said("What it gave.")


@described
class InvalidateCachePayload:
    """Answers that are forgotten."""

    tags: list[str] = said("What they were about; empty: everything.")


TaskResult = Annotated[Task | Refusal, strawberry.union("TaskResult")]
SubmitTasksResult = Annotated[SubmitTasksPayload | Refusal, strawberry.union("SubmitTasksResult")]
BackupResult = Annotated[Backup | BackupJob | Refusal, strawberry.union("BackupResult")]
RestoreResult = Annotated[RestorePayload | Refusal, strawberry.union("RestoreResult")]
AlertResult = Annotated[Alert | Refusal, strawberry.union("AlertResult")]
SilenceResult = Annotated[Silence | Refusal, strawberry.union("SilenceResult")]
CheckResult = Annotated[Check | Refusal, strawberry.union("CheckResult")]
PluginResult = Annotated[Plugin | Refusal, strawberry.union("PluginResult")]
ExecutePluginResult = Annotated[
    ExecutePluginPayload | Refusal, strawberry.union("ExecutePluginResult")
]
InvalidateCacheResult = Annotated[
    InvalidateCachePayload | Refusal, strawberry.union("InvalidateCacheResult")
]


async def _tried(work: Awaitable[T]) -> T | Refusal:
    """What the work gives, or the problem that it met."""
    try:
        return await work
    except MltbError as error:
        return problem(error)


async def _task(work: Awaitable[DomainTask]) -> Task:
    return Task.of(TaskView(await work))


async def _backup(work: Awaitable[Record | Job]) -> Backup | BackupJob:
    found = await work
    return BackupJob.of(found) if isinstance(found, Job) else Backup.of(found)


def _waited(seconds: float) -> float:
    if not 0 <= seconds <= _MAX_WAIT:
        raise InvalidInput(f"wait is {seconds:g} seconds", hint=f"from 0 to {_MAX_WAIT:g}")
    return seconds


def _of(info: Asked) -> tuple[Caller, Services]:
    return info.context.caller, info.context.services


@described
class Mutation:
    """What can be changed."""

    # Tasks

    @resolver
    async def submit_tasks(
        self,
        info: Asked,
        input: Annotated[list[SubmissionInput], argument("The links.")],  # noqa: A002
        key: Annotated[
            str | None, argument("A repetition with the same key gives the same tasks.")
        ] = None,
    ) -> SubmitTasksResult:
        """Mirror links: what can be taken is stored at once."""
        caller, services = _of(info)

        async def work() -> SubmitTasksPayload:
            if not input:
                raise InvalidInput("no links", hint="give one at least")
            wanted = [each.submission() for each in input]
            found = await services.tasks.submit_many(caller, wanted, key=key)
            items = [SubmittedTask.of(each) for each in found]
            accepted = sum(each.task is not None for each in items)
            return SubmitTasksPayload(items=items, accepted=accepted, refused=len(items) - accepted)

        return await _tried(work())

    @resolver
    async def cancel_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """End a task; nothing of it is left."""
        caller, services = _of(info)
        return await _tried(_task(services.tasks.cancel(caller, str(id))))

    @resolver
    async def retry_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """Try the failed stage of a task again."""
        caller, services = _of(info)
        return await _tried(_task(services.tasks.retry(caller, str(id))))

    @resolver
    async def pause_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """Stop a task until it is resumed."""
        caller, services = _of(info)
        return await _tried(_task(services.tasks.pause(caller, str(id))))

    @resolver
    async def resume_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """Let a paused task go on."""
        caller, services = _of(info)
        return await _tried(_task(services.tasks.resume(caller, str(id))))

    @resolver
    async def set_priority(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        priority: Annotated[int | None, argument("From -100 to 100; higher goes first.")] = None,
        force: Annotated[bool | None, argument("Start at once (for admins).")] = None,
    ) -> TaskResult:
        """Change the place of a task in the queue."""
        caller, services = _of(info)

        async def work() -> Task:
            if priority is not None and not -100 <= priority <= 100:
                raise InvalidInput(f"a priority of {priority}", hint="from -100 to 100")
            return await _task(services.tasks.prioritise(caller, str(id), priority, force))

        return await _tried(work())

    @resolver
    async def select_files(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        files: Annotated[list[int], argument("Their indexes, from 0.")],
    ) -> TaskResult:
        """Choose the files of a task that awaits it."""
        caller, services = _of(info)
        return await _tried(_task(services.tasks.select(caller, str(id), files)))

    # Alerts

    @resolver
    async def trigger_alert(
        self,
        info: Asked,
        input: Annotated[AlertInput, argument("What it says.")],  # noqa: A002
    ) -> AlertResult:
        """Raise an alert by hand."""
        caller, services = _of(info)

        async def work() -> Alert:
            of = input.checked()
            found = await services.alerts.trigger(
                caller, of.title, of.message, of.severity, of.labels
            )
            return Alert.of(found)

        return await _tried(work())

    @resolver
    async def acknowledge_alert(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        note: Annotated[str | None, argument("What they say.")] = None,
    ) -> AlertResult:
        """Say that somebody looks after an alert."""
        caller, services = _of(info)

        async def work() -> Alert:
            return Alert.of(await services.alerts.acknowledge(caller, str(id), _note(note)))

        return await _tried(work())

    @resolver
    async def resolve_alert(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        note: Annotated[str | None, argument("What they say.")] = None,
    ) -> AlertResult:
        """Say that what an alert is about is over."""
        caller, services = _of(info)

        async def work() -> Alert:
            return Alert.of(await services.alerts.resolve(caller, str(id), _note(note)))

        return await _tried(work())

    @resolver
    async def silence_alert(
        self,
        info: Asked,
        input: Annotated[SilenceInput, argument("Which, and until when.")],  # noqa: A002
    ) -> SilenceResult:
        """Keep alerts quiet until a time."""
        caller, services = _of(info)

        async def work() -> Silence:
            of = input.checked()
            found = await services.alerts.silence(
                caller,
                until=None if of.until is None else of.until.timestamp(),
                seconds=of.seconds,
                reason=of.reason,
                rule=of.rule,
                severity=of.severity,
                labels=of.labels,
            )
            return Silence.of(found)

        return await _tried(work())

    # Backups and integrity

    @resolver
    async def create_backup(self, info: Asked, wait: Wait = 60.0) -> BackupResult:
        """Make a backup, verify it, and copy it to the remotes."""
        caller, services = _of(info)

        async def work() -> Backup | BackupJob:
            return await _backup(services.backups.create(caller, _waited(wait)))

        return await _tried(work())

    @resolver
    async def verify_backup(
        self,
        info: Asked,
        name: Annotated[str, argument("Its name.")],
        passphrase: Annotated[str | None, argument("What opens it; never stored.")] = None,
        identity: Annotated[str | None, argument("An age identity; never stored.")] = None,
        wait: Wait = 60.0,
    ) -> BackupResult:
        """Restore a backup into a scratch place and open it."""
        caller, services = _of(info)

        async def work() -> Backup | BackupJob:
            keys = Keys(identity, passphrase) or None
            return await _backup(services.backups.verify(caller, name, keys, _waited(wait)))

        return await _tried(work())

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
        caller, services = _of(info)

        async def work() -> RestorePayload:
            if confirm != name:
                raise InvalidInput(f"confirm is {confirm[:100]!r}", hint=f"repeat the name: {name}")
            keys = Keys(identity, passphrase) or None
            found = await services.backups.restore(
                caller, name, keys, config=config, within=_MAX_WAIT
            )
            return RestorePayload(id=strawberry.ID(found), name=name)

        return await _tried(work())

    @resolver
    async def verify_integrity(
        self,
        info: Asked,
        input: Annotated[IntegrityInput, argument("What is to be checked.")],  # noqa: A002
        wait: Wait = 0.0,
    ) -> CheckResult:
        """Compare what was delivered with its receipts."""
        caller, services = _of(info)

        async def work() -> Check:
            of, patience = input.checked(), _waited(wait)
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

        return await _tried(work())

    @resolver
    async def refetch(
        self,
        info: Asked,
        check: Annotated[strawberry.ID, argument("The check.")],
        finding: Annotated[int, argument("The number of the finding.")],
    ) -> TaskResult:
        """Fetch again what a check found to be wrong."""
        caller, services = _of(info)
        return await _tried(_task(services.recovery.refetch(caller, str(check), finding)))

    # Plugins

    @resolver
    async def enable_plugin(
        self,
        info: Asked,
        name: PluginName,
        grant: Annotated[bool, argument("Give it the rights that it asks for.")] = False,
    ) -> PluginResult:
        """Start a plugin, now and at every start."""
        caller, services = _of(info)

        async def work() -> Plugin:
            return Plugin.of(await services.plugins.enable(caller, name, grant=grant))

        return await _tried(work())

    @resolver
    async def disable_plugin(self, info: Asked, name: PluginName) -> PluginResult:
        """End a plugin, now and at every start."""
        caller, services = _of(info)

        async def work() -> Plugin:
            return Plugin.of(await services.plugins.disable(caller, name))

        return await _tried(work())

    @resolver
    async def reload_plugin(self, info: Asked, name: PluginName) -> PluginResult:
        """Run what lies in PLUGINS_DIR now."""
        caller, services = _of(info)

        async def work() -> Plugin:
            return Plugin.of(await services.plugins.reload(caller, name))

        return await _tried(work())

    @resolver
    async def configure_plugin(
        self,
        info: Asked,
        name: PluginName,
        config: Annotated[Json, argument("The whole of it, an object.")],
    ) -> PluginResult:
        """Replace the configuration of a plugin."""
        caller, services = _of(info)

        async def work() -> Plugin:
            if not isinstance(config, dict):
                raise InvalidInput("config is no object", hint='such as {"name": "value"}')
            return Plugin.of(await services.plugins.configure(caller, name, config))

        return await _tried(work())

    @resolver
    async def execute_plugin(
        self,
        info: Asked,
        name: PluginName,
        data: Annotated[Json | None, argument("Its arguments, an object.")] = None,
    ) -> ExecutePluginResult:
        """Call `execute` of a plugin."""
        caller, services = _of(info)

        async def work() -> ExecutePluginPayload:
            if data is not None and not isinstance(data, dict):
                raise InvalidInput("data is no object", hint='such as {"name": "value"}')
            found = await services.plugins.execute(caller, name, data or {})
            return ExecutePluginPayload(plugin=name, result=found)

        return await _tried(work())

    # Answers

    @resolver
    async def invalidate_cache(
        self,
        info: Asked,
        tags: Annotated[
            list[str] | None, argument("About these alone, such as `tasks`; all if left out.")
        ] = None,
    ) -> InvalidateCacheResult:
        """Forget kept answers (for admins)."""
        desk, caller = info.context.desk, info.context.caller

        async def work() -> InvalidateCachePayload:
            return InvalidateCachePayload(tags=list(await desk.invalidate(caller, tags)))

        return await _tried(work())


def _note(note: str | None) -> str | None:
    if note is not None and len(note) > 1000:
        raise InvalidInput(f"a note of {len(note)} characters", hint="at most 1000")
    return note

"""What can be changed of tasks."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import strawberry

from bot.errors import InternalFailure, InvalidInput
from bot.graphql.declaring import Asked, argument, choice, described, resolver, said
from bot.graphql.doing import Id, TaskResult, asked, task_of, tried
from bot.graphql.inputs import SubmissionInput, checked
from bot.graphql.problems import Problem, Refusal, problem
from bot.graphql.types.tasks import Task
from bot.services import Submitted, TaskView
from bot.services.bulk import Acted, act_on_many
from bot.web import schemas_queue

_MOST = 1000  # links at once: reading them holds up everybody else


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
class DeletedTask:
    """A task that is forgotten."""

    id: strawberry.ID = said("Its id.")


DeleteTaskResult = Annotated[DeletedTask | Refusal, strawberry.union("DeleteTaskResult")]
SubmitTasksResult = Annotated[SubmitTasksPayload | Refusal, strawberry.union("SubmitTasksResult")]


class TaskAction(Enum):
    """What can be done with many tasks."""

    CANCEL = "cancel"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"


choice(TaskAction)


@described
class ActedOnTask:
    """What came of an action for one task."""

    id: strawberry.ID = said("Which task.")
    task: Task | None = said("How it is now; null where it was deleted, or where that failed.")
    problem: Problem | None = said("Why it failed.")

    @classmethod
    def of(cls, found: Acted) -> ActedOnTask:
        """As the schema has it."""
        return cls(
            id=strawberry.ID(found.id),
            task=None if found.task is None else Task.of(TaskView(found.task)),
            problem=None if found.error is None else problem(found.error),
        )


@described
class ActOnTasksPayload:
    """What came of an action on many tasks."""

    items: list[ActedOnTask] = said("One answer each, in their order.")
    accepted: int = said("How many it was done with.")
    refused: int = said("How many it was not.")


ActOnTasksResult = Annotated[ActOnTasksPayload | Refusal, strawberry.union("ActOnTasksResult")]


@described
class TaskMutations:
    """Tasks."""

    @resolver
    async def submit_tasks(
        self,
        info: Asked,
        input: Annotated[list[SubmissionInput], argument("The links, up to 1000.")],  # noqa: A002
        key: Annotated[
            str | None, argument("A repetition with the same key gives the same tasks.")
        ] = None,
    ) -> SubmitTasksResult:
        """Mirror links: what can be taken is stored at once."""
        caller, services = asked(info)

        async def work() -> SubmitTasksPayload:
            if not 1 <= len(input) <= _MOST:
                raise InvalidInput(f"{len(input)} links at once", hint=f"from 1 to {_MOST}")
            wanted = [each.submission() for each in input]
            found = await services.tasks.submit_many(caller, wanted, key=key)
            items = [SubmittedTask.of(each) for each in found]
            accepted = sum(each.task is not None for each in items)
            return SubmitTasksPayload(items=items, accepted=accepted, refused=len(items) - accepted)

        return await tried(info, work())

    @resolver
    async def cancel_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """End a task; nothing of it is left."""
        caller, services = asked(info)
        return await tried(info, task_of(services.tasks.cancel(caller, str(id))))

    @resolver
    async def delete_task(self, info: Asked, id: Id) -> DeleteTaskResult:  # noqa: A002
        """Forget a finished task; what it delivered, and its receipt, stay."""
        caller, services = asked(info)

        async def work() -> DeletedTask:
            await services.tasks.delete(caller, str(id))
            return DeletedTask(id=id)

        return await tried(info, work())

    @resolver
    async def retry_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """Try the failed stage of a task again."""
        caller, services = asked(info)
        return await tried(info, task_of(services.tasks.retry(caller, str(id))))

    @resolver
    async def pause_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """Stop a task until it is resumed."""
        caller, services = asked(info)
        return await tried(info, task_of(services.tasks.pause(caller, str(id))))

    @resolver
    async def resume_task(self, info: Asked, id: Id) -> TaskResult:  # noqa: A002
        """Let a paused task go on."""
        caller, services = asked(info)
        return await tried(info, task_of(services.tasks.resume(caller, str(id))))

    @resolver
    async def set_priority(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        priority: Annotated[int | None, argument("From -100 to 100; higher goes first.")] = None,
        force: Annotated[bool | None, argument("Start at once (for admins).")] = None,
    ) -> TaskResult:
        """Change the place of a task in the queue."""
        caller, services = asked(info)

        async def work() -> Task:
            if priority is not None and not -100 <= priority <= 100:
                raise InvalidInput(f"a priority of {priority}", hint="from -100 to 100")
            return await task_of(services.tasks.prioritise(caller, str(id), priority, force))

        return await tried(info, work())

    @resolver
    async def select_files(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        files: Annotated[list[int], argument("Their indexes, from 0.")],
    ) -> TaskResult:
        """Choose the files of a task that awaits it."""
        caller, services = asked(info)
        return await tried(info, task_of(services.tasks.select(caller, str(id), files)))

    @resolver
    async def move_task(
        self,
        info: Asked,
        id: Id,  # noqa: A002
        before: Annotated[
            strawberry.ID | None, argument("The task that it goes before; null: to the end.")
        ] = None,
    ) -> TaskResult:
        """Move a waiting task to another place in the queue."""
        caller, services = asked(info)
        place = None if before is None else str(before)
        return await tried(info, task_of(services.tasks.move(caller, str(id), place)))

    @resolver
    async def act_on_tasks(
        self,
        info: Asked,
        ids: Annotated[list[strawberry.ID], argument("Which, up to 1000.")],
        action: Annotated[TaskAction, argument("What.")],
    ) -> ActOnTasksResult:
        """Do the same with many tasks; what fails for one does not stop the others."""
        caller, services = asked(info)

        async def work() -> ActOnTasksPayload:
            wanted = {"ids": list(map(str, ids)), "action": action.value}
            of = checked(schemas_queue.BulkIn, wanted)
            found = await act_on_many(services.tasks, caller, of.ids, of.action)
            items = [ActedOnTask.of(each) for each in found]
            refused = sum(each.problem is not None for each in items)
            return ActOnTasksPayload(items=items, accepted=len(items) - refused, refused=refused)

        return await tried(info, work())

"""What can be asked about tasks."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated

import strawberry

from bot.domain.ports import TaskQuery
from bot.graphql.declaring import Asked, argument, choice, described, resolver, seconds
from bot.graphql.enums import TaskState
from bot.graphql.inputs import SubmissionInput
from bot.graphql.paging import After, First, page_size
from bot.graphql.types.service import (
    Queue,
    Viewer,
)
from bot.graphql.types.tasks import (
    PageInfo,
    Plan,
    Receipt,
    Task,
    TaskConnection,
    TaskCount,
    TaskEdge,
)
from bot.services import TaskView


class TaskSort(Enum):
    """What a list of tasks is sorted by."""

    CREATED = "created"
    UPDATED = "updated"
    SIZE = "size"
    NAME = "name"
    PRIORITY = "priority"


choice(TaskSort)


@described
class TaskQueries:
    """Tasks and what belongs to them."""

    @resolver
    def viewer(self, info: Asked) -> Viewer:
        """Who asks."""
        caller = info.context.caller
        return Viewer(user=caller.user, scope=caller.scope)

    @resolver
    async def task(
        self,
        info: Asked,
        id: Annotated[strawberry.ID, argument("Its id.")],  # noqa: A002
    ) -> Task | None:
        """One task; null where there is none."""
        view = await info.context.tasks.load(str(id))
        return None if view is None else Task.of(view)

    @resolver
    async def tasks(
        self,
        info: Asked,
        first: First = 50,
        after: After = None,
        states: Annotated[list[TaskState] | None, argument("Any of these.")] = None,
        engine: Annotated[str | None, argument("Fetched by this one.")] = None,
        user: Annotated[str | None, argument("Of this user (for admins).")] = None,
        text: Annotated[str | None, argument("In name or source, without case.")] = None,
        since: Annotated[datetime | None, argument("Made then or later.")] = None,
        until: Annotated[datetime | None, argument("Made before then.")] = None,
        sort: Annotated[TaskSort, argument("The order.")] = TaskSort.CREATED,
        descending: Annotated[bool, argument("The largest or newest first.")] = True,
    ) -> TaskConnection:
        """A page of tasks."""
        query = TaskQuery(
            states=tuple(states or ()),
            engine=engine,
            user=user,
            text=text,
            since=seconds(since),
            until=seconds(until),
            sort=sort.value,
            descending=descending,
            limit=page_size(first),
            cursor=after,
            cursors=True,
        )
        page, progress = await info.context.services.tasks.list(info.context.caller, query)
        nodes = [Task.of(TaskView(task, progress.get(task.id))) for task in page.items]
        return TaskConnection(
            nodes=nodes,
            edges=[TaskEdge(cursor=c, node=n) for c, n in zip(page.cursors, nodes, strict=True)],
            page_info=PageInfo(
                has_next_page=page.cursor is not None,
                has_previous_page=after is not None,
                start_cursor=page.cursors[0] if nodes else None,
                end_cursor=page.cursors[-1] if nodes else None,
            ),
        )

    @resolver
    async def task_counts(self, info: Asked) -> list[TaskCount]:
        """How many tasks are in each state."""
        found = await info.context.services.tasks.count(info.context.caller)
        return [TaskCount(state=state, count=count) for state, count in found.items()]

    @resolver
    async def plan(
        self, info: Asked, source: Annotated[SubmissionInput, argument("What would be submitted.")]
    ) -> Plan:
        """What a submission would do, without doing it."""
        wanted = source.submission()
        return Plan.of(await info.context.services.tasks.plan(info.context.caller, wanted))

    @resolver
    def queue(self, info: Asked) -> Queue:
        """What waits and what runs."""
        return Queue.of(info.context.services.system.status(info.context.caller))

    @resolver
    async def receipts(
        self,
        info: Asked,
        source: Annotated[str | None, argument("Of this link.")] = None,
        first: First = 50,
    ) -> list[Receipt]:
        """The newest receipts of deliveries (for admins)."""
        found = await info.context.services.tasks.receipts(
            info.context.caller, source, page_size(first)
        )
        return [Receipt.of(each) for each in found]

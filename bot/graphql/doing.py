"""What mutations have in common."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, TypeVar

import strawberry
from strawberry.types.nodes import SelectedField

from bot.domain.context import ADDRESS
from bot.domain.task import Task as DomainTask
from bot.errors import InvalidInput, MltbError
from bot.graphql.declaring import Asked, argument
from bot.graphql.problems import Refusal, problem
from bot.graphql.types.tasks import Task
from bot.services import Caller, Services, TaskView

T = TypeVar("T")

MAX_WAIT = 25.0  # seconds that a mutation waits for its result; GRAPHQL_TIMEOUT is longer

Id = Annotated[strawberry.ID, argument("Its id.")]
Wait = Annotated[float, argument("Seconds to wait for the result, up to 25.")]
TaskResult = Annotated[Task | Refusal, strawberry.union("TaskResult")]


async def tried(info: Asked, work: Awaitable[T]) -> T | Refusal:
    """What the work gives, or the problem that it met; recorded either way."""
    outcome = 500
    try:
        done = await work
        outcome = 200
        return done
    except MltbError as error:
        outcome = error.status
        return problem(error)
    finally:
        _record(info, outcome)


def _record(info: Asked, outcome: int) -> None:
    caller, services = asked(info)
    field = info.selected_fields[0]
    given = field.arguments if isinstance(field, SelectedField) else {}
    named = given.get("id") or given.get("name")
    services.audit.note(
        caller,
        f"graphql {info.field_name}",
        outcome,
        target=named if isinstance(named, str) else None,
        address=ADDRESS.get(),
        sent=given,
    )


async def task_of(work: Awaitable[DomainTask]) -> Task:
    """The task that it gives, as the schema has it."""
    return Task.of(TaskView(await work))


def waited(seconds: float) -> float:
    """A wished time to wait for a result. InvalidInput where it is too long."""
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput(f"wait is {seconds:g} seconds", hint=f"from 0 to {MAX_WAIT:g}")
    return seconds


def asked(info: Asked) -> tuple[Caller, Services]:
    """Who asks, and of whom."""
    return info.context.caller, info.context.services

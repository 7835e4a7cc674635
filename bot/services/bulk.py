"""One action on many tasks, with an answer for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from bot.domain.task import Task
from bot.errors import InternalFailure, MltbError
from bot.services.callers import Caller, Scope
from bot.services.tasks import Tasks

Action = Literal["cancel", "retry", "pause", "resume", "delete"]


class Acted(msgspec.Struct, frozen=True):
    """What came of it for one task: the task (None where it is deleted), or why not."""

    id: str
    task: Task | None = None
    error: MltbError | None = None


async def act_on_many(
    tasks: Tasks, caller: Caller, ids: Sequence[str], action: Action
) -> list[Acted]:
    """One answer for each, in order; what fails for one does not stop the others."""
    caller.require(Scope.OPERATE)
    acts: dict[str, Callable[[Caller, str], Awaitable[Task | None]]] = {
        "cancel": tasks.cancel,
        "retry": tasks.retry,
        "pause": tasks.pause,
        "resume": tasks.resume,
        "delete": tasks.delete,
    }
    answers = []
    for each in ids:
        try:
            answers.append(Acted(each, await acts[action](caller, each)))
        except MltbError as error:
            if isinstance(error, InternalFailure):
                raise
            answers.append(Acted(each, error=error))
    return answers

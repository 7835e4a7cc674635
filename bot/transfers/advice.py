"""Asks what others think of a task while it is planned.

What they say becomes the task's own options, as if its user had wished it: it is stored with them,
and is not asked for again.
"""

from __future__ import annotations

import msgspec

from bot.domain.advice import Advisors
from bot.domain.task import Task
from bot.errors import PolicyRefused
from bot.transfers.planner import Planner, check_local_name


async def choose_engine(task: Task, advisors: Advisors, planner: Planner) -> None:
    """Take the engine that somebody chooses, where the user did not."""
    if task.options.engine is None:
        engine = await advisors.engine(task, planner.check_engine)
        if engine is not None:
            task.options = msgspec.structs.replace(task.options, engine=engine)


async def choose_name(task: Task, advisors: Advisors) -> None:
    """Take the name that somebody chooses, where the user did not."""
    if task.options.name is None:
        name = await advisors.name(task, lambda _, wish: check_local_name(wish))
        if name is not None:
            task.name = name
            task.options = msgspec.structs.replace(task.options, name=name)


async def heed_veto(task: Task, advisors: Advisors) -> None:
    """PolicyRefused where somebody objects."""
    reason = await advisors.veto(task)
    if reason is not None:
        raise PolicyRefused(f"it was refused: {reason}", hint="the operator's plugins decide this")

"""How many tasks there are of each kind."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from bot.domain.task import TaskState
from bot.store.backend import Backend
from bot.store.schema import tasks


async def census(database: Backend) -> Mapping[tuple[TaskState, str | None], int]:
    """The stored tasks by state and engine (None before they are planned)."""
    columns = tasks.c.state, tasks.c.engine
    found = await database.read(sa.select(*columns, sa.func.count().label("n")).group_by(*columns))
    return {(TaskState(row["state"]), row["engine"]): row["n"] for row in found}

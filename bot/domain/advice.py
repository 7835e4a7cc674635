"""What the transfers may ask others about a task, and the port to those who answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from bot.domain.task import Failure, Task

#: Takes an answer as a user's own wish would be taken; raises an MltbError where it can't be.
Check = Callable[[Task, str], object]


class Advisors(Protocol):
    """Asks those who want to be asked. Each question has a time limit of its own, over all of them:
    who is late, wrong or broken is logged, and is as one who said nothing. Never raises for them.
    """

    async def veto(self, task: Task) -> str | None:
        """Why the task may not be, and who says so; None where nobody objects."""

    @property
    def has_destinations(self) -> bool:
        """Whether anybody wants to be asked for destinations."""

    async def destinations(self, tasks: Sequence[Task], check: Check) -> Sequence[str | None]:
        """Where each of the tasks goes, as far as somebody says so; one time limit for all."""

    async def engine(self, task: Task, check: Check) -> str | None:
        """The engine that fetches it."""

    async def name(self, task: Task, check: Check) -> str | None:
        """What it is called."""

    async def retry(self, task: Task, failure: Failure, wait: float | None) -> float | bool | None:
        """When it is tried again after ``failure``: in so many seconds, or False for never. None
        leaves it at ``wait``."""


class NoAdvice:
    """Nobody is asked."""

    async def veto(self, task: Task) -> str | None:
        """Nobody objects."""
        return None

    @property
    def has_destinations(self) -> bool:
        """Nobody has."""
        return False

    async def destinations(self, tasks: Sequence[Task], check: Check) -> Sequence[str | None]:
        """As they are."""
        return [None] * len(tasks)

    async def engine(self, task: Task, check: Check) -> str | None:
        """As it is."""
        return None

    async def name(self, task: Task, check: Check) -> str | None:
        """As it is."""
        return None

    async def retry(self, task: Task, failure: Failure, wait: float | None) -> float | bool | None:
        """As it is."""
        return None


#: For what runs without anybody to ask.
NO_ADVICE = NoAdvice()

"""The calls of a worker that are under way, and when they are overdue."""

from __future__ import annotations

import asyncio
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any


class Answer(asyncio.Future[Any]):
    """What a call waits for; ``deadline`` is in the time of the loop."""

    __slots__ = ("deadline", "method", "number", "timeout")

    def __init__(
        self, number: int, method: str, timeout: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop=loop)
        self.number = number
        self.method = method
        self.timeout = timeout
        self.deadline = loop.time() + timeout


class Pending:
    """``overdue`` is called with what to say of a call whose time is over.

    One timer serves all calls: most are answered long before, and a timer for each would cost as
    much as half of everything else that a call takes on this side.
    """

    def __init__(self, overdue: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._overdue = overdue
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Answer] = {}
        self._abandoned: dict[int, Answer] = {}  # whose caller waits no more
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = math.inf

    def add(self, method: str, timeout: float) -> Answer:
        """A call that begins now; ``number`` is its own."""
        answer = Answer(next(self._numbers), method, timeout, self._loop)
        self._waiting[answer.number] = answer
        if answer.deadline < self._next_look:
            self._look_at(answer.deadline)
        return answer

    def drop(self, answer: Answer) -> None:
        """Forget a call that was not made."""
        self._waiting.pop(answer.number, None)

    def abandon(self, answer: Answer) -> None:
        """Nobody waits for it any more; but the plugin works on it: its answer is awaited, and its
        time is limited."""
        if self._waiting.pop(answer.number, None) is not None:
            self._abandoned[answer.number] = answer

    def pop(self, number: int) -> Answer | None:
        """The call that was answered; None where there is none of that number."""
        return self._waiting.pop(number, None) or self._abandoned.pop(number, None)

    @property
    def waiting(self) -> Sequence[Answer]:
        """Those that somebody waits for."""
        return list(self._waiting.values())

    def close(self) -> None:
        """Watch the time no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._abandoned.clear()

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_look = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer, self._next_look = None, math.inf
        calls = [*self._waiting.values(), *self._abandoned.values()]
        if not calls:
            return
        first = min(calls, key=operator.attrgetter("deadline"))
        if first.deadline <= self._loop.time():
            self._overdue(f"{first.method} did not answer within {first.timeout:g} s")
        else:
            self._look_at(first.deadline)

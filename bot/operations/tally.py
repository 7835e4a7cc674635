"""What became of tasks and stages since the start, and who is connected, from the events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from bot.domain import events
from bot.domain.ports import Clock
from bot.domain.task import FINAL, TaskState

_WINDOW = 60  # seconds over which failures are counted


class Tally:
    """Counts the ends of tasks, the failures of the last minute and who is connected; give it every
    event."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        self._ended: Counter[TaskState] = Counter()
        self._failures: Counter[int] = Counter()  # by the second in which they happened
        self._clients: set[str] = set()

    def hear(self, event: events.Event) -> None:
        """An event of the service."""
        if isinstance(event, events.TaskMoved) and event.after in FINAL:
            self._ended[event.after] += 1
        elif isinstance(event, events.StageFailed):
            self._forget()
            self._failures[self._second()] += 1
        elif isinstance(event, events.ClientConnected):
            self._clients.add(event.client)
        elif isinstance(event, events.ClientLeft):
            self._clients.discard(event.client)

    def figures(self) -> Mapping[str, float]:
        """The readings of this part."""
        self._forget()
        return {
            "tasks_done_total": self._ended[TaskState.DONE],
            "tasks_failed_total": self._ended[TaskState.FAILED],
            "tasks_cancelled_total": self._ended[TaskState.CANCELLED],
            "failures_per_minute": self._failures.total(),
            "websocket_clients": len(self._clients),
            "uptime_seconds": self._clock.monotonic() - self._started,
        }

    def _second(self) -> int:
        return int(self._clock.monotonic())

    def _forget(self) -> None:
        oldest = self._second() - _WINDOW
        for second in [each for each in self._failures if each <= oldest]:
            del self._failures[second]

"""Who runs next: limits, priority, fair share between users, start times, forced starts.

Pure bookkeeping: the scheduler tells the time and starts what ``take`` gives.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from itertools import count

from bot.errors import Conflict


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """The limits: running tasks in all, and of one user (None is no limit)."""

    max_active: int
    max_active_per_user: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A waiting task. ``order`` sorts tasks of one priority (the id of the task will do).

    ``not_before`` (UNIX seconds) is its start time or the time of its next try; ``force`` skips
    every limit, but not the time.
    """

    id: str
    user: str
    priority: int
    order: str
    not_before: float = 0.0
    force: bool = False


class Queue:
    """The waiting and the running tasks.

    The next task is the one with the highest priority whose user is below the limit; among equals
    the user with the fewest running tasks, then the one who was served longest ago; of one user
    the lowest ``order``. Forced ones go before all others.
    """

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self._entries: dict[str, tuple[int, Entry]] = {}
        self._heaps: dict[str, list[tuple[int, str, int, str]]] = {}
        self._later: list[tuple[float, int, str]] = []
        self._forced: list[tuple[str, int, str]] = []
        self._ripe: dict[str, float] = {}
        self._stamps = count()
        self._active: dict[str, tuple[str, float]] = {}
        self._active_by_user: Counter[str] = Counter()
        self._served: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._entries

    @property
    def active(self) -> int:
        """How many tasks run."""
        return len(self._active)

    @property
    def ready(self) -> int:
        """How many of the waiting ones wait for nothing but a place."""
        return len(self._ripe)

    @property
    def ready_since(self) -> float | None:
        """The time at which the first of those got ready; None where there is none."""
        return next(iter(self._ripe.values()), None)

    def waited(self, task_id: str) -> float:
        """For how long (seconds) a running task had been ready before it was taken."""
        return self._active[task_id][1]

    def put(self, entry: Entry) -> None:
        """Add a waiting task, or replace what was known of it.

        One that still runs is not started before ``release`` says that it does not any more.
        """
        stamp = next(self._stamps)
        self._entries[entry.id] = (stamp, entry)
        if entry.not_before > self._ripe.get(entry.id, entry.not_before):
            del self._ripe[entry.id]
        if entry.id not in self._active:
            heapq.heappush(self._later, (entry.not_before, stamp, entry.id))

    def entry(self, task_id: str) -> Entry:
        """What is known of a waiting task. Conflict where it does not wait."""
        known = self._entries.get(task_id)
        if known is None:
            raise Conflict(f"task {task_id} does not wait", hint="only waiting tasks have an order")
        return known[1]

    def before(self, priority: int, order: str | None, *, besides: str) -> str:
        """The highest order of that priority below ``order``, or (None) of all, ``besides`` that
        of a task; "" where there is none."""
        orders = (
            each.order
            for _, each in self._entries.values()
            if each.priority == priority and each.id != besides
        )
        return max((each for each in orders if order is None or each < order), default="")

    def discard(self, task_id: str) -> bool:
        """Take a waiting task out; whether it was there."""
        self._ripe.pop(task_id, None)
        return self._entries.pop(task_id, None) is not None

    def take(self, now: float) -> Entry | None:
        """The task to start at time ``now``, which counts as running from here on; None where no
        task is due or the limits are reached.
        """
        self._ripen(now)
        entry = self._next_forced() or self._next_fair()
        if entry is None:
            return None
        del self._entries[entry.id]
        self._active[entry.id] = entry.user, max(0.0, now - self._ripe.pop(entry.id))
        self._active_by_user[entry.user] += 1
        self._served[entry.user] = next(self._stamps)
        return entry

    def release(self, task_id: str) -> None:
        """The task does not run any more."""
        user, _ = self._active.pop(task_id, (None, 0.0))
        if user is None:
            return
        if task_id in self._entries:
            stamp, entry = self._entries[task_id]
            heapq.heappush(self._later, (entry.not_before, stamp, task_id))
        self._active_by_user[user] -= 1
        if not self._active_by_user[user]:
            del self._active_by_user[user]
            self._forget_idle(user)

    def due(self) -> float | None:
        """The earliest time at which a task that is too early now may start."""
        self._drop_stale_later()
        return self._later[0][0] if self._later else None

    def _forget_idle(self, user: str) -> None:
        """A user without running and waiting tasks leaves no trace."""
        if user not in self._active_by_user and not self._heaps.get(user):
            self._served.pop(user, None)

    def _ripen(self, now: float) -> None:
        """Move what is due from the time heap to the heaps of the users."""
        while self._later and self._later[0][0] <= now:
            _, stamp, task_id = heapq.heappop(self._later)
            entry = self._current(stamp, task_id)
            if entry is None:
                continue
            self._ripe.setdefault(task_id, now)
            if entry.force:
                heapq.heappush(self._forced, (entry.order, stamp, task_id))
            else:
                heap = self._heaps.setdefault(entry.user, [])
                heapq.heappush(heap, (-entry.priority, entry.order, stamp, task_id))

    def _current(self, stamp: int, task_id: str) -> Entry | None:
        """The entry, unless it left or was replaced since ``stamp``."""
        known = self._entries.get(task_id)
        return known[1] if known is not None and known[0] == stamp else None

    def _drop_stale_later(self) -> None:
        while self._later and self._current(*self._later[0][1:]) is None:
            heapq.heappop(self._later)

    def _next_forced(self) -> Entry | None:
        while self._forced:
            _, stamp, task_id = heapq.heappop(self._forced)
            entry = self._current(stamp, task_id)
            if entry is not None:
                return entry
        return None

    def _next_fair(self) -> Entry | None:
        if len(self._active) >= self.policy.max_active:
            return None
        limit = self.policy.max_active_per_user
        best: tuple[tuple[int, int, int, str], str, Entry] | None = None
        for user, heap in list(self._heaps.items()):
            entry = self._head(heap)
            if entry is None:
                del self._heaps[user]
                self._forget_idle(user)
                continue
            running = self._active_by_user.get(user, 0)
            if limit is not None and running >= limit:
                continue
            rank = (-entry.priority, running, self._served.get(user, -1), entry.order)
            if best is None or rank < best[0]:
                best = (rank, user, entry)
        if best is None:
            return None
        heapq.heappop(self._heaps[best[1]])
        return best[2]

    def _head(self, heap: list[tuple[int, str, int, str]]) -> Entry | None:
        """The first entry of a user's heap that is still current."""
        while heap:
            entry = self._current(heap[0][2], heap[0][3])
            if entry is not None:
                return entry
            heapq.heappop(heap)
        return None

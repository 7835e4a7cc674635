"""What the scheduler knows of unfinished tasks without asking the store."""

from __future__ import annotations

import hashlib
from collections import Counter
from urllib.parse import urlsplit, urlunsplit

import msgspec

from bot.domain.task import Task


class Books:
    """Which tasks are unfinished, whose they are, and which submission each came from."""

    def __init__(self) -> None:
        self._mark_of: dict[str, tuple[str, str]] = {}
        self._by_mark: dict[str, dict[str, None]] = {}  # ids, in the order they came
        self._of_user: Counter[str] = Counter()

    def enter(self, task: Task) -> None:
        """Take in an unfinished task; a second time changes nothing."""
        if task.id in self._mark_of:
            return
        mark = mark_of(task)
        self._mark_of[task.id] = (mark, task.user)
        self._by_mark.setdefault(mark, {})[task.id] = None
        self._of_user[task.user] += 1

    def strike(self, task_id: str) -> None:
        """Forget a task that became final."""
        known = self._mark_of.pop(task_id, None)
        if known is None:
            return
        mark, user = known
        del self._by_mark[mark][task_id]
        if not self._by_mark[mark]:
            del self._by_mark[mark]
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]

    def of_user(self, user: str) -> int:
        """How many unfinished tasks that user has."""
        return self._of_user.get(user, 0)

    def same(self, task: Task) -> str | None:
        """The id of the first unfinished task that does what ``task`` does."""
        return next(iter(self._by_mark.get(mark_of(task), ())), None)


def mark_of(task: Task) -> str:
    """Equal for two tasks of one user that do the same to the same source."""
    same = (
        task.user,
        _canonical(task.source),
        task.destination,
        task.steps,
        task.options,
    )
    return hashlib.blake2b(msgspec.json.encode(same), digest_size=16).hexdigest()


def _canonical(source: str) -> str:
    """The source without what does not change it: the fragment, the case of scheme and host.

    A fragment such as ``#/watch/1`` or ``#!id`` is a path to the pages that use it, and stays.
    """
    try:
        parts = urlsplit(source)
    except ValueError:
        return source
    if not parts.netloc:
        return source
    userinfo, at, host = parts.netloc.rpartition("@")
    netloc = f"{userinfo}{at}{host.lower()}"
    fragment = parts.fragment if parts.fragment.startswith(("/", "!")) else ""
    return urlunsplit((parts.scheme.lower(), netloc, parts.path or "/", parts.query, fragment))

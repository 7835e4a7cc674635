"""Connections that stay: how many a caller may have, and for how long they are believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bot.errors import TooMany
from bot.services import Caller


class Presence:
    """``most`` connections of one caller at a time. ``patience`` is how many seconds a client may
    take to read what it was sent, ``recheck`` after how many its token is looked at again."""

    def __init__(self, most: int, *, patience: float = 30.0, recheck: float = 60.0) -> None:
        self.patience = patience
        self.recheck = recheck
        self._most = most
        self._here: Counter[str] = Counter()

    @contextmanager
    def one_more(self, caller: Caller) -> Iterator[None]:
        """A connection of a caller for as long as this is entered. TooMany."""
        who = caller.token_id or caller.user
        if self._here[who] >= self._most:
            raise TooMany(
                f"more than {self._most} connections at a time",
                hint="close one; the limit is GRAPHQL_SECURITY max_connections",
            )
        self._here[who] += 1
        try:
            yield
        finally:
            self._here[who] -= 1
            if not self._here[who]:
                del self._here[who]

"""How often a caller may ask."""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import Protocol

from bot.domain.ports import Clock
from bot.errors import TooMany, Unavailable

log = logging.getLogger(__name__)

_MINUTE = 60.0
_PAUSE = 2.0  # seconds without the shared count after it gave no answer
_FORGET = 1000  # requests after which callers that asked nothing for a minute are forgotten


class SharedCount(Protocol):
    """Counts for several services together."""

    async def hit(self, who: str) -> float:
        """0, and the request counts; or the seconds until one more may. Unavailable."""

    async def close(self) -> None:
        """Let go of connections."""


class Rates:
    """``most`` requests of one caller in any 60 seconds; counted in ``shared``, where there is
    one, and here alone while that gives no answer."""

    def __init__(self, most: int, clock: Clock, shared: SharedCount | None = None) -> None:
        self._most = most
        self._clock = clock
        self._window = Window(most)
        self._shared = shared
        self._down_until: float | None = None

    async def count(self, who: str) -> None:
        """One request more. TooMany where that is one too many; ``retry_after`` in its details."""
        wait = self._window.hit(who, self._clock.monotonic())
        if self._shared is not None:
            wait = await self._counted(self._shared, who, wait)
        if wait > 0:
            seconds = max(1, math.ceil(wait))
            raise TooMany(
                f"more than {self._most} queries in a minute",
                hint=f"try again in {seconds} s; "
                "the limit is GRAPHQL_SECURITY max_queries_per_minute",
                retry_after=seconds,
            )

    async def _counted(self, shared: SharedCount, who: str, alone: float) -> float:
        now = self._clock.monotonic()
        if self._down_until is not None and now < self._down_until:
            return alone
        try:
            found = await shared.hit(who)
        except Unavailable as error:
            self._down_until = now + _PAUSE
            log.warning("requests are counted by each service alone: %s", error)
            return alone
        self._down_until = None
        return found

    async def close(self) -> None:
        """Let go of what is shared."""
        if self._shared is not None:
            await self._shared.close()


class Window:
    """When each caller asked in the last minute. (The one of ``limits`` in memory takes as long as
    a kept answer does, and forgets callers in a task of its own.)"""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: dict[str, deque[float]] = {}
        self._since_look = 0

    def hit(self, who: str, now: float) -> float:
        """0, and the request counts; or the seconds until one more may."""
        times = self._times.get(who)
        if times is None:
            times = self._times[who] = deque()
        since = now - _MINUTE
        while times and times[0] <= since:
            times.popleft()
        self._since_look += 1
        if self._since_look >= _FORGET:
            self._forget(since)
        if len(times) >= self._most:
            return times[0] - since
        times.append(now)
        return 0.0

    def _forget(self, since: float) -> None:
        self._since_look = 0
        for who in [who for who, times in self._times.items() if times and times[-1] <= since]:
            del self._times[who]

    def __len__(self) -> int:
        """Callers that are remembered."""
        return len(self._times)

"""How often a caller may ask."""

from __future__ import annotations

import math

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from bot.domain.ports import Clock
from bot.errors import TooMany


class Rates:
    """``most`` requests of one caller in any 60 seconds; counted in Redis where there is one, so
    that several services count together."""

    def __init__(self, most: int, redis: str | None, prefix: str, clock: Clock) -> None:
        storage: Storage = (
            MemoryStorage()
            if redis is None
            else RedisStorage(f"async+{redis}", implementation="redispy", key_prefix=prefix)
        )
        self._limiter = MovingWindowRateLimiter(storage)
        self._item = RateLimitItemPerMinute(most)
        self._clock = clock

    async def count(self, who: str) -> None:
        """One request more. TooMany where that is one too many; ``retry_after`` in its details."""
        if await self._limiter.hit(self._item, who):
            return
        stats = await self._limiter.get_window_stats(self._item, who)
        wait = max(1, math.ceil(stats.reset_time - self._clock.now()))
        raise TooMany(
            f"more than {self._item.amount} queries in a minute",
            hint=f"try again in {wait} s; the limit is GRAPHQL_SECURITY max_queries_per_minute",
            retry_after=wait,
        )

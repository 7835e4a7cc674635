"""Requests counted in Redis, so that several services count together."""

from __future__ import annotations

import time
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from bot.cache.redis import connect
from bot.errors import Unavailable


class RedisCount:
    """``most`` requests of one caller in any 60 seconds, under keys with that prefix. See
    ``rates.SharedCount``."""

    def __init__(self, most: int, url: str, prefix: str) -> None:
        self._item = RateLimitItemPerMinute(most)
        self._client = connect(url)
        pool: Any = self._client.connection_pool  # which the library takes, and does not declare
        storage = RedisStorage(
            f"async+{url}", implementation="redispy", key_prefix=prefix, connection_pool=pool
        )
        self._limiter = MovingWindowRateLimiter(storage)

    async def hit(self, who: str) -> float:
        """0, and the request counts; or the seconds until one more may. Unavailable where Redis
        does not answer."""
        try:
            if await self._limiter.hit(self._item, who):
                return 0.0
            stats = await self._limiter.get_window_stats(self._item, who)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis gives no answer: {error}") from error
        # By the clock of Redis, or nearly: the library takes that of this machine.
        return max(0.001, stats.reset_time - time.time())

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

"""Memory or Redis behind one port: values that may be lost at any moment, and are made again.

An entry has tags; dropping a tag makes every entry that has it, and everything that is being made
under it, invalid. A cache never fails its user: a Redis that is down is a cache without entries.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bot.cache.memory import MemoryCache
from bot.cache.port import Cache, CacheStats
from bot.cache.profiled import ProfiledCache
from bot.domain.ports import Profiler
from bot.domain.profiling import UNPROFILED

__all__ = ["Cache", "CacheStats", "open_cache"]


async def open_cache(
    url: str | None,
    *,
    prefix: str,
    max_bytes: int,
    clock: Callable[[], float] = time.monotonic,
    profiler: Profiler = UNPROFILED,
) -> Cache:
    """A cache in memory (no ``url``) or in Redis, whose keys all begin with ``prefix``.

    ``max_bytes`` is what the memory holds; no single value that is larger goes to Redis. A Redis
    that does not answer is no error, now or later. ConfigError where the URL is none of Redis.
    """
    cache = _opened(url, prefix, max_bytes, clock)
    return ProfiledCache(cache, profiler) if profiler.enabled else cache


def _opened(url: str | None, prefix: str, max_bytes: int, clock: Callable[[], float]) -> Cache:
    if not url:
        return MemoryCache(max_bytes=max_bytes, clock=clock)
    # The client takes 11 MB, so it is loaded only where it is used.
    from bot.cache.redis import RedisCache, connect

    return RedisCache(connect(url), prefix=prefix, max_bytes=max_bytes, clock=clock)

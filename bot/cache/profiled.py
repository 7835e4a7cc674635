"""A cache whose calls are timed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.cache.port import Cache, CacheStats, Make
from bot.domain.ports import Profiler


class ProfiledCache:
    """Hands everything on. See ``port.Cache``.

    ``cache.single_flight`` holds the time that making the value took.
    """

    def __init__(self, inner: Cache, profiler: Profiler) -> None:
        self._inner = inner
        self._profiler = profiler

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        with self._profiler.measure("cache.get"):
            return await self._inner.get(key)

    async def set(self, key: str, value: bytes, *, ttl: float, tags: Sequence[str] = ()) -> None:
        """Keep a value."""
        with self._profiler.measure("cache.set", size=len(value)):
            await self._inner.set(key, value, ttl=ttl, tags=tags)

    async def drop(self, tags: Iterable[str]) -> None:
        """Forget every entry that has one of ``tags``."""
        with self._profiler.measure("cache.drop"):
            await self._inner.drop(tags)

    async def delete(self, keys: Iterable[str]) -> None:
        """Forget those entries."""
        with self._profiler.measure("cache.delete"):
            await self._inner.delete(keys)

    async def clear(self) -> None:
        """Forget everything."""
        with self._profiler.measure("cache.clear"):
            await self._inner.clear()

    async def single_flight(
        self, key: str, *, ttl: float, make: Make, tags: Sequence[str] = ()
    ) -> bytes:
        """The value of ``key``, made once for all who ask meanwhile."""
        with self._profiler.measure("cache.single_flight"):
            return await self._inner.single_flight(key, ttl=ttl, make=make, tags=tags)

    def stats(self) -> CacheStats:
        """What it did so far."""
        return self._inner.stats()

    async def close(self) -> None:
        """Close it."""
        await self._inner.close()

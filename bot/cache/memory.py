"""The cache in the memory of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bot.cache.flights import Flight, Flights
from bot.cache.port import MAX_TTL, CacheStats, Make

_OVERHEAD = 300  # what an entry takes in memory besides its key and its value, roughly


@dataclass(slots=True)
class _Entry:
    value: bytes
    expires: float
    tags: frozenset[str]
    size: int


class MemoryCache:
    """The entries that were used last, as many as fit. See ``Cache``."""

    def __init__(self, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._tagged: dict[str, set[str]] = {}
        self._flights = Flights()
        self._bytes = self._hits = self._misses = self._evictions = 0

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._clock():
            self._remove(key)
            entry = None
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return entry.value

    async def set(self, key: str, value: bytes, *, ttl: float, tags: Sequence[str] = ()) -> None:
        """Keep a value; the entries that were not used for the longest time make room."""
        self._remove(key)
        size = len(key) + len(value) + sum(map(len, tags)) + _OVERHEAD
        if ttl <= 0 or size > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self._evictions += 1
        expires = self._clock() + min(ttl, MAX_TTL)
        self._entries[key] = _Entry(value, expires, frozenset(tags), size)
        self._bytes += size
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(key)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= entry.size
        for tag in entry.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]

    async def drop(self, tags: Iterable[str]) -> None:
        """Forget every entry that has one of ``tags``."""
        gone = tuple(tags)
        self._flights.outdate(tags=gone)
        for tag in gone:
            for key in tuple(self._tagged.get(tag, ())):
                self._remove(key)

    async def delete(self, keys: Iterable[str]) -> None:
        """Forget those entries."""
        gone = tuple(keys)
        self._flights.outdate(keys=gone)
        for key in gone:
            self._remove(key)

    async def clear(self) -> None:
        """Forget everything."""
        self._flights.outdate_all()
        self._entries.clear()
        self._tagged.clear()
        self._bytes = 0

    async def single_flight(
        self, key: str, *, ttl: float, make: Make, tags: Sequence[str] = ()
    ) -> bytes:
        """The value of ``key``, made once where it is not there."""
        known = await self.get(key)
        if known is not None:
            return known

        async def work(flight: Flight) -> bytes:
            value = await make()
            if not flight.stale:
                await self.set(key, value, ttl=ttl, tags=tags)
            return value

        return await self._flights.join(key, tags, work)

    def stats(self) -> CacheStats:
        """What it did so far, and what it holds."""
        return CacheStats(
            self._hits, self._misses, self._evictions, self._bytes, len(self._entries)
        )

    async def close(self) -> None:
        """Cancel what is being made."""
        await self._flights.close()

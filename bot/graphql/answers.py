"""Answers that are kept: for one role, for as long as they are true."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bot.cache import Cache, CacheStats
from bot.graphql.execution import Answer
from bot.graphql.freshness import Freshness
from bot.services import Caller

_canonical = msgspec.json.Encoder(order="deterministic")

Make = Callable[[], Awaitable[Answer]]


class _NotKept(Exception):
    """An answer with errors, on its way around the cache."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def key_of(
    fingerprint: str, operation: str | None, variables: Mapping[str, Any], caller: Caller
) -> str:
    """The same for the same question of the same role."""
    asked = [fingerprint, operation, variables, caller.user, int(caller.scope)]
    return hashlib.sha256(_canonical.encode(asked)).hexdigest()


class Answers:
    """``cache`` is None where nothing is kept."""

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache
        self._outdated: Counter[str] = Counter()

    async def get(self, key: str, freshness: Freshness, make: Make) -> tuple[Answer, bool]:
        """The answer of a key, and whether it was there; made once for all who ask meanwhile."""
        cache = self._cache
        if cache is None or freshness.ttl is None or freshness.ttl <= 0:
            return await make(), False
        if self._outdated and not freshness.tags.isdisjoint(self._outdated):
            return await make(), False  # what is kept of it is about to go
        made = False

        async def body() -> bytes:
            nonlocal made
            made = True
            answer = await make()
            if not answer.clean:
                raise _NotKept(answer)
            return answer.body

        try:
            found = await cache.single_flight(
                key, ttl=freshness.ttl, make=body, tags=tuple(freshness.tags)
            )
        except _NotKept as error:
            return error.answer, False
        return Answer(found, clean=True, begun=True), not made

    async def renew(self, key: str, freshness: Freshness, make: Make) -> None:
        """Make an answer anew and keep it in the place of the old one."""
        if self._cache is not None:
            await self._cache.delete([key])
            await self.get(key, freshness, make)

    def outdate(self, tags: Iterable[str]) -> None:
        """From this moment on nobody gets a kept answer about those, until ``drop`` was done."""
        self._outdated.update(tags)

    async def drop(self, tags: Sequence[str]) -> None:
        """Forget what is about those, after ``outdate``."""
        try:
            if self._cache is not None:
                await self._cache.drop(tags)
        finally:
            self._outdated -= Counter(tags)

    async def clear(self) -> None:
        """Forget everything."""
        if self._cache is not None:
            await self._cache.clear()

    def stats(self) -> CacheStats:
        """What the cache did."""
        return CacheStats(0, 0, 0, 0, 0) if self._cache is None else self._cache.stats()

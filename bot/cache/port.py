"""What a cache does, whoever keeps the entries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import msgspec

#: Makes the value of a key that is not there.
Make = Callable[[], Awaitable[bytes]]

#: The longest life of an entry, in seconds; a dropped tag is remembered for twice as long.
MAX_TTL = 86_400.0


class CacheStats(msgspec.Struct, frozen=True):
    """Counts since the start. ``bytes`` and ``entries`` are None where only the server knows."""

    hits: int
    misses: int
    evictions: int
    bytes: int | None
    entries: int | None


class Cache(Protocol):
    """A cache. ``ttl`` is in seconds, of which there are ``MAX_TTL`` at most."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def set(self, key: str, value: bytes, *, ttl: float, tags: Sequence[str] = ()) -> None:
        """Keep a value, unless it is too large or has no time to live."""

    async def drop(self, tags: Iterable[str]) -> None:
        """Forget every entry that has one of ``tags``."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Forget those entries."""

    async def clear(self) -> None:
        """Forget everything under the prefix of this cache."""

    async def single_flight(
        self, key: str, *, ttl: float, make: Make, tags: Sequence[str] = ()
    ) -> bytes:
        """The value of ``key``; made once for all who ask for it in this process meanwhile.

        What ``make`` raises reaches everybody who waits, and is not kept. A value whose tag is
        dropped while it is made goes to those who wait already, and is not kept either.
        """

    def stats(self) -> CacheStats:
        """What it did so far."""

    async def close(self) -> None:
        """Let go of connections and of what is being made."""

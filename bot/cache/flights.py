"""Values that are being made: each once, however many ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Flight:
    """A value that is being made, and how many wait for it."""

    tags: frozenset[str]
    waiters: int = 0
    stale: bool = False


class Flights:
    """The values that are being made now, each once."""

    def __init__(self) -> None:
        self._flights: dict[str, tuple[Flight, asyncio.Task[bytes]]] = {}
        self._tasks: set[asyncio.Task[bytes]] = set()

    async def join(
        self, key: str, tags: Sequence[str], work: Callable[[Flight], Awaitable[bytes]]
    ) -> bytes:
        """Wait for the flight of ``key``; start it with ``work`` where there is none.

        It is cancelled when nobody waits for it any more.
        """
        found = self._flights.get(key)
        if found is None:
            fresh = Flight(frozenset(tags))
            found = fresh, asyncio.ensure_future(self._fly(key, fresh, work))
            self._flights[key] = found
            self._tasks.add(found[1])
            found[1].add_done_callback(self._tasks.discard)
        flight, task = found
        flight.waiters += 1
        try:
            return await asyncio.shield(task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not task.done():
                self._land(key, flight)
                task.cancel()

    async def _fly(
        self, key: str, flight: Flight, work: Callable[[Flight], Awaitable[bytes]]
    ) -> bytes:
        try:
            return await work(flight)
        finally:
            self._land(key, flight)

    def _land(self, key: str, flight: Flight) -> None:
        found = self._flights.get(key)
        if found is not None and found[0] is flight:
            del self._flights[key]

    def outdate(self, *, tags: Iterable[str] = (), keys: Iterable[str] = ()) -> None:
        """Whoever asks from now on gets a new value; those under way are not kept."""
        gone, named = frozenset(tags), frozenset(keys)
        for key, (flight, _) in list(self._flights.items()):
            if key in named or not gone.isdisjoint(flight.tags):
                flight.stale = True
                del self._flights[key]

    def outdate_all(self) -> None:
        """Outdate everything."""
        self.outdate(keys=tuple(self._flights))

    async def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

"""The numbers that tell how the service is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bot.cache import CacheStats
from bot.operations.metrics import Metrics as Counted
from bot.operations.metrics_pulled import Page
from bot.operations.readings import Reading, Readings
from bot.services.callers import Caller, Scope


class Metrics:
    """What can be asked about the service in numbers; ``counted`` is where requests are counted."""

    def __init__(self, readings: Readings, page: Page, counted: Counted | None) -> None:
        self._readings = readings
        self._page = page
        self._counted = counted

    def current(self, caller: Caller) -> Sequence[tuple[Reading, float | None]]:
        """Every declared reading and its value; None where it is not known at present. The gauges
        of plugins come after them."""
        caller.require(Scope.VIEW)
        values = self._readings.sample()
        own = [(reading, values.get(reading.name)) for reading in self._readings.declared]
        return own + [
            (Reading(name, "", "A gauge of a plugin."), value)
            for name, value in self._readings.guests().items()
        ]

    async def page(self, caller: Caller, accept: str) -> tuple[bytes, str]:
        """All metrics for Prometheus, and their media type; ``accept`` chooses the format."""
        caller.require(Scope.VIEW)
        return await self._page.render(accept)

    def queries(self, stats: Callable[[], CacheStats]) -> None:
        """What the cache of answers to queries did, whenever somebody looks."""
        self._page.queries(stats)

        def ratio() -> float | None:
            found = stats()
            asked = found.hits + found.misses
            return found.hits / asked if asked else None

        self._readings.provide("query_cache_hit_ratio", ratio)

    def expect(self, routes: Iterable[tuple[str, str]]) -> None:
        """The routes (their templates) and methods that a door answers."""
        if self._counted is not None:
            self._counted.expect(routes)

    def live_sent(self, messages: int, size: int) -> None:
        """Live messages were sent, of so many bytes together."""
        if self._counted is not None:
            self._counted.live_sent(messages, size)

    def live_dropped(self, reason: str) -> None:
        """A live client had to go: ``slow``, or ``ended`` with its token or session."""
        if self._counted is not None:
            self._counted.live_dropped(reason)

    def answered(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """A door has answered a request; ``route`` is the template of its path, if it has one."""
        if self._counted is not None:
            self._counted.answered(route, method, status, seconds)

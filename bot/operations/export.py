"""Hands the values of all metrics to exporters, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Metric

from bot.domain.ports import Clock
from bot.errors import MltbError
from bot.operations.export_points import Point, points

log = logging.getLogger(__name__)

#: Seconds that the end of the service waits for what is still to be sent, over all exporters.
GRACE = 3.0


@dataclass(slots=True)
class Sent:
    """What became of the points of an exporter: sent, lost for want of room or of a listener,
    refused by the other side."""

    sent: int = 0
    dropped: int = 0
    refused: int = 0


class Exporter(Protocol):
    """Sends points somewhere."""

    name: str
    stats: Sent

    @property
    def waiting(self) -> int:
        """Points that are still to be sent."""

    def take(self, batch: Sequence[Point]) -> None:
        """Send them soon, in the order in which they come. Never waits."""

    def start(self) -> None:
        """Begin to send."""

    async def flush(self) -> None:
        """Send what waits, one try each, and end. Cancelled when it takes too long."""


class Export:
    """Collects every ``interval`` seconds, and once more at the end."""

    def __init__(
        self,
        exporters: Sequence[Exporter],
        collect: Callable[[], Awaitable[Sequence[Metric]]],
        clock: Clock,
        *,
        interval: float,
    ) -> None:
        self._exporters = exporters
        self._collect = collect
        self._clock = clock
        self._interval = interval
        self._since = clock.now()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        for exporter in self._exporters:
            exporter.start()
        self._running = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Collect once more, and give the exporters a moment to send what they have."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._round()
                await asyncio.gather(*(exporter.flush() for exporter in self._exporters))

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._interval)
            await self._round()

    async def _round(self) -> None:
        try:
            families = await self._collect()
        except MltbError as error:
            log.warning("metrics can't be collected for now: %s", error)
            return
        found = points(families, at=self._clock.now(), since=self._since)
        for exporter in self._exporters:
            exporter.take(found)

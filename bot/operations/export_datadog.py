"""Sends points to a DogStatsD agent by UDP: gauges as they are, counters as what they grew by.

Nobody confirms a datagram, so there is nothing to keep: an agent that is down misses what is sent
meanwhile. The library is an extra and is loaded when it is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from bot.errors import ConfigError
from bot.operations.export import Sent
from bot.operations.export_points import Point

log = logging.getLogger(__name__)

_Series = tuple[str, tuple[str, ...]]


class DatadogExporter:
    """One agent. ConfigError where the library is missing."""

    def __init__(self, host: str, port: int) -> None:
        try:
            from datadog.dogstatsd.base import DogStatsd
        except ImportError as error:
            raise ConfigError(
                f"DATADOG_ENABLED is set, but a library for it is not installed: {error}",
                hint="install it with: pip install 'mltb[datadog]'",
            ) from None
        self.name = "datadog"
        self.stats = Sent()
        self._client: Any = DogStatsd(
            host=host, port=port, disable_telemetry=True, track_instance=False
        )
        self._known: dict[_Series, float] = {}
        self._waiting: list[Sequence[Point]] = []
        self._sending: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Points that are still to be sent."""
        return sum(map(len, self._waiting))

    def take(self, batch: Sequence[Point]) -> None:
        """Send them now, in a thread: the name of the host has to be resolved. A batch that comes
        while the one before is still being sent takes the place of one that waits."""
        if self._waiting and self._sending is not None and not self._sending.done():
            self.stats.dropped += self.waiting
            self._waiting.clear()
        self._waiting.append(batch)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._run())

    def start(self) -> None:
        """Nothing to begin with."""

    async def flush(self) -> None:
        """Wait until the last batch is sent."""
        if self._sending is not None:
            await self._sending
        self._client.close_socket(quiet=True)

    async def _run(self) -> None:
        while self._waiting:
            batch = self._waiting.pop(0)
            sent = await asyncio.to_thread(self._send, batch)
            if sent:
                self.stats.sent += len(batch)
            else:
                self.stats.dropped += len(batch)

    def _send(self, batch: Sequence[Point]) -> bool:
        self._client.open_buffer()
        try:
            for point in batch:
                for name, kind, value in _parts(point):
                    self._report(name, kind, value, point)
            return bool(self._client.flush())
        finally:
            self._client.close_buffer()

    def _report(self, name: str, kind: str, value: float, point: Point) -> None:
        tags = [f"{label}:{each}" for label, each in point.labels.items()]
        if kind == "gauge":
            self._client.gauge(name, value, tags)
            return
        series = name, tuple(tags)
        grown = value - self._known.get(series, 0.0)
        self._known[series] = value
        if grown:
            self._client.count(name, grown, tags)


def _parts(point: Point) -> Iterator[tuple[str, str, float]]:
    """Name, kind and value of what is sent of a point; names as is usual there: ``mltb.tasks``."""
    name = point.name.replace("_", ".", 1).removesuffix("_total")
    if point.kind == "histogram":
        yield f"{name}.sum", "counter", point.value
        yield f"{name}.count", "counter", float(point.count or 0)
    else:
        yield name, point.kind, point.value

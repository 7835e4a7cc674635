"""One bandwidth limit over all engines, by the timetable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from bot.domain.bandwidth import Timetable, share
from bot.domain.ports import Clock, Engine
from bot.engines.registry import Engines

_TICK = 1.0  # seconds between two looks at the speeds


class Governor:
    """Divides the limit of the hour over the engines that are at work.

    ``start`` costs nothing where no limit is configured: then no engine is ever limited. Engines
    without a network (``local``) are left alone.
    """

    def __init__(self, engines: Engines, timetable: Timetable, clock: Clock) -> None:
        self._engines = [engine for engine in engines if engine.name != "local"]
        self._timetable = timetable
        self._clock = clock
        self._set: dict[str, int | None] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to govern."""
        if self._timetable.rules or self._timetable.default is not None:
            self._loop = asyncio.ensure_future(self._govern())

    async def stop(self) -> None:
        """End it; the last limits stay."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _govern(self) -> None:
        while True:
            self.apply()
            await self._clock.sleep(_TICK)

    def apply(self) -> Mapping[str, int | None]:
        """Set the limit of each engine once; what was set, by engine."""
        limit = self._timetable.limit(datetime.fromtimestamp(self._clock.now()).astimezone())
        speeds = {engine.name: _speed(engine) for engine in self._engines}
        if limit is None:
            parts: dict[str, int | None] = dict.fromkeys(speeds, None)
        else:
            # An idle engine has its full part at once when it begins; the next tick divides again.
            busy = {name: speed for name, speed in speeds.items() if speed is not None}
            shares = share(limit, busy)
            parts = {name: shares.get(name, limit) for name in speeds}
        for engine in self._engines:
            if self._set.get(engine.name, None) != parts[engine.name]:
                engine.set_limit(parts[engine.name])
        self._set = dict(parts)
        return parts


def _speed(engine: Engine) -> float | None:
    """Bytes a second of all jobs of the engine; None where it has none."""
    jobs = engine.snapshot()
    return sum(progress.speed for progress in jobs.values()) if jobs else None

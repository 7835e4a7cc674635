"""The numbers that tell how the service is, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bot.app.parts import Base, Transfers
from bot.operations.machine import Machine
from bot.operations.readings import Readings
from bot.operations.tally import Tally
from bot.operations.traffic import Traffic


@asynccontextmanager
async def opened_readings(base: Base, transfers: Transfers) -> AsyncIterator[Readings]:
    """What this part can tell; other parts provide what only they know."""
    readings, tally, traffic = Readings(), Tally(base.clock), Traffic(base.engines)
    machine = Machine(
        base.clock,
        downloads=base.settings.download_dir,
        data=base.settings.data_dir,
        each_second=traffic.look,
    )
    readings.provide_many(tally.figures)
    readings.provide_many(traffic.figures)
    readings.provide_many(machine.figures)
    readings.provide_many(lambda: _queue(base, transfers))
    readings.provide("cache_hit_ratio", lambda: _hit_ratio(base))
    deaf = base.hub.listen(tally.hear), base.hub.listen(traffic.hear)
    await machine.start()
    try:
        yield readings
    finally:
        await machine.stop()
        for end in deaf:
            end()


def _queue(base: Base, transfers: Transfers) -> Mapping[str, float]:
    queue, now = transfers.scheduler.queue, base.clock.now()
    since = queue.ready_since
    return {
        "tasks_running": transfers.scheduler.running,
        "tasks_queued": queue.ready,
        "tasks_waiting": len(queue) - queue.ready,
        "queue_wait_seconds": 0.0 if since is None else max(0.0, now - since),
    }


def _hit_ratio(base: Base) -> float | None:
    stats = base.cache.stats()
    asked = stats.hits + stats.misses
    return stats.hits / asked if asked else None

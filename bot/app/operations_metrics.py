"""The numbers that tell how the service is, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from bot.app.operations_export import opened_export
from bot.app.parts import Base, Transfers
from bot.domain.events import Listener
from bot.domain.task import StageKind
from bot.operations.machine import Machine
from bot.operations.metrics import Metrics, Workers
from bot.operations.metrics_pulled import Page, Pull, TaskCensus
from bot.operations.profiler import OperationProfiler
from bot.operations.readings import Readings
from bot.operations.tally import Tally
from bot.operations.traffic import Traffic
from bot.plugins.host import PluginHost
from bot.store.census import census


@dataclass(frozen=True, slots=True)
class Numbers:
    """What other parts need of this one. ``metrics`` is None without ENABLE_ADVANCED_METRICS."""

    readings: Readings
    page: Page
    metrics: Metrics | None


@asynccontextmanager
async def opened_numbers(
    base: Base, transfers: Transfers, host: PluginHost | None = None
) -> AsyncIterator[Numbers]:
    """Readings and metrics that follow what happens until the end."""
    async with AsyncExitStack() as stack:

        def listen(listener: Listener) -> None:
            stack.callback(base.hub.listen(listener))

        readings, tally, traffic = Readings(), Tally(base.clock), Traffic(base.engines)
        listen(tally.hear)
        listen(traffic.hear)
        machine = Machine(
            base.clock,
            downloads=base.settings.download_dir,
            data=base.settings.data_dir,
            each_second=traffic.look,
        )
        await machine.start()
        stack.push_async_callback(machine.stop)
        for figures in (tally.figures, traffic.figures, machine.figures):
            readings.provide_many(figures)
        readings.provide_many(partial(_queue, base, transfers))
        readings.provide("cache_hit_ratio", partial(_hit_ratio, base))
        registry, metrics = CollectorRegistry(), None
        workers = _workers(base, transfers)
        counted = TaskCensus(partial(census, base.store.database), workers.engines, base.clock)
        profiler = base.profiler if isinstance(base.profiler, OperationProfiler) else None
        pull = Pull(
            base.clock,
            readings=readings,
            traffic=traffic,
            cache=base.cache.stats,
            profiler=profiler,
            plugins=tuple if host is None else host.list_plugins,
        )
        page = Page(registry, counted, pull)
        if base.settings.enable_advanced_metrics:
            metrics = Metrics(registry, workers)
            listen(metrics.hear)
            pull.watch(await stack.enter_async_context(opened_export(base, page)))
        yield Numbers(readings, page, metrics)


def _workers(base: Base, transfers: Transfers) -> Workers:
    able = {engine.name: engine.capabilities for engine in base.engines}
    fetching = tuple(name for name, can in able.items() if can.fetches)
    delivering = tuple(name for name, can in able.items() if can.delivers)
    return Workers(
        tuple(able),
        {
            StageKind.FETCH: fetching,
            StageKind.STEP: transfers.planner.step_names,
            StageKind.DELIVER: delivering,
            StageKind.VERIFY: delivering,
            StageKind.SEED: tuple(name for name, can in able.items() if can.seeds),
        },
    )


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

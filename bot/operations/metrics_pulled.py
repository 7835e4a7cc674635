"""The metrics that are asked for when somebody looks: what others know already."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from bot.cache import CacheStats
from bot.domain.plugins import PluginState
from bot.domain.ports import Clock
from bot.domain.task import TaskState
from bot.operations import metrics_declared as declared
from bot.operations.export import Exporter
from bot.operations.metrics_declared import OTHER, UNPLANNED, Declared
from bot.operations.profiler import OperationProfiler
from bot.operations.readings import Readings
from bot.operations.traffic import Traffic
from bot.plugins.known import PluginInfo

#: Counts the stored tasks by state and engine.
Census = Callable[[], Awaitable[Mapping[tuple[TaskState, str | None], int]]]
#: For how many times as long as it took the census is good.
_GOOD_FOR = 20.0
#: What the store does with its database, as the profiler names it behind ``store.``.
_CALLS = ("save", "insert", "write", "read")


#: What is told of each plugin, and how it is found.
_PLUGIN_NUMBERS: tuple[tuple[Declared, Callable[[PluginInfo], float | None]], ...] = (
    (declared.PLUGIN_SECONDS, lambda each: each.seconds),
    (declared.PLUGIN_CRASHES, lambda each: each.crashes),
    (declared.PLUGIN_KILLS, lambda each: each.kills),
    (declared.PLUGIN_MEMORY, lambda each: each.memory),
    (declared.PLUGIN_CPU, lambda each: each.cpu_seconds),
    (declared.PLUGIN_DISK, lambda each: each.disk),
)


class TaskCensus:
    """The stored tasks by state and engine, counted no more often than is cheap."""

    def __init__(self, census: Census, engines: tuple[str, ...], clock: Clock) -> None:
        self._census = census
        self._engines = engines
        self._clock = clock
        self._counts: Mapping[tuple[str, str], int] = {}
        self._good_until: float | None = None

    async def refresh(self) -> None:
        """Count again, unless that was done a moment ago."""
        began = self._clock.monotonic()
        if self._good_until is not None and began < self._good_until:
            return
        counts: Counter[tuple[str, str]] = Counter(
            {(str(state), name): 0 for state in TaskState for name in (*self._engines, UNPLANNED)}
        )
        for (state, engine), count in (await self._census()).items():
            name = UNPLANNED if engine is None else engine if engine in self._engines else OTHER
            counts[str(state), name] += count
        ended = self._clock.monotonic()
        self._counts, self._good_until = counts, ended + (ended - began) * _GOOD_FOR

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client wants it."""
        family = _family(declared.TASKS)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Pull:
    """Readings, bytes and the cache, at the moment somebody looks."""

    def __init__(
        self,
        clock: Clock,
        *,
        readings: Readings,
        traffic: Traffic,
        cache: Callable[[], CacheStats],
        profiler: OperationProfiler | None,
        plugins: Callable[[], Sequence[PluginInfo]],
    ) -> None:
        self._plugins_now = plugins
        self._clock = clock
        self._known = readings
        self._moved = traffic
        self._asked = cache
        self._profiler = profiler
        self._exporters: Sequence[Exporter] = ()
        self._queries: Callable[[], CacheStats] = lambda: CacheStats(0, 0, 0, 0, 0)

    def queries(self, stats: Callable[[], CacheStats]) -> None:
        """Show what the cache of answers to queries does."""
        self._queries = stats

    def watch(self, exporters: Sequence[Exporter]) -> None:
        """Show what becomes of the points of these."""
        self._exporters = exporters

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client wants it."""
        yield from self._traffic()
        yield from self._cache()
        yield from self._query_cache()
        yield from self._readings()
        yield from self._exports()
        yield from self._plugins()
        if self._profiler is not None:
            yield from self._database(self._profiler)

    def _traffic(self) -> Iterator[Metric]:
        families = {"in": _family(declared.RECEIVED), "out": _family(declared.SENT)}
        for (direction, engine), count in self._moved.totals().items():
            families[direction].add_metric((engine,), count)
        yield from families.values()

    def _cache(self) -> Iterator[Metric]:
        stats = self._asked()
        requests, evictions = _family(declared.CACHE_REQUESTS), _family(declared.CACHE_EVICTIONS)
        requests.add_metric(("hit",), stats.hits)
        requests.add_metric(("miss",), stats.misses)
        evictions.add_metric((), stats.evictions)
        yield from (requests, evictions)

    def _query_cache(self) -> Iterator[Metric]:
        stats = self._queries()
        requests = _family(declared.QUERY_CACHE_REQUESTS)
        requests.add_metric(("hit",), stats.hits)
        requests.add_metric(("miss",), stats.misses)
        yield requests
        for what, value in (
            (declared.QUERY_CACHE_EVICTIONS, stats.evictions),
            (declared.QUERY_CACHE_BYTES, stats.bytes),
            (declared.QUERY_CACHE_ENTRIES, stats.entries),
        ):
            family = _family(what)
            if value is not None:
                family.add_metric((), value)
            yield family

    def _readings(self) -> Iterator[Metric]:
        readings = self._known
        values = readings.sample()
        for reading in readings.declared:
            if not reading.total and reading.name in values:
                family = _family(declared.of_reading(reading))
                family.add_metric((), values[reading.name])
                yield family
        if "last_backup_age_seconds" in values:
            family = _family(declared.BACKUP_TIME)
            family.add_metric((), self._clock.now() - values["last_backup_age_seconds"])
            yield family
        family = _family(declared.PLUGIN_VALUE)
        for name, value in readings.guests().items():
            family.add_metric(name.split(":")[1:], value)
        yield family

    def _plugins(self) -> Iterator[Metric]:
        found = self._plugins_now()
        for what, number in _PLUGIN_NUMBERS:
            family = _family(what)
            for each in found:
                if (value := number(each)) is not None:
                    family.add_metric((each.id,), value)
            yield family
        calls, states = _family(declared.PLUGIN_CALLS), _family(declared.PLUGIN_STATE)
        for each in found:
            for outcome, count in (
                ("ok", each.calls - each.failures - each.timeouts),
                ("error", each.failures),
                ("timeout", each.timeouts),
            ):
                calls.add_metric((each.id, outcome), count)
            for state in PluginState:
                states.add_metric((each.id, str(state)), state is each.state)
        confined = _family(declared.PLUGINS_CONFINED)
        running = (each.tier for each in found if each.state is PluginState.RUNNING)
        for tier, count in Counter(running).items():
            confined.add_metric((str(tier),), count)
        yield from (calls, states, confined)

    def _database(self, profiler: OperationProfiler) -> Iterator[Metric]:
        counts, seconds = dict.fromkeys(_CALLS, 0), dict.fromkeys(_CALLS, 0.0)
        for each in profiler.stats("store"):
            call = each.operation.split(".")[1]
            if call in counts:
                counts[call] += each.count
                seconds[call] += each.total
        calls, waited = _family(declared.DATABASE_CALLS), _family(declared.DATABASE_SECONDS)
        for call in _CALLS:
            calls.add_metric((call,), counts[call])
            waited.add_metric((call,), seconds[call])
        yield from (calls, waited)

    def _exports(self) -> Iterator[Metric]:
        counts, waiting = _family(declared.EXPORTED), _family(declared.EXPORT_BUFFERED)
        for each in self._exporters:
            for outcome, count in asdict(each.stats).items():
                counts.add_metric((each.name, outcome), count)
            waiting.add_metric((each.name,), each.waiting)
        yield from (counts, waiting)


class Page:
    """What Prometheus reads: what is counted in ``registry``, and what is asked for."""

    def __init__(self, registry: CollectorRegistry, census: TaskCensus, pull: Pull) -> None:
        self._registry = registry
        self._census = census
        self._pull = pull

    def queries(self, stats: Callable[[], CacheStats]) -> None:
        """As ``Pull.queries``."""
        self._pull.queries(stats)

    async def collect(self) -> list[Metric]:
        """Every metric as it is now. What is asked for belongs to the thread of the event loop;
        what is counted is copied in another one: a thousand series take milliseconds."""
        await self._census.refresh()
        asked = [*self._census.collect(), *self._pull.collect()]
        return asked + await asyncio.to_thread(self._counted)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its media type: OpenMetrics where ``accept`` asks for it."""
        encode, media = choose_encoder(accept)
        families = await self.collect()
        return await asyncio.to_thread(encode, cast(CollectorRegistry, _Collected(families))), media

    def _counted(self) -> list[Metric]:
        """Without the times at which each series was made: they would double the number."""
        families = list(self._registry.collect())
        for family in families:
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
        return families


@dataclass(frozen=True, slots=True)
class _Collected:
    families: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _family(what: Declared) -> CounterMetricFamily | GaugeMetricFamily:
    if what.kind == "counter":
        return CounterMetricFamily(what.name, what.help, labels=what.labels)
    return GaugeMetricFamily(what.name, what.help, labels=what.labels)

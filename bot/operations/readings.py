"""The numbers that tell how the service is: one flat snapshot, for history, alerts and doors.

Every reading is declared, by a stable name. Who knows its value provides it; a reading that nobody
provides, or whose value is not known at the moment, is left out of a snapshot.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

log = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that can be asked for at any time. ``total`` says that it only grows while the
    service runs, and begins at 0 with each start."""

    name: str
    unit: str
    help: str
    total: bool = False


#: What this version can tell. Names are for good: history, alerts and dashboards hold them.
READINGS: tuple[Reading, ...] = (
    Reading("tasks_running", "tasks", "Tasks that hold one of the MAX_ACTIVE places."),
    Reading("tasks_queued", "tasks", "Tasks that may run and wait for a place."),
    Reading(
        "tasks_waiting",
        "tasks",
        "Tasks that wait for a time: of their start, of their next try, of the next look at a disk "
        "that was full.",
    ),
    Reading("tasks_done_total", "tasks", "Tasks delivered since the start.", total=True),
    Reading("tasks_failed_total", "tasks", "Tasks failed for good since the start.", total=True),
    Reading("tasks_cancelled_total", "tasks", "Tasks cancelled since the start.", total=True),
    Reading(
        "queue_wait_seconds",
        "seconds",
        "How long the task that has waited longest could have run already; 0 if none waits.",
    ),
    Reading("bytes_in_total", "bytes", "Bytes fetched since the start.", total=True),
    Reading("bytes_out_total", "bytes", "Bytes delivered or seeded since the start.", total=True),
    Reading("bytes_in_per_second", "bytes/s", "The speed of all fetches together."),
    Reading("bytes_out_per_second", "bytes/s", "The speed of all deliveries together."),
    Reading("failures_per_minute", "failures", "Tries of stages that failed in the last 60 s."),
    Reading("cache_hit_ratio", "ratio", "Found among asked for in the cache, since the start."),
    Reading(
        "query_cache_hit_ratio", "ratio", "GraphQL queries that had a kept answer, since the start."
    ),
    Reading("disk_free_bytes", "bytes", "Free in the filesystem of DOWNLOAD_DIR."),
    Reading("disk_free_ratio", "ratio", "Free among all bytes of that filesystem."),
    Reading("data_free_bytes", "bytes", "Free in the filesystem of DATA_DIR."),
    Reading("cpu_percent", "percent", "Processor time in use on the machine; 100 is all cores."),
    Reading("process_cpu_percent", "percent", "Processor time of this process; 100 is one core."),
    Reading("process_memory_bytes", "bytes", "Resident memory of this process."),
    Reading("children_memory_bytes", "bytes", "Resident memory of the programs it started."),
    Reading("memory_available_bytes", "bytes", "Memory that programs can still get."),
    Reading("load_1m", "processes", "Processes that run or want to, averaged over a minute."),
    Reading("open_files", "files", "Open files and sockets of this process."),
    Reading(
        "event_loop_lag_seconds",
        "seconds",
        "How much later than asked the event loop woke up, the worst of the last 5 s.",
    ),
    Reading("websocket_clients", "clients", "Connected WebSocket clients."),
    Reading("alerts_firing", "alerts", "Alerts that fire."),
    Reading("last_backup_age_seconds", "seconds", "Since the last backup that was complete."),
    Reading("uptime_seconds", "seconds", "Since the start."),
)

_NOTHING: Mapping[str, float] = {}

#: Tells one number, or None while it is not known. Quick, without input or output.
Source = Callable[[], float | None]
#: Tells several, by name.
Sources = Callable[[], Mapping[str, float]]


class Readings:
    """The declared readings and where their values come from."""

    def __init__(self, declared: Iterable[Reading] = READINGS) -> None:
        self._declared = {reading.name: reading for reading in declared}
        self._one: dict[str, Source] = {}
        self._several: list[Sources] = []
        self._guests: Sources = dict
        self._faulty: set[object] = set()

    @property
    def declared(self) -> tuple[Reading, ...]:
        """All of them, those that are not known at present too."""
        return tuple(self._declared.values())

    def provide(self, reading: Reading | str, source: Source) -> None:
        """Let ``source`` tell a reading: a new one, or a declared one (by its name, if you like).

        A later source of one reading takes the place of the earlier one.
        """
        if isinstance(reading, Reading):
            self._declared[reading.name] = reading
            reading = reading.name
        elif reading not in self._declared:
            raise KeyError(f"no reading is called {reading!r}")
        self._one[reading] = source

    def provide_many(self, source: Sources) -> None:
        """Let ``source`` tell several declared readings; ``provide`` comes before it."""
        self._several.append(source)

    def provide_guests(self, source: Sources) -> None:
        """Let ``source`` tell what nobody declared: the gauges of plugins, which come and go."""
        self._guests = source

    def everything(self) -> dict[str, float]:
        """As ``sample``, and the gauges of plugins after it."""
        return {**self.sample(), **self.guests()}

    def guests(self) -> Mapping[str, float]:
        """The gauges of plugins alone."""
        return self._told(self._guests, _NOTHING)

    def sample(self) -> dict[str, float]:
        """The values that are known now, by name, in the order of ``declared``."""
        found: dict[str, float | None] = {}
        for sources in self._several:
            found.update(self._told(sources, _NOTHING))
        for name, source in self._one.items():
            found[name] = self._told(source, None)
        return {
            name: float(value)
            for name in self._declared
            if (value := found.get(name)) is not None and math.isfinite(value)
        }

    def _told(self, source: Callable[[], _T], otherwise: _T) -> _T:
        """What a source says. A fault of one must not hide the others, and is told once."""
        try:
            return source()
        except Exception:
            if source not in self._faulty:
                self._faulty.add(source)
                log.exception("a source of readings failed: %r", source)
            return otherwise

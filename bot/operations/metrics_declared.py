"""Every metric that ``/metrics`` shows and exporters send, declared once: name, kind, labels, help.

Labels are bounded: their values come from lists that the service knows (states, engines, steps,
error codes, routes), never from what a user wrote; whatever is not in its list counts as ``other``.
The readings come on top, each as the gauge ``mltb_`` and its name; those that are sums are left
out, since metrics with labels say the same in more detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.operations.readings import Reading

OTHER = "other"
#: The engine of a task that is not planned yet.
UNPLANNED = "none"


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric. The name of a counter ends with ``_total``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_LONG = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200)
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

TASKS = Declared("mltb_tasks", "gauge", "Tasks that are stored.", ("state", "engine"))
TASKS_FINISHED = Declared(
    "mltb_tasks_finished_total", "counter", "Tasks that became final.", ("state", "engine")
)
TASK_WAIT = Declared(
    "mltb_task_wait_seconds",
    "histogram",
    "How long tasks were ready before they got a place.",
    buckets=_LONG,
)
STAGE_SECONDS = Declared(
    "mltb_stage_duration_seconds",
    "histogram",
    "How long stages ran that ended well, all their tries together.",
    ("stage", "worker"),
    _LONG,
)
STAGE_FAILURES = Declared(
    "mltb_stage_failures_total", "counter", "Tries of stages that failed.", ("stage", "code")
)
STAGE_RETRIES = Declared(
    "mltb_stage_retries_total", "counter", "Failed tries that another one follows.", ("stage",)
)
RECEIVED = Declared(
    "mltb_received_bytes_total", "counter", "Bytes of files that were fetched.", ("engine",)
)
SENT = Declared(
    "mltb_sent_bytes_total", "counter", "Bytes of files that were delivered or seeded.", ("engine",)
)
CACHE_REQUESTS = Declared(
    "mltb_cache_requests_total", "counter", "What the cache was asked for.", ("outcome",)
)
CACHE_EVICTIONS = Declared(
    "mltb_cache_evictions_total", "counter", "Entries that made room for others."
)
QUERY_CACHE_REQUESTS = Declared(
    "mltb_query_cache_requests_total",
    "counter",
    "Answers to GraphQL queries that were asked for in the cache of answers.",
    ("outcome",),
)
QUERY_CACHE_EVICTIONS = Declared(
    "mltb_query_cache_evictions_total", "counter", "Kept answers that made room for others."
)
QUERY_CACHE_BYTES = Declared(
    "mltb_query_cache_bytes", "gauge", "Memory that kept answers take; without Redis."
)
QUERY_CACHE_ENTRIES = Declared(
    "mltb_query_cache_entries", "gauge", "Answers that are kept; without Redis."
)
DATABASE_CALLS = Declared(
    "mltb_database_calls_total",
    "counter",
    "Transactions and queries of the database; with ENABLE_PROFILER.",
    ("call",),
)
DATABASE_SECONDS = Declared(
    "mltb_database_call_seconds_total",
    "counter",
    "Seconds that callers waited for them; with ENABLE_PROFILER.",
    ("call",),
)
OPERATIONS = Declared(
    "mltb_graphql_operations_total",
    "counter",
    "GraphQL operations that were executed; kept answers are not among them.",
    ("type", "outcome"),
)
OPERATION_SECONDS = Declared(
    "mltb_graphql_duration_seconds",
    "histogram",
    "How long GraphQL operations took.",
    ("type",),
    _SHORT,
)
PLUGIN_CALLS = Declared(
    "mltb_plugin_calls_total", "counter", "Calls of plugins.", ("plugin", "outcome")
)
PLUGIN_SECONDS = Declared(
    "mltb_plugin_call_seconds_total", "counter", "Seconds that calls of plugins took.", ("plugin",)
)
PLUGIN_KILLS = Declared(
    "mltb_plugin_kills_total", "counter", "Plugins that were ended by force.", ("plugin",)
)
PLUGIN_CRASHES = Declared(
    "mltb_plugin_crashes_total", "counter", "Plugins that ended with an error.", ("plugin",)
)
PLUGIN_VALUE = Declared(
    "mltb_plugin_value", "gauge", "What the monitor plugins say.", ("plugin", "name")
)
PLUGIN_STATE = Declared(
    "mltb_plugin_state", "gauge", "1 for the state that a plugin is in.", ("plugin", "state")
)
PLUGIN_MEMORY = Declared(
    "mltb_plugin_memory_bytes", "gauge", "Memory of the process of a plugin.", ("plugin",)
)
PLUGIN_CPU = Declared(
    "mltb_plugin_cpu_seconds_total",
    "counter",
    "CPU time of the processes of a plugin.",
    ("plugin",),
)
PLUGIN_DISK = Declared(
    "mltb_plugin_disk_bytes", "gauge", "Space that the directory of a plugin takes.", ("plugin",)
)
PLUGINS_CONFINED = Declared(
    "mltb_plugins_confined", "gauge", "Plugins that run, by what confines them.", ("tier",)
)
ALERTS = Declared("mltb_alerts_total", "counter", "Alerts that began to fire.", ("severity",))
BACKUPS = Declared("mltb_backups_total", "counter", "Backups by what came of them.", ("outcome",))
BACKUP_SECONDS = Declared(
    "mltb_backup_duration_seconds", "histogram", "How long backups took.", buckets=_LONG
)
BACKUP_SIZE = Declared("mltb_backup_size_bytes", "gauge", "Size of the last backup.")
BACKUP_TIME = Declared(
    "mltb_backup_last_success_timestamp_seconds", "gauge", "When the last backup was complete."
)
REQUESTS = Declared(
    "mltb_http_requests_total",
    "counter",
    "Answered HTTP requests; the route is its template, the status its class.",
    ("route", "method", "status"),
)
REQUEST_SECONDS = Declared(
    "mltb_http_request_duration_seconds",
    "histogram",
    "How long HTTP requests took, until the last byte of their answer.",
    ("route",),
    _SHORT,
)
LIVE_MESSAGES = Declared(
    "mltb_live_messages_total", "counter", "Messages that were sent to live clients."
)
LIVE_BYTES = Declared("mltb_live_bytes_total", "counter", "Bytes of those, as they were sent.")
LIVE_DROPS = Declared(
    "mltb_live_drops_total",
    "counter",
    "Live clients that had to go: slow, or ended with their token or session.",
    ("reason",),
)
EXPORTED = Declared(
    "mltb_export_points_total",
    "counter",
    "Points for exporters: sent, dropped for want of room or of a listener, refused.",
    ("exporter", "outcome"),
)
EXPORT_BUFFERED = Declared(
    "mltb_export_buffered_points", "gauge", "Points that wait to be sent.", ("exporter",)
)

DECLARED = tuple(each for each in tuple(globals().values()) if isinstance(each, Declared))


def of_reading(reading: Reading) -> Declared:
    """The gauge that shows a reading."""
    return Declared(f"mltb_{reading.name}", "gauge", reading.help)

"""Prometheus metrics in a registry of their own, counted from the events of the service.

Everything that can be known in advance is there with 0 from the start, so that the first failure
of a kind is an increase that a query can see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bot import errors
from bot.domain import events
from bot.domain.task import FINAL, StageKind
from bot.operations import metrics_declared as declared
from bot.operations.metrics_declared import OTHER, UNPLANNED, Declared

_KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
_PLAN = "plan"
_STAGES = (_PLAN, *map(str, StageKind))
_SEVERITIES = ("critical", "high", "medium", "low")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_OPERATIONS = ("query", "mutation", "subscription")
_LIVE_DROPS = ("slow", "ended")
_OPERATION_OUTCOMES = ("ok", "error", "refused")


@dataclass(frozen=True, slots=True)
class Workers:
    """The names that may be labels: the engines, and who does which kind of stage."""

    engines: tuple[str, ...]
    stages: Mapping[StageKind, tuple[str, ...]]


class _Family(dict[str | tuple[str, ...], Any]):
    """The children of a metric by the value of their label (or a tuple of values), made when they
    are asked for. A dictionary is ten times as quick as ``labels`` of the library.
    """

    def __init__(self, metric: Any) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, key: str | tuple[str, ...]) -> Any:
        labels = (key,) if isinstance(key, str) else key
        child = self[key] = self._metric.labels(*labels)
        return child

    def expect(self, *labels: str) -> None:
        """Let that child be there, with 0."""
        self[labels if len(labels) > 1 else labels[0]]


class Metrics:
    """The metrics that are counted, in ``registry``; give it every event."""

    def __init__(self, registry: CollectorRegistry, workers: Workers) -> None:
        self._registry = registry
        self._workers = workers
        self._finished = self._family(
            declared.TASKS_FINISHED, sorted(FINAL), (*workers.engines, UNPLANNED)
        )
        self._wait = self._make(declared.TASK_WAIT)
        self._stage_seconds = self._family(declared.STAGE_SECONDS)
        for kind, names in workers.stages.items():
            for name in names:
                self._stage_seconds.expect(kind, name)
        self._codes = tuple(sorted(_codes(errors.TransferError)))
        self._failures = self._family(declared.STAGE_FAILURES, _STAGES, self._codes)
        self._retries = self._family(declared.STAGE_RETRIES, _STAGES)
        self._operations = self._family(declared.OPERATIONS, _OPERATIONS, _OPERATION_OUTCOMES)
        self._operation_seconds = self._family(declared.OPERATION_SECONDS, _OPERATIONS)
        self._alerts = self._family(declared.ALERTS, _SEVERITIES)
        self._backups = self._family(declared.BACKUPS, ("ok", "failed"))
        self._backup_seconds = self._make(declared.BACKUP_SECONDS)
        self._backup_size = self._make(declared.BACKUP_SIZE)
        self._requests = self._family(declared.REQUESTS)
        self._request_seconds = self._family(declared.REQUEST_SECONDS)
        self._live_messages = self._make(declared.LIVE_MESSAGES)
        self._live_bytes = self._make(declared.LIVE_BYTES)
        self._live_drops = self._family(declared.LIVE_DROPS, _LIVE_DROPS)
        # What counts a kind of answer, once it was there: this is done for every request.
        self._answered: dict[tuple[str | None, str, int], tuple[Any, Any]] = {}
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            events.TaskMoved: self._moved,
            events.TaskStarted: self._started,
            events.StageFinished: self._stage_finished,
            events.StageFailed: self._stage_failed,
            events.OperationExecuted: self._operated,
            events.AlertRaised: self._alerted,
            events.BackupMade: self._backed_up,
            events.BackupFailed: lambda _: self._backups["failed"].inc(),
        }

    def _make(self, what: Declared) -> Any:
        options = {"buckets": what.buckets} if what.buckets else {}
        return _KINDS[what.kind](
            what.name, what.help, what.labels, registry=self._registry, **options
        )

    def _family(self, what: Declared, *values: Iterable[str]) -> _Family:
        """The metric, with every combination of the label values that are given."""
        family = _Family(self._make(what))
        for labels in product(*values) if values else ():
            family.expect(*labels)
        return family

    def hear(self, event: events.Event) -> None:
        """An event of the service."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def answered(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """An HTTP request was answered; ``route`` is the template of its path, if it has one."""
        known = self._answered.get((route, method, status))
        if known is None:
            where, method = route or OTHER, _known(method, _METHODS)
            requests = self._requests[where, method, _class(status)]
            known = requests.inc, self._request_seconds[where].observe
            self._answered[route, method, status] = known
        count, observe = known
        count()
        observe(seconds)

    def live_sent(self, messages: int, size: int) -> None:
        """Live messages were sent, of so many bytes together."""
        self._live_messages.inc(messages)
        self._live_bytes.inc(size)

    def live_dropped(self, reason: str) -> None:
        """A live client had to go."""
        self._live_drops[_known(reason, _LIVE_DROPS)].inc()

    def expect(self, routes: Iterable[tuple[str, str]]) -> None:
        """The routes and methods that there are, so that their labels are there too."""
        for route, method in routes:
            for status in ("2xx", "4xx", "5xx"):
                self._requests.expect(route, method, status)

    # What the events say

    def _moved(self, event: events.TaskMoved) -> None:
        if event.after in FINAL:
            engine = UNPLANNED if event.engine is None else self._engine(event.engine)
            self._finished[event.after.value, engine].inc()

    def _started(self, event: events.TaskStarted) -> None:
        self._wait.observe(event.waited)

    def _stage_finished(self, event: events.StageFinished) -> None:
        if event.phase is not None:
            worker = _known(event.worker, self._workers.stages.get(event.phase, ()))
            self._stage_seconds[event.phase.value, worker].observe(event.seconds)

    def _stage_failed(self, event: events.StageFailed) -> None:
        stage = _PLAN if event.phase is None else event.phase.value
        self._failures[stage, _known(event.code, self._codes)].inc()
        if event.retry_at is not None:
            self._retries[stage].inc()

    def _operated(self, event: events.OperationExecuted) -> None:
        operation = _known(event.operation, _OPERATIONS)
        self._operations[operation, _known(event.outcome, _OPERATION_OUTCOMES)].inc()
        self._operation_seconds[operation].observe(event.seconds)

    def _alerted(self, event: events.AlertRaised) -> None:
        self._alerts[_known(event.severity, _SEVERITIES)].inc()

    def _backed_up(self, event: events.BackupMade) -> None:
        self._backups["ok"].inc()
        self._backup_seconds.observe(event.seconds)
        self._backup_size.set(event.size)

    def _engine(self, name: str) -> str:
        return _known(name, self._workers.engines)


def _known(value: str, allowed: Iterable[str]) -> str:
    """A label from a list that is known, or ``other``."""
    return value if value in allowed else OTHER


def _class(status: int) -> str:
    return _known(f"{status // 100}xx", _STATUSES)


def _codes(kind: type[errors.TransferError]) -> set[str]:
    below = (_codes(each) for each in kind.__subclasses__())
    return {kind.code}.union(*below)

"""Logs, metrics and the profiler."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from bot.graphql.declaring import BigInt, Json, choice, described, instant, said
from bot.operations.history_query import Series as DomainSeries
from bot.operations.log_lines import LogLine as DomainLine
from bot.operations.profiler import SlowRun, Summary
from bot.operations.readings import Reading as DomainReading
from bot.services.history import MetricsHistory as History
from bot.services.logs import LogStats


class LogLevel(Enum):
    """How grave a line of the log is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


choice(LogLevel)


@described
class LoggerStats:
    """The files of the log."""

    enabled: bool = said("Whether lines are kept in files.")
    directory: str = said("Where.")
    files: int = said("How many.")
    bytes: BigInt = said("Their size.")
    dropped: int = said("Lines that could not be written since the start.")
    oldest: str | None = said("The time of the oldest line.")
    newest: str | None = said("The time of the newest line.")

    @classmethod
    def of(cls, found: LogStats) -> LoggerStats:
        """As the schema has it."""
        return cls(
            enabled=found.enabled,
            directory=found.directory,
            files=found.files,
            bytes=found.bytes,
            dropped=found.dropped,
            oldest=found.oldest,
            newest=found.newest,
        )


@described
class LogLine:
    """A line of the log, without secrets."""

    time: datetime = said("When.")
    level: LogLevel = said("How grave it is.")
    logger: str = said("Who said it.")
    message: str = said("What.")
    request: str | None = said("The request that it belongs to.")
    task: str | None = said("The task that it belongs to.")
    fields: Json = said("What else was said.")
    error: str | None = said("A traceback.")

    @classmethod
    def of(cls, found: DomainLine) -> LogLine:
        """As the schema has it."""
        return cls(
            time=datetime.fromisoformat(found.time),
            level=LogLevel(found.level),
            logger=found.logger,
            message=found.message,
            request=found.request,
            task=found.task,
            fields=found.fields,
            error=found.error,
        )


@described
class LogPage:
    """Lines of the log, the newest first."""

    items: list[LogLine] = said("The lines.")
    cursor: str | None = said("What `before` takes for older ones; null where there are none.")
    end: str = said("The place behind the newest line, to follow the log from.")


@described
class Metric:
    """A number that tells how the service is."""

    name: str = said("Its name, which is for good.")
    unit: str = said("Its unit.")
    help: str = said("What it tells.")
    total: bool = said("Whether it only grows while the service runs.")
    value: float | None = said("Its value; null where it is not known at present.")

    @classmethod
    def of(cls, found: DomainReading, value: float | None) -> Metric:
        """As the schema has it."""
        return cls(
            name=found.name, unit=found.unit, help=found.help, total=found.total, value=value
        )


@described
class Series:
    """A metric over time, on the grid of its answer; null where nothing was measured."""

    name: str = said("The metric.")
    mean: list[float | None] = said("The mean of each stretch.")
    min: list[float | None] = said("The least of each stretch.")
    max: list[float | None] = said("The most of each stretch.")
    last: list[float | None] = said("The last of each stretch.")

    @classmethod
    def of(cls, found: DomainSeries) -> Series:
        """As the schema has it."""
        return cls(name=found.name, mean=found.mean, min=found.min, max=found.max, last=found.last)


@described
class MetricsHistory:
    """Metrics over time: stretch `n` begins `n` steps after the start."""

    start: datetime = said("When the first stretch begins.")
    step: int = said("The width of a stretch in seconds.")
    size: int = said("How many stretches there are.")
    series: list[Series] = said("The metrics.")

    @classmethod
    def of(cls, found: History) -> MetricsHistory:
        """As the schema has it."""
        answer = found.answer
        return cls(
            start=instant(answer.start),
            step=answer.step,
            size=answer.size,
            series=[Series.of(each) for each in answer.series],
        )


@described
class OperationStats:
    """How long an operation takes; times in seconds."""

    operation: str = said("Its name, such as `stage.fetch`.")
    count: int = said("How often it ran.")
    errors: int = said("How often it failed.")
    slow: int = said("How often it took PROFILER_SLOW_THRESHOLD or longer.")
    total: float = said("Of all runs together.")
    mean: float = said("On average.")
    median: float = said("Half of the runs are shorter.")
    p95: float = said("95 of 100 runs are shorter.")
    p99: float = said("99 of 100 runs are shorter.")
    min: float = said("The shortest.")
    max: float = said("The longest.")

    @classmethod
    def of(cls, found: Summary) -> OperationStats:
        """As the schema has it."""
        return cls(**{name: getattr(found, name) for name in found.__struct_fields__})


@described
class SlowOperation:
    """One of the slowest runs of an operation."""

    operation: str = said("Its name.")
    seconds: float = said("How long it took.")
    at: datetime = said("When it ended.")
    failed: bool = said("Whether it failed.")
    detail: Json = said("What it was about.")

    @classmethod
    def of(cls, found: SlowRun) -> SlowOperation:
        """As the schema has it."""
        return cls(
            operation=found.operation,
            seconds=found.seconds,
            at=instant(found.at),
            failed=found.failed,
            detail=dict(found.detail),
        )

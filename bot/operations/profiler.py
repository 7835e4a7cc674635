"""How long operations take: counts, quantiles and the slowest runs, in bounded memory."""

from __future__ import annotations

import asyncio
import functools
import heapq
import inspect
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

import msgspec

from bot.domain.ports import Clock, Profiler
from bot.domain.redaction import redact
from bot.operations.distribution import Distribution

#: Where runs go whose operation has no place of its own any more.
OTHER = "other"
_MAX_OPERATIONS = 256
_MAX_EXAMPLES = 20
_MAX_DETAILS = 8
_MAX_TEXT = 300  # characters of one detail

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Summary(msgspec.Struct, frozen=True):
    """Figures of one operation, or of several together; times in seconds.

    ``slow`` counts the runs that took PROFILER_SLOW_THRESHOLD or longer.
    """

    operation: str
    count: int
    errors: int
    slow: int
    total: float
    mean: float
    median: float
    p95: float
    p99: float
    min: float
    max: float


class SlowRun(msgspec.Struct, frozen=True):
    """One of the slowest runs of an operation; ``at`` is when it ended (UNIX seconds)."""

    operation: str
    seconds: float
    at: float
    failed: bool
    detail: Mapping[str, str]


class _Operation:
    """What is kept of one operation."""

    __slots__ = ("errors", "examples", "floor", "slow", "times")

    def __init__(self) -> None:
        self.times = Distribution()
        self.errors = 0
        self.slow = 0
        # A heap, the least slow first; the number keeps equal times apart.
        self.examples: list[tuple[float, int, SlowRun]] = []
        #: What a run must take to get among the examples.
        self.floor = 0.0


class _Measurement:
    """Times one run. See ``ports.Measurement``."""

    __slots__ = ("_began", "_detail", "_name", "_profiler")

    def __init__(self, profiler: OperationProfiler, name: str, detail: dict[str, object]) -> None:
        self._profiler = profiler
        self._name = name
        self._detail = detail

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._profiler.add(self._name, perf_counter() - self._began, _failed(kind), self._detail)


class OperationProfiler:
    """Keeps the figures. See ``ports.Profiler``.

    ``slow_threshold`` in seconds. There are ``max_operations`` names at most, those that come
    later share ``other``; of each operation the ``max_examples`` slowest runs are kept. Nothing
    survives the process.
    """

    enabled = True

    def __init__(
        self,
        clock: Clock,
        *,
        slow_threshold: float,
        max_operations: int = _MAX_OPERATIONS,
        max_examples: int = _MAX_EXAMPLES,
    ) -> None:
        self.slow_threshold = slow_threshold
        self._clock = clock
        self._max_operations = max_operations
        self._max_examples = max_examples
        self._number = itertools.count()
        self._lock = threading.Lock()
        self._operations: dict[str, _Operation] = {}
        self._overflowed = 0
        self._since = clock.now()

    @property
    def since(self) -> float:
        """The time (UNIX seconds) from which on runs are counted."""
        return self._since

    @property
    def overflowed(self) -> int:
        """How many runs went to ``other`` for want of a name of their own."""
        return self._overflowed

    def measure(self, name: str, **detail: object) -> _Measurement:
        """A context manager that times what is inside of it; cancelling is no failure."""
        return _Measurement(self, name, detail)

    def record(self, name: str, seconds: float, *, failed: bool = False, **detail: object) -> None:
        """Add a run that was timed already."""
        self.add(name, seconds, failed, detail)

    def add(self, name: str, seconds: float, failed: bool, detail: Mapping[str, object]) -> None:
        """As ``record``, without the cost of passing each detail by name."""
        with self._lock:
            found = self._operations.get(name)
            if found is None:
                found = self._new(name)
            found.times.add(seconds)
            if failed:
                found.errors += 1
            if seconds >= self.slow_threshold:
                found.slow += 1
            kept = seconds > found.floor or len(found.examples) < self._max_examples
        if kept:
            # Texts are made outside of the lock: that may take a while.
            run = SlowRun(name, seconds, self._clock.now(), failed, _texts(detail))
            with self._lock:
                self._keep(found, run)

    def _new(self, name: str) -> _Operation:
        if len(self._operations) >= self._max_operations and name != OTHER:
            self._overflowed += 1
            return self._operations.setdefault(OTHER, _Operation())
        return self._operations.setdefault(name, _Operation())

    def _keep(self, operation: _Operation, run: SlowRun) -> None:
        examples = operation.examples
        heapq.heappush(examples, (run.seconds, next(self._number), run))
        if len(examples) > self._max_examples:
            heapq.heappop(examples)
        if len(examples) == self._max_examples:
            operation.floor = examples[0][0]

    def stats(self, operation: str | None = None) -> list[Summary]:
        """The figures of each operation, those with the greatest total first.

        ``operation`` is a name, or the beginning of several: ``stage`` is all of ``stage.fetch``,
        ``stage.deliver`` and so on.
        """
        with self._lock:
            chosen = self._chosen(operation)
            found = [_summary(name, [each]) for name, each in chosen.items()]
        return sorted(found, key=lambda each: each.total, reverse=True)

    def areas(self, operation: str | None = None) -> list[Summary]:
        """The figures of all operations with the same first part together, in the same order."""
        grouped: dict[str, list[_Operation]] = {}
        with self._lock:
            for name, each in self._chosen(operation).items():
                grouped.setdefault(name.partition(".")[0], []).append(each)
            found = [_summary(name, several) for name, several in grouped.items()]
        return sorted(found, key=lambda each: each.total, reverse=True)

    def _chosen(self, operation: str | None) -> dict[str, _Operation]:
        if operation is None:
            return self._operations
        return {
            name: each
            for name, each in self._operations.items()
            if name == operation or name.startswith(f"{operation}.")
        }

    def slowest(self, threshold: float, limit: int) -> list[SlowRun]:
        """The slowest runs of all operations that took ``threshold`` seconds or longer."""
        with self._lock:
            runs = [
                run
                for each in self._operations.values()
                for seconds, _, run in each.examples
                if seconds >= threshold
            ]
        return heapq.nlargest(limit, runs, key=lambda run: run.seconds)

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self._operations = {}
            self._overflowed = 0
            self._since = self._clock.now()


def profiled(profiler: Profiler, name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A decorator that times each call of a function, or of a coroutine function, as ``name``."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        if not profiler.enabled:
            return function
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                with profiler.measure(name):
                    return await function(*args, **kwargs)

            return cast(Callable[_P, _R], awaited)

        @functools.wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with profiler.measure(name):
                return function(*args, **kwargs)

        return called

    return decorate


def _failed(kind: type[BaseException] | None) -> bool:
    return kind is not None and not issubclass(kind, (asyncio.CancelledError, GeneratorExit))


def _summary(name: str, operations: Iterable[_Operation]) -> Summary:
    times, errors, slow = Distribution(), 0, 0
    for each in operations:
        times.merge(each.times)
        errors += each.errors
        slow += each.slow
    return Summary(
        operation=name,
        count=times.count,
        errors=errors,
        slow=slow,
        total=times.total,
        mean=times.mean,
        median=times.quantile(0.5),
        p95=times.quantile(0.95),
        p99=times.quantile(0.99),
        min=times.min,
        max=times.max,
    )


def _texts(detail: Mapping[str, object]) -> dict[str, str]:
    """The details as short texts without secrets."""
    some = itertools.islice(detail.items(), _MAX_DETAILS)
    return {name: _short(redact(str(value))) for name, value in some if value is not None}


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"

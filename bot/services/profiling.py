"""How long operations take, and where the time of the service goes."""

from __future__ import annotations

from dataclasses import dataclass

from bot.operations.profiler import OperationProfiler, SlowRun, Summary
from bot.operations.sampling import Format, Profile, Sampler
from bot.services.callers import Caller, Scope


@dataclass(frozen=True, slots=True)
class ProfilerStats:
    """Figures since ``since`` (UNIX seconds); all empty where the profiler is off.

    ``areas`` are the operations with the same first part together. ``overflowed`` runs are in
    the operation ``other``, because there were too many names.
    """

    enabled: bool
    since: float | None
    overflowed: int
    operations: list[Summary]
    areas: list[Summary]


class Profiling:
    """The profiler of operations (None where it is off), and profiles on demand."""

    def __init__(self, profiler: OperationProfiler | None, sampler: Sampler) -> None:
        self._profiler = profiler
        self._sampler = sampler

    def stats(self, caller: Caller, operation: str | None = None) -> ProfilerStats:
        """The figures of all operations, or of those named so or below (``stage``)."""
        caller.require(Scope.VIEW)
        of = self._profiler
        if of is None:
            return ProfilerStats(False, None, 0, [], [])
        found, areas = of.stats(operation), of.areas(operation)
        return ProfilerStats(True, of.since, of.overflowed, found, areas)

    def slowest(
        self, caller: Caller, threshold: float | None = None, limit: int = 10
    ) -> list[SlowRun]:
        """The slowest runs of ``threshold`` seconds (PROFILER_SLOW_THRESHOLD) or longer.

        For admins: their details may tell of the tasks of others.
        """
        caller.require(Scope.ADMIN)
        if self._profiler is None:
            return []
        least = self._profiler.slow_threshold if threshold is None else threshold
        return self._profiler.slowest(least, limit)

    def reset(self, caller: Caller) -> None:
        """Forget all figures and begin anew."""
        caller.require(Scope.ADMIN)
        if self._profiler is not None:
            self._profiler.reset()

    async def profile(self, caller: Caller, seconds: float, kind: Format) -> Profile:
        """A sampling profile of the next ``seconds``; Conflict while another is taken."""
        caller.require(Scope.ADMIN)
        return await self._sampler.sample(seconds, kind)

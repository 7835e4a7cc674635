"""The profiler, as the settings want it."""

from __future__ import annotations

from bot.app.parts import Base
from bot.config import Settings
from bot.domain.ports import Clock, Profiler
from bot.domain.profiling import UNPROFILED
from bot.operations.profiler import OperationProfiler
from bot.operations.sampling import Sampler
from bot.services import Profiling


def build_profiler(settings: Settings, clock: Clock) -> Profiler:
    """What all parts report to; nothing where ENABLE_PROFILER is off."""
    if not settings.enable_profiler:
        return UNPROFILED
    return OperationProfiler(clock, slow_threshold=settings.profiler_slow_threshold)


def build_profiling(base: Base) -> Profiling:
    """The use cases over it."""
    profiler = base.profiler
    kept = profiler if isinstance(profiler, OperationProfiler) else None
    return Profiling(kept, Sampler(base.clock))

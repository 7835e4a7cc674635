"""What stands in for a profiler where none is wanted."""

from __future__ import annotations

from types import TracebackType

from bot.domain.ports import Measurement, Profiler


class _Nothing:
    """A measurement of nothing."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


_NOTHING = _Nothing()


class NullProfiler:
    """A profiler that is off. See ``ports.Profiler``."""

    enabled = False

    def measure(self, name: str, **detail: object) -> Measurement:
        """A context manager that does nothing."""
        return _NOTHING

    def record(self, name: str, seconds: float, *, failed: bool = False, **detail: object) -> None:
        """Nothing."""


#: For parts that nobody gave a profiler.
UNPROFILED: Profiler = NullProfiler()

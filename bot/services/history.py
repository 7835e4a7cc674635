"""The history of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.errors import NotFound
from bot.operations.history_query import Answer, HistoryReader
from bot.operations.readings import Reading, Readings
from bot.services.callers import Caller, Scope


@dataclass(frozen=True, slots=True)
class MetricsHistory:
    """What the service was like in numbers, and in which units."""

    answer: Answer
    readings: Mapping[str, Reading]


class History:
    """What can be asked about the past."""

    def __init__(self, reader: HistoryReader, readings: Readings) -> None:
        self._reader = reader
        self._readings = readings

    async def metrics(
        self,
        caller: Caller,
        names: Sequence[str],
        *,
        since: float | None = None,
        until: float | None = None,
        points: int | None = None,
    ) -> MetricsHistory:
        """See ``HistoryReader.read``. NotFound for a name that nothing has or ever had."""
        caller.require(Scope.VIEW)
        declared = {reading.name: reading for reading in self._readings.declared}
        answer = await self._reader.read(names, since, until, points)
        for series in answer.series:
            if series.name not in declared and not series:
                raise NotFound(
                    f"the history has no series {series.name!r} in that time",
                    hint="GET /api/v3/metrics/current lists the names",
                )
        return MetricsHistory(answer, declared)

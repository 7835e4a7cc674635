"""The numbers that tell how the service is."""

from __future__ import annotations

from collections.abc import Sequence

from bot.operations.readings import Reading, Readings
from bot.services.callers import Caller, Scope


class Metrics:
    """What can be asked about the service in numbers."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def current(self, caller: Caller) -> Sequence[tuple[Reading, float | None]]:
        """Every declared reading and its value; None where it is not known at present."""
        caller.require(Scope.VIEW)
        values = self._readings.sample()
        return [(reading, values.get(reading.name)) for reading in self._readings.declared]

"""The service as a whole: how it is and what it may do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from bot import __version__
from bot.domain.ports import Clock
from bot.domain.queue import QueuePolicy
from bot.operations.readings import Readings
from bot.services.callers import Caller, Scope


class Status(msgspec.Struct, frozen=True):
    """How the service is. ``values`` are the readings at this moment, by name."""

    version: str
    open: bool
    started_at: float
    uptime: float
    database: str
    cache: str
    values: dict[str, float]
    policy: QueuePolicy


class Setting(msgspec.Struct, frozen=True):
    """A setting in force; ``value`` as text, stars where it is a secret."""

    name: str
    value: str
    origin: str
    help: str


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the service runs."""

    database: str
    cache: str
    policy: QueuePolicy
    settings: Sequence[Setting]


class System:
    """What can be asked about the service itself. ``is_open`` says whether it takes work."""

    def __init__(
        self,
        about: About,
        *,
        readings: Readings,
        clock: Clock,
        is_open: Callable[[], bool],
    ) -> None:
        self._about = about
        self._readings = readings
        self._clock = clock
        self._is_open = is_open
        self._started_at = clock.now()
        self._begun = clock.monotonic()

    def status(self, caller: Caller) -> Status:
        """How the service is at this moment."""
        caller.require(Scope.VIEW)
        return Status(
            version=__version__,
            open=self._is_open(),
            started_at=self._started_at,
            uptime=self._clock.monotonic() - self._begun,
            database=self._about.database,
            cache=self._about.cache,
            values=self._readings.sample(),
            policy=self._about.policy,
        )

    def settings(self, caller: Caller) -> Sequence[Setting]:
        """Every setting in force, secrets redacted."""
        caller.require(Scope.ADMIN)
        return self._about.settings

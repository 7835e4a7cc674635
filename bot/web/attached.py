"""The service of this process, for routes in an application that is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.errors import Unavailable
from bot.services import Services

if TYPE_CHECKING:
    from bot.web.live.hub import Hub


class Attached:
    """The services that run here; the newest ones count."""

    def __init__(self) -> None:
        self._running: list[tuple[Services, Hub | None]] = []

    @contextmanager
    def attached(self, services: Services, live: Hub | None = None) -> Iterator[None]:
        """Serve from there for as long as this is entered."""
        entry = services, live
        self._running.append(entry)
        try:
            yield
        finally:
            # By identity: they have no order, and two may look the same.
            self._running = [each for each in self._running if each is not entry]

    @property
    def services(self) -> Services:
        """Unavailable where none runs."""
        return self._newest[0]

    @property
    def live(self) -> Hub | None:
        """Who sends live metrics, where there are any. Unavailable where no service runs."""
        return self._newest[1]

    @property
    def _newest(self) -> tuple[Services, Hub | None]:
        if not self._running:
            raise Unavailable("no service runs in this process", hint="start it first")
        return self._running[-1]


#: Those of this process.
ATTACHED = Attached()

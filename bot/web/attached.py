"""The service of this process, for routes in an application that is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bot.errors import Unavailable
from bot.services import Services


class Attached:
    """The services that run here; the newest ones count."""

    def __init__(self) -> None:
        self._running: list[Services] = []

    @contextmanager
    def attached(self, services: Services) -> Iterator[None]:
        """Serve from there for as long as this is entered."""
        self._running.append(services)
        try:
            yield
        finally:
            # By identity: they have no order, and two may look the same.
            self._running = [each for each in self._running if each is not services]

    @property
    def services(self) -> Services:
        """Unavailable where none runs."""
        if not self._running:
            raise Unavailable("no service runs in this process", hint="start it first")
        return self._running[-1]


#: Those of this process.
ATTACHED = Attached()

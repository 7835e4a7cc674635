"""What the routes serve: that of their application, or in one that is not ours that of this
process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from bot.errors import Unavailable
from bot.services import Services

if TYPE_CHECKING:
    from bot.web.live.hub import Hub


@dataclass(frozen=True, slots=True)
class Served:
    """A service, as the routes know it: who sends live metrics, where there are any, and whether
    browsers get a page."""

    services: Services
    live: Hub | None = None
    dashboard: bool = True


class Attached:
    """The services that run here; the newest one counts."""

    def __init__(self) -> None:
        self._running: list[Served] = []

    @contextmanager
    def attached(self, served: Served) -> Iterator[None]:
        """Serve that for as long as this is entered."""
        self._running.append(served)
        try:
            yield
        finally:
            # By identity: they have no order, and two may look the same.
            self._running = [each for each in self._running if each is not served]

    @property
    def served(self) -> Served:
        """Unavailable where none runs."""
        if not self._running:
            raise Unavailable(
                "no service runs in this process",
                hint="await initialize_phase3_services() starts one",
            )
        return self._running[-1]


#: Those of this process.
ATTACHED = Attached()


def served_of(app: Starlette) -> Served:
    """What the routes of that application serve."""
    found: Served | None = getattr(app.state, "served", None)
    return ATTACHED.served if found is None else found

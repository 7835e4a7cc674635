"""What the routes serve: that of their application, or in one that is not ours that of this
process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.applications import Starlette

from bot.errors import Unavailable
from bot.services import Caller, Services

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from bot.web.live.hub import Hub


class Queries(Protocol):
    """What GraphQL knows of itself. Each answers a dataclass with the fields of the schema."""

    async def cache_stats(self, caller: Caller) -> DataclassInstance:
        """What the cache of answers did since the start."""

    async def hot_queries(self, caller: Caller, limit: int) -> Sequence[DataclassInstance]:
        """The queries that are asked most often."""

    async def invalidate(self, caller: Caller, tags: Sequence[str] | None) -> Sequence[str]:
        """Forget the answers about those, or all; the tags."""


@dataclass(frozen=True, slots=True)
class Served:
    """A service, as the routes know it: who sends live metrics, where there are any, whether
    browsers get a page, and GraphQL, where there is one."""

    services: Services
    live: Hub | None = None
    dashboard: bool = True
    queries: Queries | None = None


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

"""What the routes of our application serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.applications import Starlette

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


def served_of(app: Starlette) -> Served:
    """What the routes of an application serve."""
    found: Served = app.state.served
    return found

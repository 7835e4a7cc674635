"""What the resolvers of one request have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strawberry.dataloader import DataLoader

from bot.domain.events import EventHub
from bot.domain.integrity import Finding
from bot.domain.ports import Clock, Profiler
from bot.domain.profiling import UNPROFILED
from bot.services import Caller, Services, TaskView

if TYPE_CHECKING:
    from bot.graphql.types.service import CacheStats, HotQuery


class Desk(Protocol):
    """What the door knows of itself."""

    def cache_stats(self, caller: Caller) -> CacheStats:
        """What the cache of answers did."""

    def hot_queries(self, caller: Caller, limit: int) -> list[HotQuery]:
        """The queries that are asked most often."""

    async def invalidate(self, caller: Caller, tags: Sequence[str] | None) -> Sequence[str]:
        """Forget the answers about those, or all; the tags."""


class FindingsOf(NamedTuple):
    """Which findings: of what check, from the number after ``after`` on, how many at most."""

    check: str
    after: int
    limit: int


@dataclass(slots=True)
class Context:
    """Who asks, and of whom. ``tasks`` and ``findings`` fetch what several places of an answer
    name in one query."""

    caller: Caller
    services: Services
    desk: Desk
    hub: EventHub
    clock: Clock
    profiler: Profiler
    fingerprint: str
    tasks: DataLoader[str, TaskView | None]
    findings: DataLoader[FindingsOf, list[Finding]]

    @classmethod
    def of(
        cls,
        caller: Caller,
        services: Services,
        desk: Desk,
        hub: EventHub,
        clock: Clock,
        *,
        profiler: Profiler = UNPROFILED,
        fingerprint: str = "",
    ) -> Context:
        """The context of one request; ``fingerprint`` is that of its document."""

        async def load(ids: list[str]) -> list[TaskView | None]:
            found = await services.tasks.many(caller, ids)
            return [found.get(each) for each in ids]

        async def load_findings(wanted: list[FindingsOf]) -> list[list[Finding]]:
            alike: dict[tuple[int, int], list[str]] = {}
            for each in wanted:
                alike.setdefault((each.after, each.limit), []).append(each.check)
            found = {
                (after, limit): await services.recovery.findings_of(
                    caller, checks, after=after, limit=limit
                )
                for (after, limit), checks in alike.items()
            }
            return [found[each.after, each.limit][each.check] for each in wanted]

        return cls(
            caller,
            services,
            desk,
            hub,
            clock,
            profiler,
            fingerprint,
            DataLoader(load_fn=load, max_batch_size=500),
            DataLoader(load_fn=load_findings, max_batch_size=500),
        )

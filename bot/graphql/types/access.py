"""The record of what was changed."""

from __future__ import annotations

from datetime import datetime

import strawberry

from bot.domain import access as domain
from bot.graphql.declaring import Json, described, instant, said


@described
class Deed:
    """A write: who did what, from where, and how it ended."""

    id: strawberry.ID = said("Counts up.")
    at: datetime = said("When.")
    user: str = said("Who.")
    action: str = said("What, such as `POST /api/v3/tasks`.")
    outcome: int = said("The status of its answer.")
    target: str | None = said("Of what.")
    address: str | None = said("From where.")
    details: Json = said("What was sent, without secrets.")

    @classmethod
    def of(cls, found: domain.Deed) -> Deed:
        """As the schema has it."""
        return cls(
            id=strawberry.ID(str(found.seq)),
            at=instant(found.at),
            user=found.user,
            action=found.action,
            outcome=found.outcome,
            target=found.target,
            address=found.address,
            details=found.details,
        )


@described
class DeedPage:
    """A page of writes, the newest first."""

    items: list[Deed] = said("The writes.")
    cursor: str | None = said("What `before` takes for the next page; null on the last.")

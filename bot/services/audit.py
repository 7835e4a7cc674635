"""The record of every write: who, what, from where, and how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bot.domain.access import Deed, DeedStore
from bot.domain.context import REQUEST
from bot.domain.ports import Clock
from bot.domain.redaction import redact_value
from bot.errors import MltbError
from bot.services.callers import Caller, Scope

#: A logger of its own, so that its lines can be told from others and sent elsewhere.
log = logging.getLogger("audit")

_DAY = 86_400.0
_PURGE = 3600.0  # seconds between two looks for what is too old
_LONGEST, _NAME, _NAMES = 300, 50, 20  # characters of a value, of a name; names that are kept
_BATCH = 500  # deeds in one transaction


class Audit:
    """A line in the log at once, a row in the database a moment later."""

    def __init__(self, store: DeedStore, clock: Clock, *, keep_days: int) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep_days * _DAY
        self._waiting: list[Deed] = []
        self._writing: asyncio.Task[None] | None = None
        self._purged_at: float | None = None

    def note(
        self,
        caller: Caller,
        action: str,
        outcome: int,
        *,
        target: str | None,
        address: str | None,
        sent: object = None,
    ) -> None:
        """Record something that was done or refused. Of what was ``sent`` no secret is kept."""
        deed = Deed(
            at=self._clock.now(),
            user=caller.user,
            via=caller.via,
            action=action,
            target=target,
            address=address,
            outcome=outcome,
            request=REQUEST.get(),
            details=_details(sent),
        )
        fields = {name: value for name, value in msgspec.structs.asdict(deed).items() if value}
        log.info("%s %s: %d", deed.user, deed.action, deed.outcome, extra={"fields": fields})
        self._waiting.append(deed)
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())

    async def find(
        self,
        caller: Caller,
        *,
        user: str | None = None,
        action: str | None = None,
        since: float = 0.0,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[Deed]:
        """The newest; those before the number ``before`` where it is given."""
        caller.require(Scope.ADMIN)
        await self.settle()
        return await self._store.find_deeds(
            user=user, action=action, since=since, before=before, limit=limit
        )

    async def settle(self) -> None:
        """Wait until all that was noted is stored."""
        while self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                try:
                    await self._store.add_deeds(batch)
                    await self._purge()
                except MltbError as error:
                    log.error("%d deeds are in this log alone: %s", len(batch), error)  # noqa: TRY400
        finally:
            self._writing = None

    async def _purge(self) -> None:
        now = self._clock.now()
        if self._purged_at is None or now - self._purged_at > _PURGE:
            self._purged_at = now
            await self._store.delete_deeds(now - self._keep)


def _details(sent: object) -> dict[str, Any]:
    """What was sent, to one level: what is nested may be anything, and a secret among it."""
    if not isinstance(sent, Mapping):
        return {}
    shown = {str(name)[:_NAME]: _plain(value) for name, value in list(sent.items())[:_NAMES]}
    kept: dict[str, Any] = redact_value(shown)
    return kept


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return "{…}"
    if isinstance(value, (list, tuple)):
        return f"[{len(value)}]"
    return str(value)[:_LONGEST]

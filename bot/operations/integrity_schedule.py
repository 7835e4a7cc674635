"""Checks of everything that was delivered, a part at a time, on schedule."""

from __future__ import annotations

import asyncio
import logging

from bot.domain.integrity import CheckScope, Order
from bot.domain.ports import Clock
from bot.errors import MltbError
from bot.operations.integrity import Integrity
from bot.store.recovery import RecoveryStore

log = logging.getLogger(__name__)

_USER = "service"
_BUSY = 60.0  # seconds until the next try where another check runs


class Schedule:
    """Every ``interval`` seconds the next ``batch`` receipts; after the last, the newest again."""

    def __init__(
        self,
        integrity: Integrity,
        store: RecoveryStore,
        clock: Clock,
        *,
        interval: float,
        batch: int,
    ) -> None:
        self._integrity = integrity
        self._store = store
        self._clock = clock
        self._interval = interval
        self._batch = batch
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; an interval of 0 means never."""
        if self._interval > 0:
            self._loop = asyncio.ensure_future(self._work())

    async def stop(self) -> None:
        """End."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            try:
                delay = await self._due()
                if delay <= 0:
                    await self._turn()
                    continue
            except MltbError as error:
                log.warning("a check on schedule did not begin: %s", error)
                delay = _BUSY
            await self._clock.sleep(delay)

    async def _due(self) -> float:
        """Seconds until the next check, counted from the last one, of this run or an earlier; never
        more than the interval, whatever was done to the clock."""
        last = await self._store.checks(limit=1, scope=CheckScope.SCHEDULED)
        if not last:
            return 0.0
        return min(self._interval, last[0].started_at + self._interval - self._clock.now())

    async def _turn(self) -> None:
        last = await self._store.checks(limit=1, scope=CheckScope.SCHEDULED)
        order = Order(
            CheckScope.SCHEDULED, limit=self._batch, cursor=last[0].cursor if last else None
        )
        check = await self._integrity.start(_USER, order)
        await self._integrity.wait(check.id, None)

"""Group commit: what is saved while a transaction is under way goes into the next one together.

One transaction costs one wait for the disk, however many tasks it stores; so a thousand tasks that
save at once wait for two transactions, not for a thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from bot.errors import InternalFailure, MltbError
from bot.store.backend import stale
from bot.store.rows import Change

#: Stores all the changes, or none and raises.
Commit = Callable[[Sequence[Change]], Awaitable[None]]

_Waiter = asyncio.Future[None]


class Journal:
    """Collects changes and commits them, the newest of each task, in batches."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._pending: dict[str, tuple[Change, list[_Waiter]]] = {}
        self._drain: asyncio.Task[None] | None = None
        self._closed = False

    async def put(self, change: Change) -> None:
        """Return when ``change`` (or a later one of the same task) is durable.

        When the caller is cancelled, the change is stored all the same. InternalFailure where it
        is not newer than what waits already; or what the transaction failed with.
        """
        if self._closed:
            raise InternalFailure(f"task {change.id} can't be stored: the store is closed")
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        waiting = self._pending.get(change.id)
        if waiting is None:
            self._pending[change.id] = (change, [waiter])
        else:
            earlier, waiters = waiting
            if change.version <= earlier.version:
                raise stale([change])
            if change.receipt is None:
                change.receipt = earlier.receipt
            waiters.append(waiter)
            self._pending[change.id] = (change, waiters)
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._run(), name="store journal")
        await waiter

    async def close(self) -> None:
        """Commit what waits; refuse what comes after."""
        self._closed = True
        if self._drain is not None:
            await asyncio.wait([self._drain])

    async def _run(self) -> None:
        while self._pending:
            batch, self._pending = list(self._pending.values()), {}
            try:
                await self._store(batch)
            finally:
                # Only a fault of this program, or the end of the loop, leaves some without answer.
                _settle(batch, InternalFailure("the journal stopped before a change was stored"))

    async def _store(self, batch: list[tuple[Change, list[_Waiter]]]) -> None:
        try:
            await self._commit([change for change, _ in batch])
        except InternalFailure as error:
            # One change of the batch is to blame; the others must not suffer for it.
            if len(batch) > 1:
                for entry in batch:
                    await self._store([entry])
            else:
                _settle(batch, error)
        except MltbError as error:
            _settle(batch, error)
        else:
            _settle(batch, None)


def _settle(batch: list[tuple[Change, list[_Waiter]]], error: MltbError | None) -> None:
    for _, waiters in batch:
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

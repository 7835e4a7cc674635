"""The history of metrics: samples in the store, and buckets of a minute and of 15 minutes.

Samples of 15 minutes make a block. Every minute the block of now is stored as it is; once its time
is over it is settled: in one transaction it is stored for good together with the buckets that it
fills. So buckets are always made of a whole block, whatever happened in between, and making them
again gives the same. A kill loses the samples of the last minute; a block that it left unsettled is
settled by the next start, or goes on.

A clock that jumps ends the block of its time and goes on in another one; where that was stored
already, its samples are kept beside the new ones, and the newest of one second wins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from bot.domain.ports import Clock
from bot.errors import InternalFailure, MltbError
from bot.operations.blocks import SPAN, SPANS, Buckets, Samples
from bot.store.series import Block, SeriesStore

log = logging.getLogger(__name__)

Sample = Callable[[], Mapping[str, float]]

DAY = 86_400
#: Seconds that samples are kept; after that there are buckets of a minute.
RAW_KEPT = 2 * DAY
_FLUSH = 60.0  # seconds between two writes of the block of now
_PRUNE = 3600.0  # seconds between two looks for what is too old
_JUMP = 60.0  # seconds between the clocks that are no drift
#: Blocks that wait for a database that does not take them: a day.
_WAITING = 96


class _Open:
    """A block in memory; ``merged`` once what the store had of its time is in it."""

    def __init__(self, start: int) -> None:
        self.samples = Samples(start)
        self.merged = False


class Recorder:
    """Takes a sample every ``interval`` seconds and keeps ``retention`` days of them.

    ``sample`` gives the values that are known now, by the name of their series; it must be quick
    and must not raise.
    """

    def __init__(
        self, sample: Sample, store: SeriesStore, clock: Clock, *, interval: int, retention: int
    ) -> None:
        self.interval = interval
        self._sample = sample
        self._store = store
        self._clock = clock
        self._retention = retention
        self._now: _Open | None = None
        self._over: list[_Open] = []
        self._flushed_at = self._pruned_at = self._steady_at = clock.monotonic()
        self._offset = clock.now() - clock.monotonic()
        self._failing = False
        self._loop: asyncio.Task[None] | None = None

    @property
    def in_memory(self) -> list[Samples]:
        """The blocks that the store does not have as they are now, oldest first."""
        blocks = [*self._over, *([self._now] if self._now is not None else [])]
        # One that is not merged yet lacks what the store has of its time; it will be in a moment.
        found = [block.samples for block in blocks if block.merged]
        return sorted(found, key=lambda samples: samples.start)

    async def start(self) -> None:
        """Settle what the last run left, then begin. An error of the database is logged."""
        try:
            await self._recover()
        except MltbError as error:
            log.warning("the history of metrics has blocks that are not settled: %s", error)
        self._loop = asyncio.ensure_future(self._work())

    async def stop(self) -> None:
        """End, and store what is in memory."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None
        await self._flush()

    async def _recover(self) -> None:
        current = _start(self._clock.now())
        for block in await self._store.unsettled():
            left = _Open(block.start)
            if block.start == current:
                self._now = left
            else:
                self._over.append(left)
        await self._flush()

    async def _work(self) -> None:
        while True:
            await self._clock.sleep(self._pause())
            await self.tick()

    def _pause(self) -> float:
        """Seconds to the next whole multiple of the interval, by the clock on the wall.

        A sleep may end a moment early: the multiple that was meant is not to come twice.
        """
        pause = self.interval - self._clock.now() % self.interval
        return pause if pause > self.interval / 2 else pause + self.interval

    async def tick(self) -> None:
        """Take one sample, and store what is due."""
        second = int(self._clock.now() + 0.5)
        start = second - second % SPAN
        if self._now is not None and self._now.samples.start != start:
            self._over.append(self._now)
            self._now = None
        if self._now is None:
            self._now = self._opened(start)
        self._now.samples.put(second, self._sample())
        due = self._clock.monotonic() - self._flushed_at >= _FLUSH
        if due or self._over or not self._now.merged:
            await self._flush()
        await self._prune_when_due()

    def _opened(self, start: int) -> _Open:
        """A block for that time: after a jump of the clock, one may wait in memory already."""
        for block in self._over:
            if block.samples.start == start:
                self._over.remove(block)
                return block
        return _Open(start)

    async def _flush(self) -> None:
        """Store what is in memory, in one transaction; what can't be stored now is kept."""
        over, now = list(self._over), self._now
        self._flushed_at = self._clock.monotonic()
        try:
            blocks = await self._settled(over)
            if now is not None:
                await self._merge(now)
                blocks.append(Block(0, now.samples.start, False, now.samples.encode()))
            if blocks:
                await self._store.put(blocks)
        except MltbError as error:
            if not self._failing:
                log.warning("the history of metrics is not stored, for now: %s", error)
            self._failing = True
            del self._over[:-_WAITING]
            return
        self._failing = False
        self._over = [block for block in self._over if block not in over]

    async def _settled(self, over: list[_Open]) -> list[Block]:
        """The blocks that are over, and every block of buckets with what they fill."""
        settled: dict[int, Block] = {}
        wide: dict[tuple[int, int], Buckets] = {}
        for block in over:
            await self._merge(block)
            samples = block.samples
            settled[samples.start] = Block(0, samples.start, True, samples.encode())
            for step, span in SPANS.items():
                key = (step, samples.start - samples.start % span)
                if key not in wide:
                    wide[key] = await self._buckets(*key)
                for name, at, bucket in samples.buckets(step):
                    wide[key].put(name, at, bucket)
        buckets = [Block(each.step, each.start, True, each.encode()) for each in wide.values()]
        return [*settled.values(), *buckets]

    async def _merge(self, block: _Open) -> None:
        if block.merged:
            return
        stored = await self._store.get(0, block.samples.start)
        if stored is not None:
            try:
                block.samples.merge_older(Samples.decode(stored.start, stored.body))
            except InternalFailure as error:
                log.warning("%s; it is replaced by what comes now", error)
        block.merged = True

    async def _buckets(self, step: int, start: int) -> Buckets:
        stored = await self._store.get(step, start)
        if stored is not None:
            try:
                return Buckets.decode(step, start, stored.body)
            except InternalFailure as error:
                log.warning("%s; it is replaced by what comes now", error)
        return Buckets(step, start)

    async def _prune_when_due(self) -> None:
        """Remove what is too old, and what lies in the future, once an hour.

        Not before the clock went steadily for an hour: one that jumped far ahead has that time to
        be put right before everything would be too old by it.
        """
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if abs(now - monotonic - self._offset) > _JUMP:
            self._steady_at = monotonic
        self._offset = now - monotonic
        if monotonic - max(self._steady_at, self._pruned_at) < _PRUNE:
            return
        self._pruned_at = monotonic
        last = int(now) + DAY
        try:
            await self._store.prune(0, int(now) - RAW_KEPT - SPAN, last)
            for step, span in SPANS.items():
                await self._store.prune(step, int(now) - self._retention * DAY - span, last)
        except MltbError as error:
            log.warning("the history of metrics keeps what is too old, for now: %s", error)


def _start(now: float) -> int:
    return int(now + 0.5) // SPAN * SPAN

"""The connections that bring one file: who fetches which piece, and what happens when one ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bot.engines.http_lane import Lane, Verdict
from bot.engines.http_pace import Growth
from bot.engines.http_workers import settled
from bot.errors import Corrupt, NetworkFailed, TransferError

Piece = tuple[int, int | None]

#: A connection is added only where this much is left for each of the two.
LEAST_PIECE = 2 * 1024 * 1024


class Changed(Exception):
    """The bytes that are there don't fit those that the source has now."""


class Crew:
    """Keeps lanes at work on ``pieces``. ``make`` makes a lane, ``run`` runs it to its end."""

    def __init__(
        self,
        pieces: list[Piece],
        growth: Growth,
        *,
        make: Callable[[int, int | None], Lane],
        run: Callable[[Lane], Awaitable[None]],
        wake: Callable[[], None],
        splits: bool,
    ) -> None:
        self.growth = growth
        self.splits = splits
        self.banked = 0
        self._pieces = pieces
        self._make = make
        self._run = run
        self._wake = wake
        self._tasks: dict[asyncio.Task[None], Lane] = {}

    @property
    def lanes(self) -> list[Lane]:
        """The lanes at work."""
        return list(self._tasks.values())

    @property
    def width(self) -> int:
        """How many lanes are at work."""
        return len(self._tasks)

    @property
    def idle(self) -> bool:
        """Whether everything has been fetched."""
        return not self._tasks and not self._pieces

    @property
    def fetched(self) -> int:
        """Bytes that have come."""
        total = self.banked
        for lane in self.lanes:  # Not by sum(): it is asked for often, of mostly a single lane.
            total += lane.pos - lane.start
        return total

    def lacks(self) -> bool:
        """Whether another lane would have something to do."""
        return len(self._tasks) < self.growth.width and (
            bool(self._pieces) or self._widest() is not None
        )

    def spawn(self) -> None:
        """Put as many lanes to work as there should be."""
        while len(self._tasks) < self.growth.width:
            piece = self._pieces.pop(0) if self._pieces else self._split()
            if piece is None:
                return
            lane = self._make(*piece)
            task = asyncio.create_task(self._start(lane))
            self._tasks[task] = lane
            task.add_done_callback(lambda _: self._wake())

    async def _start(self, lane: Lane) -> None:
        await self._run(lane)

    def _widest(self) -> Lane | None:
        """The lane with the most to do, if that is enough for two."""
        if not self.splits:
            return None
        ready = [lane for lane in self.lanes if lane.verdict is Verdict.TAKEN and lane.end]
        widest = max(ready, key=lambda lane: lane.left, default=None)
        return widest if widest is not None and widest.left >= 2 * LEAST_PIECE else None

    def _split(self) -> Piece | None:
        """The second half of what the widest lane has to do."""
        lane = self._widest()
        if lane is None or lane.end is None:
            return None
        middle, end = lane.pos + lane.left // 2, lane.end
        lane.end = middle
        return middle, end

    def reap(self) -> None:
        """Look after the lanes that have ended. Raises what the fetch can't go on with."""
        for task in [task for task in self._tasks if task.done()]:
            lane = self._tasks.pop(task)
            self.banked += lane.pos - lane.start
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, TransferError):
                raise error
            self._settle(lane, error)

    def _settle(self, lane: Lane, error: TransferError | None) -> None:
        if lane.verdict is Verdict.CHANGED:
            raise Changed
        if lane.excess and lane.verdict is Verdict.TAKEN:
            raise _too_long(lane)
        if lane.end is None and error is None:
            return
        if lane.end is not None and lane.pos >= lane.end:
            return
        if lane.verdict is Verdict.WHOLE:
            self.splits = False
            self.growth.shrink()
            if not self._give_back(lane):
                raise Changed
            return
        self._pieces.insert(0, (lane.pos, lane.end))
        if error is None and lane.pos == lane.start:
            error = NetworkFailed("the server ended its answer before the part that was asked for")
        if error is not None:
            if not self._tasks:
                raise error
            self.growth.shrink()

    def _give_back(self, lane: Lane) -> bool:
        """Let the neighbour, from whom it was taken, fetch the piece after all."""
        for other in self.lanes:
            if other.end == lane.start and other.reach is not None and lane.end is not None:
                if other.reach < lane.end or other.pos >= lane.start:
                    return False
                other.end = lane.end
                return True
        return False

    async def stop(self) -> None:
        """End all lanes; when this returns none of them touches anything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await settled(asyncio.gather(*tasks, return_exceptions=True))
        self._tasks.clear()


def _too_long(lane: Lane) -> Corrupt:
    host = lane.access.target.host if lane.access else "the server"
    return Corrupt(
        f"{host} sent more than the {lane.pos - lane.start} bytes that it announced",
        hint="the source is broken: its length and its content disagree",
    )

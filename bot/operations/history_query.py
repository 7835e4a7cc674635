"""Answers from the history of metrics: few points, in which no peak is lost.

An answer is a grid of equal stretches of time. Each has the least and the greatest sample in it
beside the mean and the last one, so a peak of one sample is in the answer over a month too, and
stretches can be made of shorter ones exactly. (LTTB keeps the look of one line, but which points
it picks changes with every look at a moving window, and a mean can't be had from them.) Stretches
begin at multiples of their length, so that a window that moves shows the same ones again.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from bot.domain.ports import Clock
from bot.errors import InvalidInput
from bot.operations.blocks import SPAN, SPANS, Bucket, Run, Samples, runs
from bot.operations.history import RAW_KEPT, Recorder
from bot.store.series import Block, SeriesStore

#: Series in one answer.
MAX_NAMES = 20
_DEFAULT_SPAN = 3600.0

_Column = list[float | None]
#: The samples in memory: the beginning of their block, their series, when and what.
_Recent = Mapping[int, Mapping[str, list[tuple[int, float]]]]


@dataclass(frozen=True, slots=True)
class Series:
    """A series on the grid of its answer; None where nothing was measured."""

    name: str
    mean: _Column
    min: _Column
    max: _Column
    last: _Column

    def __bool__(self) -> bool:
        """Whether anything was measured in that time."""
        return any(value is not None for value in self.last)


@dataclass(frozen=True, slots=True)
class Answer:
    """Series on one grid: stretch ``n`` begins at ``start + n * step`` (UNIX seconds).

    ``resolution`` is the width in seconds of what it was made of.
    """

    start: int
    step: int
    size: int
    resolution: int
    series: list[Series]


class HistoryReader:
    """Reads what a ``Recorder`` keeps; ``max_points`` stretches at most in one answer."""

    def __init__(
        self, recorder: Recorder, store: SeriesStore, clock: Clock, *, max_points: int
    ) -> None:
        self._recorder = recorder
        self._store = store
        self._clock = clock
        self._max_points = max_points

    async def read(
        self,
        names: Sequence[str],
        since: float | None = None,
        until: float | None = None,
        points: int | None = None,
    ) -> Answer:
        """The series ``names`` between two times (UNIX seconds; by default the last hour).

        At most ``points`` stretches, and never more than ``max_points``.
        A series that is not known has nothing in it. InvalidInput where the times or the number of
        series can't be.
        """
        # The second of now, and a sample in it, is to be there.
        until = self._clock.now() + 1 if until is None else until
        since = until - _DEFAULT_SPAN if since is None else since
        if not 0 <= since < until:
            raise InvalidInput("a history must end after it begins, and begin after 1970")
        names = list(dict.fromkeys(names))
        if not 0 < len(names) <= MAX_NAMES:
            raise InvalidInput(
                f"{len(names)} series are asked for", hint=f"name 1 to {MAX_NAMES} of them"
            )
        grid = self._grid(since, until, min(points or self._max_points, self._max_points))
        blocks = await self._stored(grid)
        recent = {
            samples.start: {name: samples.points(name) for name in names}
            for samples in self._recorder.in_memory
        }
        # Up to two days of samples of each series: the loop has better things to do.
        series = await asyncio.to_thread(_filled, grid, names, blocks, recent)
        return Answer(grid.start, grid.step, grid.size, grid.resolution, series)

    def _grid(self, since: float, until: float, points: int) -> _Grid:
        wanted = (until - since) / points
        known = sorted(SPANS)
        if since >= self._clock.now() - RAW_KEPT:
            known.insert(0, self._recorder.interval)
        resolution = max((each for each in known if each <= wanted), default=known[0])
        step = resolution * max(1, int(wanted // resolution))
        while _size(since, until, step) > points:
            step += resolution
        start = int(since) // step * step
        return _Grid(start, step, _size(since, until, step), resolution)

    async def _stored(self, grid: _Grid) -> list[Block]:
        step = grid.resolution if grid.resolution in SPANS else 0
        span = SPANS.get(step, SPAN)
        return await self._store.between(step, grid.start - span + 1, grid.end - 1)


@dataclass(frozen=True, slots=True)
class _Grid:
    start: int
    step: int
    size: int
    resolution: int

    @property
    def end(self) -> int:
        return self.start + self.step * self.size


class _Columns:
    """Collects the buckets of one series, which come in order of time."""

    def __init__(self, grid: _Grid) -> None:
        self._grid = grid
        self._found: dict[int, Bucket] = {}

    def add(self, run: Run, newer: Container[int] = ()) -> None:
        """Count buckets in; what lies outside of the grid, or in a ``newer`` block, is left out."""
        times, grid = run.times, self._grid
        first = bisect_left(times, grid.start)
        after = bisect_left(times, grid.end)
        while first < after:
            at = times[first]
            place = (at - grid.start) // grid.step
            block = at // SPAN * SPAN
            # As many as lie in the same stretch and in the same block of samples.
            end = min(grid.start + (place + 1) * grid.step, block + SPAN)
            last = bisect_left(times, end, first, after)
            if block not in newer:
                self._put(place, run.together(first, last))
            first = last

    def _put(self, place: int, bucket: Bucket) -> None:
        known = self._found.get(place)
        self._found[place] = bucket if known is None else _together(known, bucket)

    def series(self, name: str) -> Series:
        """All of it."""
        found = [self._found.get(place) for place in range(self._grid.size)]
        return Series(
            name,
            mean=_column(found, lambda bucket: bucket.mean),
            min=_column(found, lambda bucket: bucket.min),
            max=_column(found, lambda bucket: bucket.max),
            last=_column(found, lambda bucket: bucket.last),
        )


def _together(first: Bucket, second: Bucket) -> Bucket:
    samples = first.samples + second.samples
    mean = (first.mean * first.samples + second.mean * second.samples) / samples
    least, greatest = min(first.min, second.min), max(first.max, second.max)
    return Bucket(least, greatest, mean, second.last, samples)


def _column(found: list[Bucket | None], of: Callable[[Bucket], float]) -> _Column:
    # Seven digits: the rest is what a 32-bit float makes of a number.
    return [None if bucket is None else float(f"{of(bucket):.7g}") for bucket in found]


def _filled(
    grid: _Grid, names: Sequence[str], blocks: Sequence[Block], recent: _Recent
) -> list[Series]:
    columns = {name: _Columns(grid) for name in names}
    for block in blocks:
        if block.step:
            found = runs(block.step, block.start, block.body, names)
            for name, run in found.items():
                # What is in memory is newer than what the store has of the same time.
                columns[name].add(run, recent)
        elif block.start not in recent:
            samples = Samples.decode(block.start, block.body, names)
            for name, column in columns.items():
                column.add(Run.of_samples(samples.points(name)))
    for in_memory in recent.values():
        for name, points in in_memory.items():
            columns[name].add(Run.of_samples(points))
    return [column.series(name) for name, column in columns.items()]


def _size(since: float, until: float, step: int) -> int:
    """How many stretches of ``step`` seconds, from a multiple of it on, hold that time."""
    return math.ceil((until - int(since) // step * step) / step)

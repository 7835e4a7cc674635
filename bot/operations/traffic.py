"""Bytes in and out, by engine: sums that never go back, while transfers run and when they end.

What counts are the bytes of files. While a stage runs, its engine tells how far it is; what it has
gained since the last look is added. Bytes that a try fetches again after a failure are not counted
again, and at its end a stage has counted exactly the size of its files. A stage that goes on from
what an earlier start of the service left counts from where it was at the first look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bot.domain import events
from bot.domain.task import FINAL, StageKind
from bot.engines.registry import Engines

Direction = Literal["in", "out"]

DIRECTIONS: tuple[Direction, ...] = ("in", "out")
#: The stages during which an engine moves bytes, and which way those of its progress go.
_MOVING: Mapping[StageKind, Direction | None] = {
    StageKind.FETCH: "in",
    StageKind.DELIVER: "out",
    StageKind.SEED: None,
}


@dataclass(slots=True)
class _Mark:
    """How far the bytes of one engine for one task are counted; None: from the next look on.

    ``direction`` is None where the progress of the engine is not about bytes that count.
    """

    phase: StageKind
    direction: Direction | None
    counted: int | None
    uploaded: int | None


class Traffic:
    """Counts the bytes of all engines; give it every event, and call ``look`` about once a second
    so that the sums grow while transfers run."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._marks: dict[str, dict[str, _Mark]] = {}
        self._sums: dict[tuple[Direction, str], int] = {
            (direction, engine.name): 0 for direction in DIRECTIONS for engine in engines
        }
        self._speeds = dict.fromkeys(DIRECTIONS, 0.0)
        self._looked: float | None = None

    def totals(self) -> Mapping[tuple[Direction, str], int]:
        """Bytes since the start, by direction and engine; every engine is there."""
        return self._sums

    def figures(self) -> Mapping[str, float]:
        """The readings of this part."""
        found: dict[str, float] = {}
        for direction in DIRECTIONS:
            sums = (n for (way, _), n in self._sums.items() if way == direction)
            found[f"bytes_{direction}_total"] = sum(sums)
            found[f"bytes_{direction}_per_second"] = self._speeds[direction]
        return found

    def hear(self, event: events.Event) -> None:
        """An event of the service."""
        if isinstance(event, events.StageStarted):
            self._begin(event)
        elif isinstance(event, events.StageFinished):
            self._settle(event)
        elif isinstance(event, events.TaskMoved) and event.after in FINAL:
            self._marks.pop(event.task, None)

    def _begin(self, event: events.StageStarted) -> None:
        if event.phase is None or event.phase not in _MOVING:
            return
        marks = self._marks.setdefault(event.task, {})
        self._mark(marks, event.worker, event.phase, event.resumed, _MOVING[event.phase])
        if event.fetcher is not None:
            self._mark(marks, event.fetcher, event.phase, event.resumed, "in")

    def _mark(
        self,
        marks: dict[str, _Mark],
        engine: str,
        phase: StageKind,
        resumed: bool,
        direction: Direction | None,
    ) -> None:
        known = marks.get(engine)
        if known is not None and known.phase is phase and known.direction is direction:
            return  # Another try: what was counted stays counted.
        first = None if resumed else 0
        marks[engine] = _Mark(phase, direction, first, known.uploaded if known else first)

    def _settle(self, event: events.StageFinished) -> None:
        for engine, mark in self._marks.get(event.task, {}).items():
            if mark.phase is event.phase and mark.direction is not None:
                self._count(engine, mark, mark.direction, event.size)
                mark.direction = None

    def look(self, now: float) -> None:
        """Add what the transfers under way have gained since the last time. ``now`` is in seconds
        that never go back."""
        speeds = dict.fromkeys(DIRECTIONS, 0.0)
        seeded = 0
        for engine in self._engines:
            for task, progress in engine.snapshot().items():
                mark = self._marks.get(task, {}).get(engine.name)
                if mark is None:
                    continue
                if mark.direction is not None:
                    self._count(engine.name, mark, mark.direction, progress.done)
                    speeds[mark.direction] += progress.speed
                seeded += self._seed(engine.name, mark, progress.uploaded)
        if seeded and self._looked is not None and now > self._looked:
            speeds["out"] += seeded / (now - self._looked)
        self._speeds, self._looked = speeds, now

    def _count(self, engine: str, mark: _Mark, direction: Direction, done: int) -> None:
        """Add what lies between the mark and ``done``, and move the mark there."""
        if mark.counted is None:
            mark.counted = done
        elif done > mark.counted:
            self._sums[direction, engine] += done - mark.counted
            mark.counted = done

    def _seed(self, engine: str, mark: _Mark, uploaded: int) -> int:
        """Add what a torrent gave to peers since the last look; how much that was."""
        before, mark.uploaded = mark.uploaded, max(uploaded, mark.uploaded or 0)
        gained = 0 if before is None else max(0, uploaded - before)
        self._sums["out", engine] += gained
        return gained

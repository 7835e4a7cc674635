"""Clients that see the same in the same rhythm: each message is made once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot import __version__
from bot.domain.events import TaskRemoved
from bot.web.live.boards import Board, Common
from bot.web.live.messages import Message, Parcel
from bot.web.live.rows import Row, changed

if TYPE_CHECKING:
    from bot.web.live.hub import Client


class Group:
    """What its clients have been told, and what comes next. All of them have been told the same:
    whoever comes later begins with a snapshot of it."""

    def __init__(self, board: Board, common: Common, interval: int, *, compresses: bool) -> None:
        self.board = board
        self.interval = interval
        self.clients: set[Client] = set()
        self.seq = 0
        self._common = common
        self._compresses = compresses
        self._at = 0.0
        self._told: dict[str, Row] = {}
        self._removed: set[str] = set()
        self._counts: Mapping[str, int] = {}
        self._alerts: Row = {}
        self._plugins: list[Row] = []
        self._gaps = 0
        self._snapshot: Parcel | None = None

    def removed(self, event: TaskRemoved) -> None:
        """A task is deleted."""
        if self.board.user in {None, event.user}:
            self._removed.add(event.task)

    def begin(self, seq: int, at: float) -> None:
        """Take what there is as told: the first snapshot tells it."""
        self._advance(seq, at)

    def next(self, seq: int, at: float, tick: Message) -> Parcel:
        """What is new since the last time, behind the tick."""
        content = self._changes()
        self._snapshot = None
        if not content:
            self._at = at
            return Parcel((tick,))
        head = {"type": "delta", "since": self.seq, "seq": seq, "at": at}
        self._advance(seq, at)
        delta = Message({**head, **content}, compresses=self._compresses)
        return Parcel((tick, delta))

    def _changes(self) -> Row:
        told, rows = self._told, self.board.rows
        tasks = [
            changed(told.get(each), row) for each, row in rows.items() if told.get(each) is not row
        ]
        found: Row = {}
        if tasks:
            found["tasks"] = tasks
        if self._removed:
            found["removed"] = sorted(self._removed)
        if self._counts != self.board.counts:
            found["counts"] = self.board.counts
        if self._alerts != self._common.alerts:
            found["alerts"] = self._common.alerts
        if self._plugins != self._common.plugins:
            found["plugins"] = self._common.plugins
        if self._gaps != self.board.gaps:
            found["more"] = True
        return found

    def _advance(self, seq: int, at: float) -> None:
        self.seq, self._at = seq, at
        self._told = dict(self.board.rows)
        self._removed.clear()
        self._counts = self.board.counts
        self._alerts, self._plugins = self._common.alerts, self._common.plugins
        self._gaps = self.board.gaps
        self._snapshot = None

    def snapshot(self) -> Parcel:
        """All that has been told so far."""
        if self._snapshot is None:
            content = {
                "type": "snapshot",
                "seq": self.seq,
                "at": self._at,
                "interval": self.interval,
                "version": __version__,
                "metrics": self._common.metrics,
                "counts": self._counts,
                "tasks": [*reversed(self._told.values())],
                "alerts": self._alerts,
                "plugins": self._plugins,
            }
            self._snapshot = Parcel((Message(content, compresses=self._compresses),))
        return self._snapshot

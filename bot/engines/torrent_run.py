"""One job of the torrent engine, as the service sees it: the last facts, and waiting for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bot.domain.ports import FetchJob
from bot.domain.task import Progress
from bot.engines.torrent_reach import Reach
from bot.errors import NetworkFailed, TransferError

_MOVES = ("done", "received", "uploaded", "checked", "checking")
_NAMED = 8


class Run:
    """The state of one torrent in the worker. ``job`` is None while only metadata is looked for.

    Times are of the event loop, in seconds.
    """

    def __init__(self, name: str, reach: Reach, job: FetchJob | None) -> None:
        self.name = name
        self.reach = reach
        self.job = job
        self.facts: dict[str, Any] = {}
        self.has_metadata = False
        self._loop = asyncio.get_running_loop()
        self._moved = self._loop.time()
        self._news = asyncio.Event()
        self._error: TransferError | None = None

    @property
    def finished(self) -> bool:
        """Whether every wanted byte is there and checked."""
        return bool(self.facts.get("finished"))

    @property
    def settled(self) -> bool:
        """Whether it is known what is on the disk."""
        return bool(self.facts) and not self.facts["checking"]

    @property
    def progress(self) -> Progress:
        """The last state as the service shows it; while it seeds, the speed is that of sharing."""
        facts = self.facts
        return Progress(
            done=facts.get("done", 0),
            total=facts.get("total"),
            speed=facts.get("up" if self.finished else "down", 0.0),
            connections=facts.get("connections", 0),
            uploaded=facts.get("uploaded", 0),
            peers=facts.get("peers", 0),
            seeds=facts.get("seeds", 0),
        )

    def update(self, facts: dict[str, Any]) -> None:
        """Take the facts that the worker sent."""
        if any(facts[key] != self.facts.get(key) for key in _MOVES):
            self._moved = self._loop.time()
        self.facts = facts
        self._news.set()

    def got_metadata(self) -> None:
        """The worker wrote the plan of a magnet link."""
        self.has_metadata = True
        self._news.set()

    def fail(self, error: TransferError) -> None:
        """What waits for this job raises ``error``."""
        self._error = error
        self._news.set()

    async def until(
        self,
        reached: Callable[[], bool],
        *,
        stall: float | None = None,
        deadline: float | None = None,
    ) -> bool:
        """Wait until ``reached``; False where ``deadline`` came first, or nothing moved for
        ``stall`` seconds. Raises what the worker reported."""
        while True:
            if self._error is not None:
                raise self._error
            if reached():
                return True
            ends = [self._moved + stall] if stall is not None else []
            end = min(ends if deadline is None else [*ends, deadline], default=None)
            if end is not None and self._loop.time() >= end:
                return False
            self._news.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._news.wait()
            except TimeoutError:
                continue


def stalled(run: Run, report: dict[str, Any], seconds: float, dht: bool) -> NetworkFailed:
    """The error about a torrent that stands still, with what was tried."""
    what = "no piece" if run.facts.get("total") else "no metadata"
    connected = f"{report['connected']} connected ({report['seeds']} with everything)"
    tried = [f"{report['known']} peers known, {connected}"]
    answers = [f"{url} said {text}" for url, text in report["answers"].items()]
    asked = len(run.reach.trackers) + len(run.reach.web_seeds)
    tried.append(_some(answers) if answers else f"none of {asked} trackers and web seeds answered")
    tried.append(f"the DHT found {report['dht_peers']} peers" if dht else "the DHT is off")
    if report["blocked"]:
        tried.append(f"the egress policy refused {report['blocked']} peers")
    if run.reach.refused:
        tried.append(f"left out are {_some(run.reach.refused)}")
    if report["bad_pieces"]:
        tried.append(f"{report['bad_pieces']} pieces came damaged")
    return NetworkFailed(
        f"the torrent got {what} for {seconds:g} seconds: {'; '.join(tried)}",
        hint="torrents without peers can't be fetched; try later, or a link with more trackers",
        **{key: report[key] for key in ("known", "connected", "dht_peers", "blocked")},
    )


def _some(texts: list[str]) -> str:
    more = f", and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more

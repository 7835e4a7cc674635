"""All connections of the engine: their speeds, and the limits that they share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from bot.engines.curl import CurlLoop
from bot.engines.curl_handle import Handle
from bot.engines.http_pace import Demand, shares

_WORTH = 0.05


class Flow(Protocol):
    """A connection: how far it is, what it may receive, its present handle."""

    pos: int
    allowed: int | None
    handle: Handle | None

    def flush_idle(self) -> None:
        """Hand on what is slow to become more. In libcurl's thread."""


@dataclass(slots=True)
class _State:
    job: str
    pos: int
    speed: float = 0.0


class Traffic:
    """The connections under way. Limits are in bytes a second; ``most`` is how many connections
    there may be before single files are given more than one."""

    def __init__(self, loop: CurlLoop, most: int) -> None:
        self._loop = loop
        self._most = most
        self._flows: dict[Flow, _State] = {}
        self._limit: int | None = None
        self._jobs: dict[str, int] = {}
        self._at = time.monotonic()

    @property
    def spare(self) -> int:
        """How many more connections there may be for the sake of speed alone."""
        return self._most - len(self._flows)

    def limited(self, job: str) -> bool:
        """Whether a limit holds for ``job``."""
        return self._limit is not None or job in self._jobs

    def enter(self, flow: Flow, job: str) -> None:
        """A connection begins; with a modest share until the next ``adjust``."""
        if not self._flows:
            self._loop.every_tick(self, self._tick)
        self._flows[flow] = _State(job, flow.pos)
        own = sum(1 for state in self._flows.values() if state.job == job) if self._jobs else 1
        parts = [
            limit // count
            for limit, count in ((self._limit, len(self._flows)), (self._jobs.get(job), own))
            if limit is not None
        ]
        flow.allowed = max(1, min(parts)) if parts else None

    def leave(self, flow: Flow) -> None:
        """A connection has ended."""
        self._flows.pop(flow, None)
        if not self._flows:
            self._loop.no_tick(self)

    def set_limit(self, limit: int | None, job: str | None) -> None:
        """Limit everything, or one job; None lifts the limit."""
        if job is None:
            self._limit = limit
        elif limit is None:
            self._jobs.pop(job, None)
        else:
            self._jobs[job] = limit
        self.adjust()

    def forget(self, job: str) -> None:
        """A job has ended, and its limit with it."""
        self._jobs.pop(job, None)

    def adjust(self) -> None:
        """Measure, and divide the limits anew over those connections that use them."""
        now = time.monotonic()
        passed, self._at = max(now - self._at, 1e-3), now
        for flow, state in self._flows.items():
            state.speed, state.pos = (flow.pos - state.pos) / passed, flow.pos
        if self._limit is None and not self._jobs:
            self._lift(self._flows)
            return
        demands = {
            flow: Demand(state.job, state.speed, flow.allowed)
            for flow, state in self._flows.items()
        }
        for flow, share in shares(demands, self._limit, self._jobs).items():
            self._allow(flow, share)

    def _lift(self, flows: Iterable[Flow]) -> None:
        for flow in flows:
            if flow.allowed is not None:
                self._allow(flow, None)

    def _allow(self, flow: Flow, share: int | None) -> None:
        before = flow.allowed
        if share is not None and before is not None and abs(share - before) <= before * _WORTH:
            return
        if share == before:
            return
        flow.allowed = share
        if flow.handle is not None:
            self._loop.limit(flow.handle, share)

    def _tick(self, _now: float) -> None:
        for flow in tuple(self._flows):
            flow.flush_idle()

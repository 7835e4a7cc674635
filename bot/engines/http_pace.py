"""How fast it goes, how fast it may go, and whether another connection would make it faster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")

_SMOOTH = 2.0
_PAYS = 1.3
_PATIENCE = 4
_FAST = 256 * 1024 * 1024
_SOON = 1.0
_LEAST = 1024


class Meter:
    """A smoothed speed in bytes a second, from a growing count of bytes."""

    def __init__(self, done: int, now: float) -> None:
        self._done = done
        self._at = now
        self.speed = 0.0
        self.latest = 0.0
        self._sampled = False

    def sample(self, done: int, now: float) -> None:
        """Note that ``done`` bytes were there at ``now`` (monotonic seconds)."""
        passed = now - self._at
        if passed <= 0:
            return
        self.latest = max(0, done - self._done) / passed
        weight = 1 - math.exp(-passed / _SMOOTH) if self._sampled else 1.0
        self.speed += (self.latest - self.speed) * weight
        self._sampled = True
        self._done, self._at = done, now


class Growth:
    """Decides how many connections one file gets: twice as many as long as that pays.

    It starts with ``width`` connections and never has more than ``most``. A doubling pays when the
    speed grows by a third; when it did not after some samples, that was the last.
    """

    def __init__(self, width: int, most: int) -> None:
        self.width = width
        self.settled = width >= most
        self._most = most
        self._before = 0.0
        self._samples: list[float] = []

    def sample(self, speed: float, left: int) -> bool:
        """Note the ``speed`` since the last sample, with all connections at work and ``left``
        bytes to go; whether ``width`` is a larger number now."""
        self._samples.append(speed)
        if self.settled or len(self._samples) < 2:
            return False
        now = self._samples[-1]
        if now > _FAST:
            self.settled = True
            return False
        if now <= 0 or left / now < _SOON:
            return False
        if self.width > 1 and now < self._before * _PAYS:
            self.settled = len(self._samples) > _PATIENCE
            return False
        if self.width == 1 and not self._flat():
            return False
        self._before = now
        self._samples.clear()
        self.width = min(self.width * 2, self._most)
        self.settled = self.width >= self._most
        return True

    def _flat(self) -> bool:
        """Whether the connection has come up to its speed (or never will be steady)."""
        last, before = self._samples[-1], self._samples[-2]
        return last <= before * _PAYS or len(self._samples) > 2 * _PATIENCE

    def shrink(self) -> None:
        """A connection was refused: so many are too many."""
        self.width = max(1, self.width - 1)
        self.settled = True


@dataclass(slots=True)
class Demand:
    """One connection that wants a share: its job, its speed, what it was allowed till now."""

    job: str
    speed: float
    allowed: int | None


def shares(
    demands: Mapping[K, Demand], limit: int | None, jobs: Mapping[str, int]
) -> dict[K, int | None]:
    """What each connection may receive, bytes a second: within each job's own limit and, all
    together, within ``limit``. What a slow one leaves goes to the others. None is no limit."""
    result: dict[K, int | None] = dict.fromkeys(demands)
    for job, most in jobs.items():
        mine = [key for key, demand in demands.items() if demand.job == job]
        result.update(zip(mine, _fill([_wants(demands[key]) for key in mine], most), strict=True))
    if limit is None:
        return result
    keys = list(demands)
    wants = [min(_wants(demands[key]), _or_inf(result[key])) for key in keys]
    for key, share in zip(keys, _fill(wants, limit), strict=True):
        own = result[key]
        result[key] = share if own is None else min(own, share)
    return result


def _or_inf(value: int | None) -> float:
    return math.inf if value is None else value


def _wants(demand: Demand) -> float:
    """What it could use: more than it has when it uses what it has, else a bit above its speed."""
    if demand.allowed is None or demand.speed >= 0.7 * demand.allowed:
        return math.inf
    return max(demand.speed * 1.5, 16 * _LEAST)


def _fill(wants: Sequence[float], limit: int) -> list[int]:
    """Max-min fair shares of ``limit``; what nobody wants is spread over all."""
    result = [0.0] * len(wants)
    left = float(limit)
    order = sorted(range(len(wants)), key=lambda index: wants[index])
    for place, index in enumerate(order):
        result[index] = min(wants[index], left / (len(order) - place))
        left -= result[index]
    extra = left / len(wants) if wants else 0.0
    return [max(_LEAST, int(share + extra)) for share in result]

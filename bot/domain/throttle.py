"""How often something may be done by one of many, such as a request by an address."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from bot.domain.ports import Clock

_MOST = 10_000  # that are remembered; the one that was quiet for longest makes room


class Throttle:
    """Lets each do ``burst`` at once, and ``rate`` a second in the long run."""

    def __init__(self, rate: float, burst: float, clock: Clock, *, most: int = _MOST) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._most = most
        # When each would have everything back: one number says how much they have now.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, who: str) -> float:
        """Count one; 0 where it is within the limit, else the seconds until the next may be (and
        this one does not count)."""
        now = self._clock.monotonic()
        full = max(self._full_at.pop(who, now), now) + 1 / self._rate
        over = full - now - self._burst / self._rate
        if over > 1e-9:
            full -= 1 / self._rate
        self._full_at[who] = full
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return over if over > 1e-9 else 0.0

    def give_back(self, who: str) -> None:
        """Take the last one off: it is not one of those that are counted."""
        if who in self._full_at:
            self._full_at[who] -= 1 / self._rate


def network_of(address: str) -> str:
    """What one client has for sure: an address of IPv4, 64 bits of one of IPv6."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))

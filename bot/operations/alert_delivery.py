"""The ways of notifications out of the store: one worker a channel, none waits for another.

A notification is stored before it is sent and settled after it, so it arrives at least once,
whatever ends the service in between.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from bot.domain.alerts import Notification
from bot.domain.ports import Clock
from bot.errors import MltbError, Unavailable
from bot.operations.alert_channels import Channel, Route
from bot.store.alerts import AlertStore, Delivery

log = logging.getLogger(__name__)

_BASE, _LONGEST = 5.0, 600.0  # seconds between two tries of a channel that is down
_AT_ONCE = 200  # notifications that are looked at together, and so the most in one digest
_LISTED = 10  # of which a digest says more than that they are there
_PARTING = 2.0  # seconds that a stop waits for what is just being sent


class Bucket:
    """At most ``per_minute`` in a minute, as many at once where nothing was sent for a while."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._size = float(per_minute)
        self._left = self._size
        self._at = now

    def left(self, now: float) -> int:
        """How many may be sent now."""
        self._left = min(self._size, self._left + max(0.0, now - self._at) * self._size / 60)
        self._at = now
        return int(self._left + 1e-9)

    def take(self) -> None:
        """One is sent."""
        self._left -= 1

    def wait(self, now: float) -> float:
        """Seconds until one may be sent."""
        return 0.0 if self.left(now) else (1 - self._left) * 60 / self._size


@dataclass(slots=True)
class Health:
    """How a channel does; times are UNIX seconds."""

    failing: int = 0
    error: str | None = None
    last_sent: float | None = None
    last_failed: float | None = None


@dataclass(slots=True)
class Courier:
    """Brings the notifications of one channel to it."""

    channel: Channel
    route: Route
    store: AlertStore
    clock: Clock
    give_up: float
    jitter: Callable[[], float] = random.random
    health: Health = field(default_factory=Health)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _work: asyncio.Task[None] | None = None
    _sending: asyncio.Future[None] | None = None
    _seen: dict[int, float] = field(default_factory=dict)

    def start(self) -> None:
        """Begin with what is in the store."""
        self._wake.set()
        self._work = asyncio.create_task(self._run(), name=f"alerts to {self.channel.name}")

    def wake(self) -> None:
        """There is something new in the store."""
        self._wake.set()

    async def stop(self) -> None:
        """End; what is just being sent has a moment to get there, and to be settled."""
        if self._sending is not None and self._work is not None:
            await asyncio.wait([self._sending], timeout=_PARTING)
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _run(self) -> None:
        bucket = Bucket(self.route.per_minute, self.clock.monotonic())
        while True:
            try:
                more = await self._step(bucket)
            except MltbError as error:  # the store; its own message says what is wrong
                log.warning("alerts to %s wait: %s", self.channel.name, error)
                await self.clock.sleep(_LONGEST / 10)
                continue
            if not more:
                await self._wake.wait()

    async def _step(self, bucket: Bucket) -> bool:
        """Send one message; whether there may be more."""
        self._wake.clear()
        if not await self.store.pending(self.channel.name, 1):
            self._seen.clear()
            return False
        if (wait := bucket.wait(self.clock.monotonic())) > 0:
            await self.clock.sleep(wait)
        waiting = await self.store.pending(self.channel.name, _AT_ONCE)
        if not waiting:
            return True
        now = self.clock.monotonic()
        self._seen = {each.seq: self._seen.get(each.seq, now) for each in waiting}
        if len(waiting) > bucket.left(now):
            chosen, message = waiting, digest(waiting)
        else:
            # Those that were tried least: one that a channel can't take holds up no other.
            first = min(waiting, key=lambda each: (each.attempts, each.seq))
            chosen, message = [first], first.notification
        bucket.take()
        await self._send(chosen, message)
        return True

    async def _send(self, chosen: Sequence[Delivery], message: Notification) -> None:
        self._sending = asyncio.get_running_loop().create_future()
        try:
            error = await self._tried(message)
            await self._settle(chosen, error)
        finally:
            self._sending.set_result(None)
            self._sending = None
        if self.health.failing:
            doubled = _BASE * 2.0 ** min(self.health.failing - 1, 32)
            await self.clock.sleep(min(_LONGEST, doubled) * (0.5 + self.jitter() / 2))

    async def _tried(self, message: Notification) -> str | None:
        """Send; why it did not get there, or None."""
        try:
            await self.channel.send(message)
        except MltbError as error:
            return error.message
        except Exception as error:
            # The boundary to channels of others: theirs must not end ours.
            log.exception("channel %s: a fault of the channel", self.channel.name)
            return f"a fault of the channel: {type(error).__name__}"
        return None

    async def _settle(self, chosen: Sequence[Delivery], error: str | None) -> None:
        now, mono = self.clock.now(), self.clock.monotonic()
        tried = [
            msgspec.structs.replace(
                each,
                attempts=each.attempts + 1,
                tried_for=round(each.tried_for + max(0.0, mono - self._seen[each.seq]), 3),
            )
            for each in chosen
        ]
        self._seen.update((each.seq, mono) for each in tried)
        if error is None:
            self.health.failing, self.health.error, self.health.last_sent = 0, None, now
            await self.store.settle(tried, state="delivered", error=None, at=now)
            return
        self.health.failing += 1
        self.health.error, self.health.last_failed = error, now
        log.warning("%s (try %d in a row)", error, self.health.failing)
        over = [each for each in tried if each.tried_for >= self.give_up]
        if over:
            log.error("alerts to %s: %d given up", self.channel.name, len(over))
            await self.store.settle(over, state="failed", error=error, at=now)
        left = [each for each in tried if each.tried_for < self.give_up]
        await self.store.settle(left, state="pending", error=error, at=now)


def digest(waiting: Sequence[Delivery]) -> Notification:
    """Many notifications in one message: how many, and what the first are."""
    if len(waiting) == 1:
        return waiting[0].notification
    told = [each.notification for each in waiting]
    lines = [f"- {each.title}" for each in told[:_LISTED]]
    more = len(told) - _LISTED
    if more > 0:
        lines.append(f"and {more} more")
    return Notification(
        id=told[0].id,
        kind="digest",
        severity=min((each.severity for each in told), key=lambda each: each.rank),
        title=f"mltb: {len(told)} notifications",
        body="\n".join(lines),
        rules=tuple(dict.fromkeys(rule for each in told for rule in each.rules)),
        at=told[-1].at,
        alerts=tuple(dict.fromkeys(alert for each in told for alert in each.alerts)),
    )


class Couriers:
    """All channels, with a worker each. More may come, and go, while the service runs."""

    def __init__(self, store: AlertStore, clock: Clock, *, give_up: float) -> None:
        self._store = store
        self._clock = clock
        self._give_up = give_up
        self._couriers: dict[str, Courier] = {}
        self._started = False

    @property
    def all(self) -> Sequence[Courier]:
        """One for each channel."""
        return tuple(self._couriers.values())

    def find(self, name: str) -> Courier | None:
        """The one of that channel, or None."""
        return self._couriers.get(name)

    def add(self, channel: Channel, route: Route) -> None:
        """Take a channel; Unavailable where another has its name."""
        if channel.name in self._couriers:
            raise Unavailable(f"there is a channel {channel.name!r} already")
        courier = Courier(channel, route, self._store, self._clock, self._give_up)
        self._couriers[channel.name] = courier
        if self._started:
            courier.start()

    async def remove(self, name: str) -> None:
        """Let a channel go; what it had to tell waits in the store for its return."""
        courier = self._couriers.pop(name, None)
        if courier is not None:
            await courier.stop()

    def start(self) -> None:
        """Begin."""
        self._started = True
        for courier in self._couriers.values():
            courier.start()

    async def stop(self) -> None:
        """End."""
        self._started = False
        await asyncio.gather(*(courier.stop() for courier in self._couriers.values()))

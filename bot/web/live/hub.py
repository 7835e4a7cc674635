"""The hub: who is connected, and what they are sent with each tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from weakref import WeakValueDictionary

from bot.domain import events
from bot.domain.ports import Clock
from bot.errors import Forbidden, MltbError, TooMany, Unauthenticated
from bot.services import Caller, Services
from bot.web.live.boards import Board, Common, key_of
from bot.web.live.groups import Group
from bot.web.live.messages import Message, Parcel
from bot.web.live.pipes import Pipe
from bot.web.live.visitors import Visitor

log = logging.getLogger(__name__)

GONE, FULL, UNKNOWN, SLOW = 1001, 1013, 4401, 4410  # why a connection ends
_TICK = 1.0  # seconds
_CAP = 256 * 1024  # bytes that may wait for a client; then it misses what comes
_PATIENCE = 15.0  # seconds that a client may take to read what waits
_CHECK = 5  # ticks between two looks at who may still be here
_BATCH = 250  # clients after which others have their turn


@dataclass(frozen=True, slots=True)
class Options:
    """``most`` clients at a time, a tick each ``interval`` seconds unless they choose another."""

    most: int
    interval: int
    compresses: bool


@dataclass(eq=False, slots=True)
class Client:
    """Somebody who is connected. ``leave`` ends the connection for a reason."""

    visitor: Visitor
    pipe: Pipe
    leave: Callable[[int, str], None]
    name: str = ""
    group: Group | None = None
    behind: float | None = None  # since when it has not read what waits
    served: float = 0.0  # when it got a snapshot that it had asked for


class Hub:
    """Ticks while somebody is connected, and does nothing else otherwise."""

    def __init__(
        self, services: Services, hub: events.EventHub, clock: Clock, options: Options
    ) -> None:
        self.options = options
        self._services = services
        self._events = hub
        self._clock = clock
        self._common = Common(services)
        self._boards: WeakValueDictionary[str | None, Board] = WeakValueDictionary()
        self._groups: dict[tuple[str | None, int], Group] = {}
        self._clients: set[Client] = set()
        self._placing = asyncio.Lock()
        self._names = count(1)
        self._seq = 0
        self._task: asyncio.Task[None] | None = None
        self._deaf: Callable[[], None] | None = None
        self._messages = self._bytes = 0  # that were sent and are not told yet
        self.over = False

    # Who is connected

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def check_room(self) -> None:
        """TooMany where no more may come."""
        if len(self._clients) >= self.options.most:
            raise TooMany(
                f"{self.options.most} clients are connected",
                hint="MAX_DASHBOARD_CONNECTIONS is the limit; try again later",
            )

    async def join(self, client: Client, interval: int | None = None) -> None:
        """Send a client what there is, and from now on what changes. TooMany."""
        self.check_room()
        client.name = f"live-{next(self._names)}"
        self._clients.add(client)
        self._events.publish(events.ClientConnected(self._clock.now(), client.name))
        self._wake()
        await self._place(client, interval or self.options.interval)

    def part(self, client: Client) -> None:
        """A client is gone."""
        if client in self._clients:
            self._clients.remove(client)
            self._displace(client)
            self._events.publish(events.ClientLeft(self._clock.now(), client.name))
            if not self._clients:
                self._sleep()

    async def choose(self, client: Client, seconds: int) -> None:
        """Give a client another rhythm."""
        if client.group is None or client.group.interval != seconds:
            await self._place(client, seconds)

    def again(self, client: Client) -> None:
        """Send a client a snapshot, once in a tick at most."""
        now = self._clock.monotonic()
        if client.group is None or client.behind is not None:
            return
        if now - client.served < _TICK or client.pipe.waiting() > _CAP:
            client.behind = now  # then it gets one with the next tick
            return
        client.served = now
        self._push(client, client.group.snapshot())

    async def _place(self, client: Client, interval: int) -> None:
        """Put a client into the group that it belongs to, and send it what that has been told."""
        user = key_of(client.visitor.caller)
        async with self._placing:
            group = self._groups.get((user, interval)) or await self._opened(user, interval)
        if client in self._clients:  # else it went meanwhile
            self._displace(client)
            client.group = group
            group.clients.add(client)
            self._push(client, group.snapshot())
        if not group.clients:
            self._close(group)

    async def _opened(self, user: str | None, interval: int) -> Group:
        board = self._boards.get(user)
        if board is None:
            board = self._boards[user] = Board(self._services, self._clock, user)
        await self._common.refresh()
        await board.refresh()
        group = Group(board, self._common, interval, compresses=self.options.compresses)
        group.begin(self._seq, self._clock.now())
        self._groups[user, interval] = group
        return group

    def _displace(self, client: Client) -> None:
        group, client.group = client.group, None
        if group is not None:
            group.clients.discard(client)
            if not group.clients:
                self._close(group)

    def _close(self, group: Group) -> None:
        self._groups.pop((group.board.user, group.interval), None)

    # Ticks

    def _wake(self) -> None:
        if self._task is None:
            self._deaf = self._events.listen(self._hear)
            self._task = asyncio.ensure_future(self._run())

    def _sleep(self) -> None:
        if self._task is not None and self._deaf is not None:
            self._task.cancel()
            self._deaf()
        self._task = self._deaf = None

    def _hear(self, event: events.Event) -> None:
        self._common.hear(event)
        if isinstance(event, events.TaskEvent):
            for board in self._boards.values():
                board.hear(event)
        if isinstance(event, events.TaskRemoved):
            for group in self._groups.values():
                group.removed(event)

    async def _run(self) -> None:
        due = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            due = max(due + _TICK, now)
            if due > now:
                await self._clock.sleep(due - now)
            else:
                await asyncio.sleep(0)  # it is late; others may want their turn all the same
            self._seq += 1
            try:
                await self._tick(self._seq)
                if self._seq % _CHECK == 0:
                    await self._check()
            except MltbError as error:
                log.warning("live metrics: a tick was left out: %s", error)

    async def _tick(self, seq: int) -> None:
        """One beat for those groups whose turn it is."""
        due = [group for group in self._groups.values() if seq % group.interval == 0]
        if not due:
            return
        await self._common.refresh()
        for board in {group.board for group in due}:
            await board.refresh()
        at = self._clock.now()
        content = {"type": "tick", "seq": seq, "at": at, "metrics": self._common.metrics}
        tick = Message(content, compresses=self.options.compresses)
        for group in due:
            await self._send(group, group.next(seq, at, tick))
        self._services.metrics.live_sent(self._messages, self._bytes)
        self._messages = self._bytes = 0

    async def _send(self, group: Group, parcel: Parcel) -> None:
        """What comes first here is done for each client, so it is short."""
        for number, client in enumerate(tuple(group.clients), 1):
            if client.group is not group:
                continue
            if client.behind is None and client.pipe.waiting() <= _CAP:
                self._bytes += client.pipe.push(parcel)
                self._messages += len(parcel.messages)
            else:
                self._late(client, group)
            if number % _BATCH == 0:
                await asyncio.sleep(0)

    def _late(self, client: Client, group: Group) -> None:
        """Too much waits for a client: who does not read misses what comes, and gets a snapshot
        later; who does not for long has to go."""
        if client.pipe.waiting() > _CAP:
            now = self._clock.monotonic()
            client.behind = client.behind or now
            if now - client.behind > _PATIENCE:
                self._drop(client, SLOW, "it does not read what it is sent")
        else:
            client.behind = None
            self._push(client, group.snapshot())

    def _push(self, client: Client, parcel: Parcel) -> None:
        self._bytes += client.pipe.push(parcel)
        self._messages += len(parcel.messages)

    # Ends

    async def _check(self) -> None:
        """Let those go whose token or session is over, or is another's."""
        holders: dict[bytes, Caller | None] = {}
        for client in tuple(self._clients):
            visitor = client.visitor
            if visitor.key not in holders:
                try:
                    holders[visitor.key] = await visitor.check()
                except (Unauthenticated, Forbidden):
                    holders[visitor.key] = None
            if holders[visitor.key] != visitor.caller:
                self._drop(client, UNKNOWN, "the token or the session is over")

    def _drop(self, client: Client, code: int, reason: str) -> None:
        self._services.metrics.live_dropped("slow" if code == SLOW else "ended")
        self.part(client)
        client.leave(code, reason)

    def end(self) -> None:
        """Let all go: the service stops."""
        self.over = True
        for client in tuple(self._clients):
            self.part(client)
            client.leave(GONE, "the service stops")

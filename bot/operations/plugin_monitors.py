"""Plugins of the type ``monitor``: they see the readings at each tick, and give gauges back."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bot.domain.plugins import PluginState
from bot.domain.ports import Clock
from bot.errors import MltbError, PluginFailed
from bot.plugins.known import PluginInfo

log = logging.getLogger(__name__)

_TYPE = "monitor"
#: Names that one plugin may use while the service runs: each is a series of the history.
MOST = 64
_NAME = re.compile(r"[a-z0-9_]{1,64}")
_TICKS = 3  # how many ticks a call may take, and a value is good for

Call = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class _Gauges:
    """What one plugin said last, and when (monotonic)."""

    values: dict[str, float] = field(default_factory=dict)
    at: float = -math.inf
    names: set[str] = field(default_factory=set)
    complaint: str | None = None


class Monitors:
    """``sample`` gives the readings, ``interval`` is seconds between two ticks."""

    def __init__(
        self,
        plugins: Callable[[], Sequence[PluginInfo]],
        call: Call,
        sample: Callable[[], Mapping[str, float]],
        clock: Clock,
        interval: float,
    ) -> None:
        self._plugins = plugins
        self._call = call
        self._sample = sample
        self._clock = clock
        self._interval = interval
        self._gauges: dict[str, _Gauges] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """A tick every interval, until it is cancelled."""
        try:
            while True:
                await self._clock.sleep(self._interval)
                self.tick()
        finally:
            asking = list(self._asking.values())
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    def tick(self) -> None:
        """Ask each that is not busy with the tick before."""
        wanted = [name for name in self._running() if name not in self._asking]
        if not wanted:
            return
        metrics = dict(self._sample())
        for name in wanted:
            task = asyncio.get_running_loop().create_task(self._ask(name, metrics))
            self._asking[name] = task
            task.add_done_callback(functools.partial(self._answered, name))

    def _answered(self, plugin: str, _: asyncio.Task[None]) -> None:
        del self._asking[plugin]

    def values(self) -> dict[tuple[str, str], float]:
        """The gauges by plugin and name: of those that run, and no older than a few ticks."""
        oldest = self._clock.monotonic() - _TICKS * self._interval
        return {
            (plugin, name): value
            for plugin in self._running()
            if (gauges := self._gauges.get(plugin)) is not None and gauges.at >= oldest
            for name, value in gauges.values.items()
        }

    def readings(self) -> dict[str, float]:
        """The same by the names that the history and the rules of alerts know them by."""
        return {f"plugin:{plugin}:{name}": value for (plugin, name), value in self.values().items()}

    def _running(self) -> Iterator[str]:
        for each in self._plugins():
            if each.type == _TYPE and each.state is PluginState.RUNNING:
                yield each.id

    async def _ask(self, plugin: str, metrics: dict[str, float]) -> None:
        gauges = self._gauges.setdefault(plugin, _Gauges())
        within = _TICKS * self._interval
        try:
            found = await self._call(plugin, "execute", metrics, timeout=within)
            gauges.values = self._accepted(gauges, found)
        except MltbError as error:
            if error.message != gauges.complaint:  # it is told once, not at every tick
                log.warning("monitor %s", error)
            gauges.complaint = error.message
            return
        gauges.at, gauges.complaint = self._clock.monotonic(), None

    def _accepted(self, gauges: _Gauges, found: Any) -> dict[str, float]:
        """What it said, where that is numbers by name. PluginFailed where it is not."""
        try:
            said = msgspec.convert({} if found is None else found, dict[str, float])
        except msgspec.ValidationError as error:
            raise PluginFailed(f"its gauges are no numbers by name: {error}") from None
        for name in said:
            if not _NAME.fullmatch(name):
                raise PluginFailed(f"{name[:80]!r} is no name of a gauge: use a to z, 0 to 9 and _")
        names = gauges.names | said.keys()
        if len(names) > MOST:
            raise PluginFailed(f"it has used {len(names)} names of gauges; {MOST} are allowed")
        gauges.names = names
        return {name: value for name, value in said.items() if math.isfinite(value)}

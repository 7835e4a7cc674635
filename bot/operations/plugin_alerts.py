"""Plugins of the type ``alert`` as channels: each is told of every alert, one call for each."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from bot.domain.alerts import Alert, AlertState, Notification
from bot.domain.plugins import PluginState
from bot.errors import Unavailable
from bot.operations.alert_channels import Route
from bot.operations.alert_delivery import Couriers
from bot.plugins.known import PluginInfo

log = logging.getLogger(__name__)

PREFIX = "plugin:"
_TYPE = "alert"
_PARTLY = 256  # notifications of which a part was told, and the rest is tried again

#: Calls a method of a plugin: its name, the method, and what that is given.
Call = Callable[..., Awaitable[Any]]
#: Gives the alert of that id, or None where it is not kept any more.
Find = Callable[[str], Awaitable[Alert | None]]


class PluginChannel:
    """One plugin. Where it fails at the third of five alerts, the next try begins with that."""

    def __init__(self, plugin: str, call: Call, find: Find) -> None:
        self._plugin = plugin
        self._call = call
        self._find = find
        self._told: OrderedDict[str, set[str]] = OrderedDict()

    @property
    def name(self) -> str:
        """Its name."""
        return f"{PREFIX}{self._plugin}"

    @property
    def shown(self) -> str | None:
        """Only the plugin knows where it leads."""
        return None

    async def send(self, notification: Notification) -> None:
        """Call ``execute`` with each alert of it. PluginFailed, Conflict where it does not run;
        Unavailable where it says ``False``."""
        told = self._told.setdefault(notification.id, set())
        while len(self._told) > _PARTLY:
            self._told.popitem(last=False)
        for data in await self._each(notification):
            if data["id"] in told:
                continue
            if await self._call(self._plugin, "execute", data) is False:
                raise Unavailable(f"channel {self.name}: the plugin says that it did not get there")
            told.add(data["id"])
        self._told.pop(notification.id, None)

    async def _each(self, notification: Notification) -> list[dict[str, Any]]:
        found = [await self._find(alert) for alert in notification.alerts]
        known = [_told_of(alert, notification) for alert in found if alert is not None]
        return known or [_words_of(notification)]


def _told_of(alert: Alert, notification: Notification) -> dict[str, Any]:
    """What a plugin is given of an alert."""
    over = alert.state is AlertState.RESOLVED and notification.kind != "raised"
    return {
        "id": alert.id,
        "rule": alert.rule,
        "severity": str(alert.severity),
        "state": "resolved" if over else "firing",
        "title": alert.title,
        "message": alert.message,
        "labels": dict(alert.labels),
        "value": alert.value,
        "count": alert.count,
        "started_at": alert.started_at,
        "at": notification.at,
    }


def _words_of(notification: Notification) -> dict[str, Any]:
    """The same of a message that is about no alert, such as a test, or about forgotten ones."""
    return {
        "id": notification.id,
        "rule": notification.rules[0] if notification.rules else notification.kind,
        "severity": str(notification.severity),
        "state": "resolved" if notification.kind == "resolved" else "firing",
        "title": notification.title,
        "message": notification.body,
        "labels": {},
        "value": None,
        "count": 1,
        "started_at": notification.at,
        "at": notification.at,
    }


class PluginChannels:
    """Keeps a channel for each plugin of the type: from its first start until somebody disables
    or removes it. While it restarts, or is broken, its alerts wait as those of any channel do.
    """

    def __init__(
        self,
        couriers: Couriers,
        plugins: Callable[[], Sequence[PluginInfo]],
        call: Call,
        find: Find,
    ) -> None:
        self._couriers = couriers
        self._plugins = plugins
        self._call = call
        self._find = find
        self._ours: set[str] = set()
        self._changed = asyncio.Event()

    def look(self) -> None:
        """A plugin came, went or changed."""
        self._changed.set()

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._settle()

    async def _settle(self) -> None:
        wanted = set(_wanted(self._plugins(), self._ours))
        for plugin in sorted(self._ours - wanted):
            await self._couriers.remove(f"{PREFIX}{plugin}")
        for plugin in sorted(wanted - self._ours):
            self._couriers.add(PluginChannel(plugin, self._call, self._find), Route())
            log.info("plugin %s is told of every alert", plugin)
        self._ours = wanted


def _wanted(plugins: Iterable[PluginInfo], ours: set[str]) -> Iterable[str]:
    """One that can't be read or started is of no known type: it stays what it was."""
    broken = {PluginState.FAILED, PluginState.REFUSED}
    for each in plugins:
        if each.state is PluginState.DISABLED:
            continue
        if each.type == _TYPE or (each.state in broken and each.id in ours):
            yield each.id

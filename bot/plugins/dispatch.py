"""Carries what happens to the plugins that want to know."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec

from bot.errors import PluginFailed
from bot.plugins.listeners import Listeners
from bot.plugins.supervisor import Supervisor

log = logging.getLogger(__name__)

_BACKLOG = 256  # messages on their way to one plugin; what comes after is not told to it


class Dispatcher:
    """``supervisors`` gives the plugins that run, in the order in which they are told."""

    def __init__(self, supervisors: Callable[[], Iterable[Supervisor]]) -> None:
        self._supervisors = supervisors
        self._under_way: dict[asyncio.Task[None], str] = {}
        self.listeners = Listeners()

    def wanted(self, hook: str) -> bool:
        """Whether anybody takes part in it: where not, nobody needs to make its payload."""
        return self.listeners.wanted(hook) or any(
            hook in each.plugin.hooks for each in self._supervisors()
        )

    def tell(self, hook: str, payload: msgspec.Struct) -> None:
        """Tell every plugin that has the hook, and who listens. Nobody waits; a failure is
        logged."""
        self.listeners.tell(hook, payload)
        for supervisor in self._with(hook):
            name = supervisor.plugin.id
            if sum(each == name for each in self._under_way.values()) >= _BACKLOG:
                log.warning("plugin %s is behind: it is not told %s", name, hook)
                continue
            task = asyncio.get_running_loop().create_task(_tell(supervisor, hook, payload))
            self._under_way[task] = name
            task.add_done_callback(lambda done: self._under_way.pop(done, None))

    async def settle(self) -> None:
        """Wait until everything that was told is done."""
        while self._under_way:
            await asyncio.wait(list(self._under_way))
        await self.listeners.settle()

    def _with(self, hook: str) -> list[Supervisor]:
        return [each for each in self._supervisors() if hook in each.plugin.hooks]


async def _tell(supervisor: Supervisor, hook: str, payload: msgspec.Struct) -> None:
    try:
        await supervisor.call("hook", hook, msgspec.to_builtins(payload))
    except PluginFailed as error:
        log.warning("hook %s: %s", hook, error)

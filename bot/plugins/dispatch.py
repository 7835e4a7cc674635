"""Carries what happens to the plugins that want to know, and questions to those that answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from bot.errors import NotFound, PluginFailed
from bot.plugins import hooks
from bot.plugins.supervisor import Supervisor

log = logging.getLogger(__name__)

_BUDGET = 2.0  # seconds that a transfer waits for all answers to one question
_BACKLOG = 256  # messages on their way to one plugin; what comes after is not told to it


class Dispatcher:
    """``supervisors`` gives the plugins that run, in the order in which they are asked."""

    def __init__(self, supervisors: Callable[[], Iterable[Supervisor]]) -> None:
        self._supervisors = supervisors
        self._under_way: dict[asyncio.Task[Any], str] = {}

    def wanted(self, hook: str) -> bool:
        """Whether any plugin takes part in it: where not, nobody needs to make its payload."""
        return any(hook in each.plugin.hooks for each in self._supervisors())

    def tell(self, hook: str, payload: msgspec.Struct) -> None:
        """Tell every plugin that has the hook. Nobody waits; a failure is logged."""
        for supervisor in self._with(hook):
            name = supervisor.plugin.id
            if sum(each == name for each in self._under_way.values()) >= _BACKLOG:
                log.warning("plugin %s is behind: it is not told %s", name, hook)
                continue
            _ = self._begin(supervisor, hook, payload)

    async def ask(self, hook: str, payload: msgspec.Struct) -> Any:
        """The first answer that is not None, plugins in the order of their names. All of them have
        two seconds together: what takes longer counts as no answer."""
        calls = [self._begin(each, hook, payload) for each in self._with(hook)]
        if not calls:
            return None
        done, _ = await asyncio.wait(calls, timeout=_BUDGET)
        for call in calls:
            answer = call.result() if call in done else None
            if answer is not None:
                return answer
        return None

    async def trigger(self, hook: str, payload: msgspec.Struct) -> list[Any]:
        """Every answer, in the order of the plugins' names; None for one that failed. NotFound."""
        if hook not in hooks.PAYLOADS:
            raise NotFound(f"there is no hook {hook!r}", hint=", ".join(hooks.PAYLOADS))
        calls = [self._begin(each, hook, payload) for each in self._with(hook)]
        return list(await asyncio.gather(*calls))

    async def settle(self) -> None:
        """Wait until everything that was told is done."""
        while self._under_way:
            await asyncio.wait(list(self._under_way))

    def _begin(self, each: Supervisor, hook: str, payload: msgspec.Struct) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(_told(each, hook, payload))
        self._under_way[task] = each.plugin.id
        task.add_done_callback(lambda done: self._under_way.pop(done, None))
        return task

    def _with(self, hook: str) -> list[Supervisor]:
        return [each for each in self._supervisors() if hook in each.plugin.hooks]


async def _told(supervisor: Supervisor, hook: str, payload: msgspec.Struct) -> Any:
    try:
        return await supervisor.call("hook", hook, msgspec.to_builtins(payload))
    except PluginFailed as error:
        log.warning("hook %s: %s", hook, error)
        return None

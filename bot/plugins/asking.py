"""Asks the plugins that may decide something about a task, within a time limit."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from bot.domain.advice import Check
from bot.domain.task import Failure, Task
from bot.errors import InvalidInput, MltbError, PluginFailed
from bot.plugins import hooks
from bot.plugins.hooks import FailureInfo, TaskInfo
from bot.plugins.supervisor import Supervisor

log = logging.getLogger(__name__)

_Found = TypeVar("_Found")


class Asking:
    """Satisfies ``Advisors``. ``supervisors`` gives the plugins that run, in the order of asking;
    ``describe`` is what they are told of a task; ``budget`` is the seconds that all of them have
    for one question.
    """

    def __init__(
        self,
        supervisors: Callable[[], Iterable[Supervisor]],
        describe: Callable[[Task], TaskInfo],
        budget: float,
    ) -> None:
        self._supervisors = supervisors
        self._describe = describe
        self._budget = budget
        self._late: dict[asyncio.Task[Any], Supervisor] = {}

    async def veto(self, task: Task) -> str | None:
        """Why the task may not be, and who says so."""
        return await self._ask(
            "veto_task",
            self._describe(task),
            lambda supervisor, reason: f"plugin {supervisor.plugin.id}: {reason}",
        )

    @property
    def has_destinations(self) -> bool:
        """Whether a plugin chooses destinations."""
        return bool(self._with("choose_destination"))

    async def destinations(self, tasks: Sequence[Task], check: Check) -> Sequence[str | None]:
        """Where each of the tasks goes, as far as a plugin says so."""
        end = asyncio.get_running_loop().time() + self._budget
        return [await self._choose("choose_destination", task, check, end) for task in tasks]

    async def engine(self, task: Task, check: Check) -> str | None:
        """The engine that fetches it."""
        return await self._choose("choose_engine", task, check)

    async def name(self, task: Task, check: Check) -> str | None:
        """What it is called."""
        return await self._choose("choose_name", task, check)

    async def retry(self, task: Task, failure: Failure, wait: float | None) -> float | bool | None:
        """When it is tried again; False for never."""
        info = FailureInfo(
            self._describe(task),
            failure.stage,
            failure.code,
            failure.message,
            failure.attempt,
            wait,
        )
        return await self._ask("choose_retry", info, lambda _, found: _checked_wait(found))

    async def _choose(
        self, hook: str, task: Task, check: Check, end: float | None = None
    ) -> str | None:
        def accept(_: Supervisor, wish: str) -> str:
            check(task, wish)
            return wish

        return await self._ask(hook, self._describe(task), accept, end)

    async def _ask(
        self,
        hook: str,
        payload: msgspec.Struct,
        accept: Callable[[Supervisor, Any], _Found],
        end: float | None = None,
    ) -> _Found | None:
        """The first answer that is accepted, until ``end`` by the clock of the loop."""
        asked = self._with(hook)
        if not asked:
            return None
        loop = asyncio.get_running_loop()
        end = loop.time() + self._budget if end is None else end
        plain = msgspec.to_builtins(payload)
        for supervisor in asked:
            found = await self._answer(supervisor, hook, plain, end - loop.time())
            if found is None:
                continue
            try:
                return accept(supervisor, found)
            except MltbError as error:
                log.warning("plugin %s: %s is ignored: %s", supervisor.plugin.id, hook, error)
        return None

    async def _answer(
        self, supervisor: Supervisor, hook: str, payload: Any, seconds: float
    ) -> Any | None:
        """What the plugin says within so many seconds; None where it fails, and logged."""
        name = supervisor.plugin.id
        if seconds <= 0 or supervisor in self._late.values():
            log.warning("plugin %s is not asked %s: there is no time for it", name, hook)
            return None
        call = asyncio.ensure_future(_typed(hook, supervisor.call("hook", hook, payload)))
        try:
            await asyncio.wait({call}, timeout=seconds)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if not call.done():
            # It may end its call; until then it is not asked again, so it costs nobody else time.
            self._late[call] = supervisor
            call.add_done_callback(self._forget)
            log.warning("plugin %s: %s is ignored: no answer in %.3g s", name, hook, seconds)
            return None
        try:
            return call.result()
        except PluginFailed as error:
            log.warning("plugin %s: %s is ignored: %s", name, hook, error)
            return None

    def _forget(self, call: asyncio.Task[Any]) -> None:
        del self._late[call]
        if not call.cancelled():
            call.exception()  # it was told already that its answer does not count

    def _with(self, hook: str) -> list[Supervisor]:
        return [each for each in self._supervisors() if hook in each.plugin.decides]


async def _typed(hook: str, answer: Awaitable[Any]) -> Any:
    try:
        return hooks.answer(hook, await answer)
    except msgspec.ValidationError as error:
        raise PluginFailed(f"an answer of the wrong kind: {error}") from None


def _checked_wait(found: float | bool) -> float | bool:
    if found is False:
        return False
    if found is True or not math.isfinite(found) or found < 0:
        raise InvalidInput(f"{found!r} is no time to wait", hint="seconds, or False for never")
    return float(found)

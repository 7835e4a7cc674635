"""Callables of this process that hear the hooks, beside the plugins."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

from bot.errors import InvalidInput
from bot.plugins.hooks import ANSWERS, PAYLOADS

log = logging.getLogger(__name__)

#: Names that begin so belong to whoever uses them; their payload is anything.
OWN = "custom."

#: Takes the payload of a hook; may be a coroutine function.
Listener = Callable[[Any], Any]


class Listeners:
    """Those that registered, by hook. They are told one after the other, and what they raise is
    logged."""

    def __init__(self) -> None:
        self._by_hook: dict[str, list[Listener]] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def register(self, hook: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every payload of ``hook`` from now on; the result ends that.

        InvalidInput where there is no such hook that tells something.
        """
        check_name(hook)
        found = self._by_hook.setdefault(hook, [])
        found.append(listener)
        return lambda: found.remove(listener)

    def wanted(self, hook: str) -> bool:
        """Whether anybody listens to it."""
        return bool(self._by_hook.get(hook))

    def tell(self, hook: str, payload: Any) -> None:
        """Tell those who listen. Nobody waits for them."""
        for listener in self._by_hook.get(hook, []):
            task = asyncio.get_running_loop().create_task(_call(hook, listener, payload))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def settle(self) -> None:
        """Wait until everybody who was told is done."""
        while self._under_way:
            await asyncio.wait(list(self._under_way))


def check_name(hook: str) -> None:
    """InvalidInput where there is no such hook that tells something."""
    if hook.startswith(OWN) or (hook in PAYLOADS and hook not in ANSWERS):
        return
    raise InvalidInput(
        f"there is no hook {hook[:80]!r} to listen to",
        hint=f"{', '.join(sorted(PAYLOADS.keys() - ANSWERS.keys()))}, or a name with {OWN}",
    )


async def _call(hook: str, listener: Listener, payload: Any) -> None:
    try:
        found = listener(payload)
        if inspect.isawaitable(found):
            await found
    except Exception:
        # The boundary to code that is not ours: what it raises must not end those who tell.
        name = getattr(listener, "__qualname__", repr(listener))
        log.exception("the listener %s failed at the hook %s", name, hook)

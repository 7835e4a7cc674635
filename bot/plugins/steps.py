"""The plugins of the type ``task``, as those who run steps call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bot.errors import PluginFailed, Refused
from bot.plugins.desk import Desk
from bot.plugins.supervisor import Supervisor


class TaskPlugins:
    """``supervisors`` gives the plugins that were started, by name."""

    def __init__(self, supervisors: Callable[[], Iterable[Supervisor]]) -> None:
        self._supervisors = supervisors

    def names(self) -> Sequence[str]:
        """Those there are, running or about to."""
        return [each.plugin.id for each in self._supervisors() if each.plugin.type == "task"]

    async def run(
        self,
        name: str,
        files: Sequence[Mapping[str, Any]],
        params: Mapping[str, Any],
        desk: Desk,
        *,
        timeout: float,
    ) -> Any:
        """Call ``execute``; what it gives. PluginFailed where it raises; Refused, to be tried
        again, where it does not run or ends."""
        found = next((each for each in self._supervisors() if each.plugin.id == name), None)
        if found is None or found.pid is None:
            raise Refused(
                f"the plugin {name} does not run at present", hint=f"mltb plugins info {name}"
            )
        with found.plugin.desks.lend(desk) as job:
            pid = found.pid
            try:
                return await found.call("step", job, files, params, timeout=timeout)
            except PluginFailed as error:
                if found.pid == pid:
                    raise
                raise Refused(error.message, hint="it is tried again with a new process") from None

"""Plugins of the type ``backup``: each archive is read to them through a pipe.

A pipe, since a file that is open for reading can be opened again for writing where no Landlock is
there to forbid it.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.domain.plugins import PluginState
from bot.errors import PluginFailed, Unavailable
from bot.operations.backup_catalog import Record
from bot.plugins.known import PluginInfo

_TYPE = "backup"
_AT_ONCE = 1024 * 1024  # bytes
_PATIENCE = 500  # milliseconds after which somebody who does not read is looked at again

Call = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class PluginTaker:
    """A plugin that takes backups."""

    plugin: str
    call: Call

    @property
    def name(self) -> str:
        """What its copies are listed under; no remote is called so, for want of a colon."""
        return f"plugin {self.plugin}"

    async def take(self, record: Record, path: Path) -> None:
        """Hand an archive over. PluginFailed, Conflict where the plugin fails or does not run;
        Unavailable where the archive can't be read to it."""
        try:
            size = path.stat().st_size
            theirs, ours = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"{record.name} can't be read: {error.strerror}") from error
        facts, over = {"size": size, "sha256": record.sha256}, threading.Event()
        feeding = asyncio.ensure_future(asyncio.to_thread(_feed, path, ours, over))
        try:
            took = await self.call(self.plugin, "backup", record.name, facts, fds=[theirs])
        finally:
            over.set()
            os.close(theirs)
            await asyncio.wait([feeding])
        if (failure := feeding.exception()) is not None:
            raise Unavailable(f"{record.name} can't be read to the end: {failure}")
        if took is False:
            raise PluginFailed(f"plugin {self.plugin} says that it did not take {record.name}")


def takers(plugins: Callable[[], Sequence[PluginInfo]], call: Call) -> list[PluginTaker]:
    """Those that run now."""
    return [
        PluginTaker(each.id, call)
        for each in plugins()
        if each.type == _TYPE and each.state is PluginState.RUNNING
    ]


def _feed(path: Path, pipe: int, over: threading.Event) -> None:
    """Write a file into a pipe, and close that: to its end, or until nobody reads any more."""
    with open(pipe, "wb", buffering=0), path.open("rb", buffering=0) as file:
        os.set_blocking(pipe, False)
        ready = select.poll()
        ready.register(pipe, select.POLLOUT)
        while not over.is_set():
            if not ready.poll(_PATIENCE):
                continue
            try:
                if not os.sendfile(pipe, file.fileno(), None, _AT_ONCE):
                    return
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return

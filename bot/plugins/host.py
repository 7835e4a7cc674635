"""The plugins of a service: found, started side by side, called, and told what happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.plugins import PluginRecord, PluginState, PluginStore
from bot.errors import Conflict, MltbError, NotFound, PluginFailed, PolicyRefused
from bot.plugins.dispatch import Dispatcher
from bot.plugins.known import Known, PluginInfo
from bot.plugins.launcher import Launcher
from bot.plugins.manifest import Broken, Package, discover
from bot.plugins.supervisor import Supervisor

log = logging.getLogger(__name__)


class PluginHost:
    """``directory`` is the operator's (PLUGINS_DIR); ``calls`` may run at the same time, over all
    plugins."""

    def __init__(
        self,
        directory: Path,
        launcher: Launcher,
        store: PluginStore,
        *,
        calls: int,
        auto_load: bool,
    ) -> None:
        self._directory = directory
        self._launcher = launcher
        self._store = store
        self._auto_load = auto_load
        self._known: dict[str, Known] = {}
        self._slots = asyncio.Semaphore(calls)
        self._changing: dict[str, asyncio.Lock] = {}
        self._starting: asyncio.Task[None] | None = None
        self._watchers: list[Callable[[], None]] = []
        self.hooks = Dispatcher(self._supervisors)

    # Life

    def start(self) -> None:
        """Find and start what is enabled, in the background: a start waits for no plugin."""
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def started(self) -> None:
        """Wait until every plugin that ``start`` found has had its turn."""
        if self._starting is not None:
            await asyncio.shield(self._starting)

    async def _start(self) -> None:
        try:
            await self.discover()
            await asyncio.gather(
                *(self._begin(known) for known in self._known.values() if known.record.enabled)
            )
        except (MltbError, OSError):
            log.exception("the plugins could not be started")

    async def shutdown(self) -> None:
        """End every plugin."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(*(self._end(known) for known in self._known.values()))
        await self._launcher.close()

    async def discover(self) -> Sequence[str]:
        """Look again at what lies in the directory; the names that are new."""
        records = {record.id: record for record in await self._store.records()}
        fresh = []
        found = {each.id: each for each in await asyncio.to_thread(discover, self._directory)}
        for name, each in found.items():
            known = self._known.get(name)
            if known is None:
                record = records.get(name) or PluginRecord(name, enabled=self._auto_load)
                known = self._known[name] = Known(each, record)
                fresh.append(name)
            known.found = each
            if isinstance(each, Broken):
                known.state, known.reason = PluginState.FAILED, each.reason
        for name in [name for name in self._known if name not in found]:
            if self._known[name].supervisor is None:
                del self._known[name]
        return fresh

    async def _begin(self, known: Known) -> None:
        """Start one; afterwards it runs, or its state says why not."""
        if isinstance(known.found, Broken):
            return
        try:
            supervisor = await self._launcher.prepare(known.found, known.record)
        except (MltbError, OSError) as error:
            refused = isinstance(error, PolicyRefused)
            known.state = PluginState.REFUSED if refused else PluginState.FAILED
            known.reason = str(error)
            return
        known.supervisor, known.reason = supervisor, None
        await supervisor.start()
        self._changed()

    async def _end(self, known: Known) -> None:
        supervisor, known.supervisor = known.supervisor, None
        if supervisor is not None:
            await supervisor.stop()
        known.state = PluginState.DISABLED
        self._changed()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` now, and whenever a plugin has started, ended or changed its version."""
        self._watchers.append(watcher)
        watcher()

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher()

    # What the doors ask for

    def list_plugins(self) -> list[PluginInfo]:
        """Every plugin that lies in the directory, by name."""
        return [self._known[name].info(self._launcher.tier) for name in sorted(self._known)]

    def info(self, name: str) -> PluginInfo:
        """One plugin. NotFound."""
        self._get(name)
        return self._known[name].info(self._launcher.tier)

    def lines(self, name: str) -> Sequence[str]:
        """The last lines that it wrote."""
        supervisor = self._get(name).supervisor
        return [] if supervisor is None else list(supervisor.plugin.lines)

    async def execute_plugin(self, name: str, *args: Any, **data: Any) -> Any:
        """Call ``execute`` of a plugin; what it gives. PluginFailed, NotFound."""
        return await self.call(name, "execute", *args, **data)

    async def call(
        self, name: str, method: str, *args: Any, fds: Sequence[int] = (), **data: Any
    ) -> Any:
        """Call a method of a plugin, when one of the places for calls is free."""
        supervisor = self._running(name)
        async with self._slots:
            return await supervisor.call(method, *args, fds=fds, **data)

    async def enable_plugin(self, name: str, *, grant: bool = False) -> PluginInfo:
        """Start it, now and at every start. ``grant`` gives it the rights that it asks for now;
        what a later version asks for beyond them waits for another word."""
        async with self._lock(name):
            await self.discover()
            known = self._get(name)
            rights = known.record.rights
            if grant and isinstance(known.found, Package):
                rights = known.found.manifest.rights.words()
            known.record = msgspec.structs.replace(known.record, enabled=True, rights=rights)
            await self._store.save_record(known.record)
            if known.supervisor is None:
                await self._begin(known)
        return self._known[name].info(self._launcher.tier)

    async def disable_plugin(self, name: str) -> PluginInfo:
        """End it, now and at every start."""
        async with self._lock(name):
            known = self._get(name)
            known.record = msgspec.structs.replace(known.record, enabled=False)
            await self._store.save_record(known.record)
            await self._end(known)
        return self._known[name].info(self._launcher.tier)

    async def load_plugin(self, name: str) -> PluginInfo:
        """Start it; the operator's word about later starts stays."""
        async with self._lock(name):
            await self.discover()
            known = self._get(name)
            if known.supervisor is None:
                await self._begin(known)
        return self._known[name].info(self._launcher.tier)

    async def unload_plugin(self, name: str) -> PluginInfo:
        """End it; the operator's word about later starts stays."""
        async with self._lock(name):
            await self._end(self._get(name))
        return self._known[name].info(self._launcher.tier)

    async def reload_plugin(self, name: str) -> PluginInfo:
        """Run what lies in the directory now. The old one goes on where the new one does not come
        up: PluginFailed then, with the reason."""
        async with self._lock(name):
            await self.discover()
            known = self._get(name)
            if isinstance(known.found, Broken):
                raise PluginFailed(f"plugin {name}: {known.found.reason}")
            if known.supervisor is None:
                await self._begin(known)
                return self._known[name].info(self._launcher.tier)
            fresh = await self._launcher.prepare(known.found, known.record)
            await fresh.start()
            if fresh.plugin.state is not PluginState.RUNNING:
                reason = fresh.plugin.reason
                await fresh.stop()
                raise PluginFailed(
                    f"plugin {name}: the new version does not come up: {reason}",
                    hint="the one before it still runs",
                )
            old, known.supervisor = known.supervisor, fresh
            self._changed()
            await old.stop()
        return self._known[name].info(self._launcher.tier)

    async def configure_plugin(self, name: str, config: dict[str, Any]) -> PluginInfo:
        """Store its configuration and hand it over."""
        async with self._lock(name):
            known = self._get(name)
            known.record = msgspec.structs.replace(known.record, config=config)
            await self._store.save_record(known.record)
            if known.supervisor is not None:
                known.supervisor.plugin.spec = msgspec.structs.replace(
                    known.supervisor.plugin.spec, config=config
                )
                await known.supervisor.call("replace_config", config)
        return self._known[name].info(self._launcher.tier)

    def _supervisors(self) -> Iterable[Supervisor]:
        for name in sorted(self._known):
            supervisor = self._known[name].supervisor
            if supervisor is not None:
                yield supervisor

    def _get(self, name: str) -> Known:
        known = self._known.get(name)
        if known is None:
            raise NotFound(
                f"there is no plugin {name!r}", hint=f"they lie in {self._directory} (PLUGINS_DIR)"
            )
        return known

    def _running(self, name: str) -> Supervisor:
        known = self._get(name)
        if known.supervisor is None:
            raise Conflict(f"plugin {name} is {known.state}", hint=known.reason or "enable it")
        return known.supervisor

    def _lock(self, name: str) -> asyncio.Lock:
        return self._changing.setdefault(name, asyncio.Lock())

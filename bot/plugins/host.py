"""The plugins of a service: found, started side by side, called, and told what happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.plugins import PluginRecord, PluginState, PluginStore
from bot.domain.ports import Clock
from bot.errors import Conflict, MltbError, NotFound, PluginFailed, PolicyRefused
from bot.plugins import tiers
from bot.plugins.broker import Broker, HttpPort
from bot.plugins.dispatch import Dispatcher
from bot.plugins.manifest import Broken, Package, discover
from bot.plugins.sandbox import Zygote
from bot.plugins.supervisor import Plugin, Supervisor
from bot.plugins.tiers import Tier
from bot.plugins.vault import Vault, read_content
from bot.plugins.worker import Spec

log = logging.getLogger(__name__)

_MB = 1024 * 1024
_OPEN_FILES = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's limits: ``memory`` and ``disk`` in bytes, ``timeout`` in seconds a call,
    ``calls`` at the same time over all plugins, ``values`` in bytes that one keeps in the store,
    ``imports`` that plugins may name (None: all).
    """

    memory: int
    disk: int
    values: int
    timeout: float
    calls: int
    imports: Sequence[str] | None


class PluginInfo(msgspec.Struct, frozen=True, omit_defaults=False):
    """A plugin, as the doors show it. ``tier`` is what confines it while it runs."""

    id: str
    state: PluginState
    reason: str | None
    type: str
    version: str
    author: str
    description: str
    hooks: list[str]
    net: list[str]
    tier: str | None
    digest: str | None
    pid: int | None
    calls: int
    failures: int
    crashes: int
    seconds: float


@dataclass(slots=True)
class _Known:
    """What lies in the directory under one name, and what runs of it."""

    found: Package | Broken
    record: PluginRecord
    supervisor: Supervisor | None = None
    reason: str | None = None
    state: PluginState = PluginState.DISABLED


class PluginHost:
    """``directory`` is the operator's (PLUGINS_DIR), ``home`` ours, under DATA_DIR."""

    def __init__(
        self,
        directory: Path,
        home: Path,
        *,
        policy: Policy,
        store: PluginStore,
        http: HttpPort,
        clock: Clock,
        auto_load: bool,
    ) -> None:
        self._auto_load = auto_load
        self._directory = directory
        self._home = home
        self._policy = policy
        self._store = store
        self._http = http
        self._clock = clock
        self._vault = Vault(home / "code")
        self._known: dict[str, _Known] = {}
        self._slots = asyncio.Semaphore(policy.calls)
        self._tier: Tier | None = None
        self._zygotes: dict[str, Zygote] = {}
        self._changing: dict[str, asyncio.Lock] = {}
        self._starting: asyncio.Task[None] | None = None
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
        await asyncio.gather(*(zygote.close() for zygote in self._zygotes.values()))
        self._zygotes.clear()

    async def discover(self) -> Sequence[str]:
        """Look again at what lies in the directory; the names that are new."""
        records = {record.id: record for record in await self._store.records()}
        fresh = []
        found = {each.id: each for each in await asyncio.to_thread(discover, self._directory)}
        for name, each in found.items():
            known = self._known.get(name)
            if known is None:
                record = records.get(name) or PluginRecord(name, enabled=self._auto_load)
                known = self._known[name] = _Known(each, record)
                fresh.append(name)
            known.found = each
            if isinstance(each, Broken):
                known.state, known.reason = PluginState.FAILED, each.reason
        for name in [name for name in self._known if name not in found]:
            if self._known[name].supervisor is None:
                del self._known[name]
        return fresh

    async def _begin(self, known: _Known) -> None:
        """Start one; afterwards it runs, or its state says why not."""
        if isinstance(known.found, Broken):
            return
        try:
            supervisor = await self._prepared(known.found, known.record)
        except (MltbError, OSError) as error:
            refused = isinstance(error, PolicyRefused)
            known.state = PluginState.REFUSED if refused else PluginState.FAILED
            known.reason = str(error)
            return
        known.supervisor, known.reason = supervisor, None
        await supervisor.start()

    async def _prepared(self, package: Package, record: PluginRecord) -> Supervisor:
        if self._tier is None:
            self._tier = await asyncio.to_thread(tiers.of_this_machine)
        asked = package.manifest.rights.net
        if not set(asked) <= set(record.net):
            raise PolicyRefused(
                f"plugin {package.id} asks for {', '.join(asked)}, which it was not granted",
                hint=f"mltb plugins enable {package.id} --grant",
            )
        content = await asyncio.to_thread(read_content, package)
        code = await asyncio.to_thread(self._vault.keep, content)
        directory = self._home / "state" / package.id
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        limits, policy = package.manifest.limits, self._policy
        memory = min(policy.memory, (limits.memory or policy.memory) * _MB)
        spec = Spec(
            plugin=package.id,
            module=package.id,
            code=str(code / package.entry.name),
            directory=str(directory),
            memory=memory,
            file_size=policy.disk,
            open_files=_OPEN_FILES,
            readable=[*tiers.readable(), str(code)],
            landlock=self._tier.landlock,
            imports=None if policy.imports is None else list(policy.imports),
            config=record.config,
            metadata=_metadata(package),
        )
        broker = Broker(
            package.id,
            net=list(asked),
            http=self._http,
            store=self._store,
            quota=self._policy.values,
        )
        timeout = min(policy.timeout, limits.timeout or policy.timeout)
        plugin = Plugin(package, content.digest, spec, broker, timeout)
        zygote = self._zygote(self._tier, package.id, directory)
        return Supervisor(plugin, zygote, self._clock)

    def _zygote(self, tier: Tier, plugin: str, directory: Path) -> Zygote:
        """One for all where Landlock tells them apart, else one for each."""
        name = "" if tier.landlock else plugin
        if name not in self._zygotes:
            code, state = self._vault.directory, self._home / "state" if not name else directory
            code.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._zygotes[name] = Zygote(tier, code=[str(code)], state=[str(state)])
        return self._zygotes[name]

    async def _end(self, known: _Known) -> None:
        supervisor, known.supervisor = known.supervisor, None
        if supervisor is not None:
            await supervisor.stop()
        known.state = PluginState.DISABLED

    # What the doors ask for

    def list_plugins(self) -> list[PluginInfo]:
        """Every plugin that lies in the directory, by name."""
        return [self._info(name) for name in sorted(self._known)]

    def info(self, name: str) -> PluginInfo:
        """One plugin. NotFound."""
        self._get(name)
        return self._info(name)

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
            net = known.record.net
            if grant and isinstance(known.found, Package):
                net = list(known.found.manifest.rights.net)
            known.record = msgspec.structs.replace(known.record, enabled=True, net=net)
            await self._store.save_record(known.record)
            if known.supervisor is None:
                await self._begin(known)
        return self._info(name)

    async def disable_plugin(self, name: str) -> PluginInfo:
        """End it, now and at every start."""
        async with self._lock(name):
            known = self._get(name)
            known.record = msgspec.structs.replace(known.record, enabled=False)
            await self._store.save_record(known.record)
            await self._end(known)
        return self._info(name)

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
                return self._info(name)
            fresh = await self._prepared(known.found, known.record)
            await fresh.start()
            if fresh.plugin.state is not PluginState.RUNNING:
                reason = fresh.plugin.reason
                await fresh.stop()
                raise PluginFailed(
                    f"plugin {name}: the new version does not come up: {reason}",
                    hint="the one before it still runs",
                )
            old, known.supervisor = known.supervisor, fresh
            await old.stop()
        return self._info(name)

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
        return self._info(name)

    def _supervisors(self) -> Iterable[Supervisor]:
        for name in sorted(self._known):
            supervisor = self._known[name].supervisor
            if supervisor is not None:
                yield supervisor

    def _get(self, name: str) -> _Known:
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

    def _info(self, name: str) -> PluginInfo:
        known = self._known[name]
        supervisor = known.supervisor
        plugin = None if supervisor is None else supervisor.plugin
        described = {} if plugin is None else plugin.description
        package = known.found if isinstance(known.found, Package) else None
        manifest = None if package is None else package.manifest
        return PluginInfo(
            id=name,
            state=known.state if plugin is None else plugin.state,
            reason=known.reason if plugin is None else plugin.reason,
            type=described.get("type") or (manifest.type if manifest else None) or "custom",
            version=described.get("version") or (manifest.version if manifest else "0.0.0"),
            author=described.get("author") or (manifest.author if manifest else ""),
            description=described.get("description") or (manifest.description if manifest else ""),
            hooks=list(described.get("hooks", [])),
            net=list(manifest.rights.net) if manifest else [],
            tier=str(self._tier) if plugin is not None and self._tier is not None else None,
            digest=None if plugin is None else plugin.digest,
            pid=None if supervisor is None else supervisor.pid,
            calls=plugin.counts.calls if plugin else 0,
            failures=plugin.counts.failures if plugin else 0,
            crashes=plugin.counts.crashes if plugin else 0,
            seconds=plugin.counts.seconds if plugin else 0.0,
        )


def _metadata(package: Package) -> dict[str, Any]:
    """What the manifest says comes before what the class says."""
    manifest = package.manifest
    said = {
        "version": manifest.version if manifest.version != "0.0.0" else None,
        "author": manifest.author or None,
        "description": manifest.description or None,
        "type": manifest.type,
    }
    return {name: value for name, value in said.items() if value is not None}

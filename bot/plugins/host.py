"""The plugins of a service: found, started side by side, called, and told what happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.plugins import PluginState, PluginStore
from bot.domain.ports import Clock
from bot.domain.redaction import Redactor
from bot.errors import Conflict, InvalidInput, MltbError, NotFound, PluginFailed
from bot.plugins.dispatch import Dispatcher
from bot.plugins.hooks import payload as payload_of
from bot.plugins.installed import find
from bot.plugins.known import Known, PluginConfig, PluginInfo
from bot.plugins.launcher import Launcher
from bot.plugins.limits import Limiter
from bot.plugins.listeners import OWN, Listener, check_name
from bot.plugins.manifest import Broken, Package
from bot.plugins.publishers import Publishers
from bot.plugins.supervisor import Supervisor
from bot.plugins.vault import fingerprint
from bot.plugins.watching import Watch

log = logging.getLogger(__name__)


class PluginHost:
    """``directory`` is the operator's (PLUGINS_DIR); ``calls`` may run at the same time, over all
    plugins; ``watch``: what changes in the directory is loaded by itself; ``cpu_share`` is what
    each may use of one core."""

    def __init__(
        self,
        directory: Path,
        launcher: Launcher,
        store: PluginStore,
        *,
        calls: int,
        cpu_share: float,
        auto_load: bool,
        watch: bool,
        clock: Clock,
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
        self._watch = Watch(directory, self.refresh, clock) if watch else None
        self._watching: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self.hooks = Dispatcher(self.supervisors)
        self._limiter = Limiter(self.supervisors, clock, share=cpu_share)
        self.publishers = Publishers(launcher, store, self._known, self._changed)

    # Life

    def start(self) -> None:
        """Find and start what is enabled, in the background: a start waits for no plugin."""
        loop = asyncio.get_running_loop()
        self._starting = loop.create_task(self._start())
        if self._watch is not None:
            self._watching = loop.create_task(self._follow(self._watch))
        self._limiter.start()

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
            await self._launcher.prune()
        except (MltbError, OSError):
            log.exception("the plugins could not be started")

    async def _follow(self, watch: Watch) -> None:
        await self.started()
        await watch.run()

    async def shutdown(self) -> None:
        """End every plugin."""
        await self._limiter.stop()
        tasks = [each for each in (self._watching, self._starting, *self._retiring) if each]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._end(known) for known in self._known.values()))
        await self._launcher.close()

    async def discover(self) -> Sequence[str]:
        """Look again at what lies in the directory; the names that are new."""
        records = {record.id: record for record in await self._store.records()}
        fresh = []
        found = {each.id: each for each in await asyncio.to_thread(find, self._directory)}
        for name, each in found.items():
            known = self._known.get(name)
            if known is None or (known.supervisor is None and not known.fits(each)):
                known = Known.of(each, records.get(name), auto_load=self._auto_load)
                self._known[name] = known
                fresh.append(name)
            if known.fits(each):
                known.lies(each)
            else:
                known.is_gone = True  # another has its name
        for name in [name for name in self._known if name not in found]:
            known = self._known[name]
            known.is_gone = True
            if known.supervisor is None:
                del self._known[name]
        return fresh

    async def refresh(self) -> None:
        """Start what is new in the directory, load what has changed, end what is gone. What fails
        is logged, and shown as the plugin's ``reload_error`` where an older version goes on."""
        try:
            fresh = await self.discover()
        except OSError as error:
            log.warning("%s can't be read: %s", self._directory, error)
            return
        await asyncio.gather(*(self._refresh(name, name in fresh) for name in list(self._known)))
        await self._launcher.prune()

    async def _refresh(self, name: str, is_new: bool) -> None:
        async with self._lock(name):
            known = self._known.get(name)
            if known is None:
                return
            if known.is_gone:
                log.info("plugin %s is gone", name)
                await self._end(known)
                self._known.pop(name, None)
                return
            waits = known.record.enabled and (is_new or known.is_down)
            if known.supervisor is None and not waits:
                return
            if known.seen == await fingerprint(known.found):
                return
            if known.supervisor is None:
                await self._begin(known)
                return
            try:
                await self._replace(known, known.supervisor)
            except (MltbError, OSError) as error:
                log.warning("plugin %s: not loaded anew: %s", name, error)
            else:
                log.info("plugin %s: loaded anew", name)

    async def _replace(self, known: Known, old: Supervisor) -> None:
        """A new one, up and healthy, takes the place of the one that runs; that one ends once its
        calls have."""
        known.seen = await fingerprint(known.found)
        try:
            if isinstance(known.found, Broken):
                raise PluginFailed(f"plugin {known.found.id}: {known.found.reason}")
            fresh = await self._launcher.prepare(known.found, known.record)
            await fresh.take_over(old)
            await self.publishers.settle(known, fresh)
        except (MltbError, OSError) as error:
            known.reload_error = str(error)
            raise
        known.supervisor, known.reload_error = fresh, None
        self._changed()
        task = asyncio.get_running_loop().create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, old: Supervisor) -> None:
        try:
            await old.idle()
        finally:
            await old.stop()
        await self._launcher.prune()

    async def _begin(self, known: Known) -> None:
        """Start one; afterwards it runs, or its state says why not."""
        known.seen = await fingerprint(known.found)
        if isinstance(known.found, Broken):
            return
        try:
            supervisor = await self._launcher.prepare(known.found, known.record)
        except (MltbError, OSError) as error:
            known.fail(error)
            return
        known.supervisor, known.reason = supervisor, None
        await supervisor.start()
        try:
            await self.publishers.settle(known, supervisor)
        except (MltbError, OSError) as error:
            known.fail(error)
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
        return [self._known[name].info() for name in sorted(self._known)]

    def info(self, name: str) -> PluginInfo:
        """One plugin. NotFound."""
        self._get(name)
        return self._known[name].info()

    def lines(self, name: str) -> Sequence[str]:
        """The last lines that it wrote."""
        supervisor = self._get(name).supervisor
        return [] if supervisor is None else list(supervisor.plugin.lines)

    async def execute_plugin(self, name: str, /, *args: Any, **data: Any) -> Any:
        """Call ``execute`` of a plugin; what it gives. PluginFailed, NotFound."""
        return await self.call(name, "execute", *args, data=data)

    async def call(
        self,
        name: str,
        method: str,
        *args: Any,
        data: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        fds: Sequence[int] = (),
    ) -> Any:
        """Call a method of a plugin, when one of the places for calls is free. ``data`` are its
        arguments by name, which are the caller's to choose."""
        self._running(name)  # who asks for none need not wait for a place
        async with self._slots:
            # Looked up now: while it waited, another may have taken its place.
            return await self._running(name).call(
                method, *args, data=data, timeout=timeout, fds=fds
            )

    async def enable_plugin(
        self, name: str, *, grant: bool = False, repin: bool = False
    ) -> PluginInfo:
        """Start it, now and at every start. ``grant`` gives it the rights that it asks for now;
        what a later version asks for beyond them waits for another word. ``repin`` takes its
        publisher and its version as they are now, whatever they were."""
        async with self._lock(name):
            await self.discover()
            known = self._get(name)
            rights = known.record.rights
            if grant and isinstance(known.found, Package):
                rights = known.asks(known.record.config)
            known.record = msgspec.structs.replace(known.record, enabled=True, rights=rights)
            if repin and isinstance(known.found, Package):
                known.record = await self.publishers.repinned(known.found, known.record)
            await self._store.save_record(known.record)
            await self._wake(known)
        return self._known[name].info()

    async def _wake(self, known: Known) -> None:
        """Start it, unless it runs or comes back by itself."""
        if known.supervisor is None or known.is_down:
            await self._end(known)
            await self._begin(known)

    async def disable_plugin(self, name: str) -> PluginInfo:
        """End it, now and at every start."""
        async with self._lock(name):
            known = self._get(name)
            known.record = msgspec.structs.replace(known.record, enabled=False)
            await self._store.save_record(known.record)
            await self._end(known)
        return known.info()

    async def load_plugin(self, name: str) -> PluginInfo:
        """Start it; the operator's word about later starts stays."""
        async with self._lock(name):
            await self.discover()
            known = self._get(name)
            await self._wake(known)
        return self._known[name].info()

    async def unload_plugin(self, name: str) -> PluginInfo:
        """End it; the operator's word about later starts stays."""
        async with self._lock(name):
            await self._end(self._get(name))
        return self._known[name].info()

    async def reload_plugin(self, name: str) -> PluginInfo:
        """Run what lies in the directory now. The old one goes on where the new one does not come
        up: PluginFailed then, with the reason."""
        async with self._lock(name):
            await self.discover()
            known = self._get(name)
            if known.supervisor is not None:
                await self._replace(known, known.supervisor)
            elif isinstance(known.found, Broken):
                raise PluginFailed(f"plugin {name}: {known.found.reason}")
            else:
                await self._begin(known)
        return known.info()

    def configuration(self, name: str) -> PluginConfig:
        """What its configuration has to be, and is, with stars for secrets."""
        return self._get(name).configuration()

    async def configure_plugin(self, name: str, config: dict[str, Any]) -> PluginInfo:
        """Hand it over, and store it. InvalidInput where it does not fit the schema, PluginFailed
        where the plugin refuses it: then the one of before holds. Where it names other hosts, the
        plugin starts anew, once it was granted those."""
        async with self._lock(name):
            known = self._get(name)
            schema, before = known.schema, known.record.config
            config = schema.restored(config, schema.with_defaults(before))
            whole = schema.checked(config)
            moved = known.asks(config) != known.asks(before)
            if known.supervisor is not None and not moved:
                redact = Redactor([*schema.secrets(before), *schema.secrets(whole)])
                await known.supervisor.configure(whole, redact)
            known.record = msgspec.structs.replace(known.record, config=config)
            await self._store.save_record(known.record)
            if known.record.enabled and (moved or known.is_down):  # it may have lacked that
                await self._end(known)
                await self._begin(known)
        return known.info()

    def register_plugin_type(self, name: str) -> None:
        """Let plugins be of that type too; they are called by whoever registered it, by ``call``.
        InvalidInput where it is no name."""
        if not name.isidentifier() or not name.islower() or not name.isascii():
            raise InvalidInput(f"{name[:80]!r} is no type", hint="a to z, 0 to 9 and _")
        self._launcher.types.add(name)

    def register_hook(self, hook: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener``, a callable of this process, with every payload of a hook that tells
        something, or of one named ``custom.``; the result ends that. InvalidInput."""
        return self.hooks.listeners.register(hook, listener)

    def trigger_hook(self, hook: str, payload: Any) -> None:
        """Tell a hook to those who take part in it; one named ``custom.`` has only listeners, and
        any payload. InvalidInput where there is no such hook, or the payload is none of it."""
        check_name(hook)
        if hook.startswith(OWN):
            self.hooks.listeners.tell(hook, payload)
            return
        try:
            self.hooks.tell(hook, payload_of(hook, payload))
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{hook}: {error}") from None

    def supervisors(self) -> Iterable[Supervisor]:
        """Those of the plugins that were started, by name."""
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

"""What the operator says of those who make plugins, and what becomes of the plugins that run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from bot.domain.plugins import PluginKey, PluginRecord, PluginState, PluginStore
from bot.errors import MltbError, PolicyRefused
from bot.plugins.known import Known
from bot.plugins.launcher import Launcher
from bot.plugins.manifest import Package
from bot.plugins.supervisor import Supervisor
from bot.plugins.trust import pinned, repinned

log = logging.getLogger(__name__)


class Publishers:
    """``known`` are the plugins of the host; ``changed`` is called after one was ended."""

    def __init__(
        self,
        launcher: Launcher,
        store: PluginStore,
        known: Mapping[str, Known],
        changed: Callable[[], None],
    ) -> None:
        self._launcher = launcher
        self._trust = launcher.trust
        self._store = store
        self._known = known
        self._changed = changed

    async def load(self) -> None:
        """Read the keys; before a plugin starts."""
        await self._trust.load()

    def keys(self) -> Sequence[PluginKey]:
        """The operator's word about each key, in their order."""
        return self._trust.keys()

    async def trust(self, key: str, name: str = "") -> PluginKey:
        """Trust what a key signs; under that name. InvalidInput where it is no key."""
        kept = await self._trust.trust(key, name)
        await self._reconsider(key)
        return kept

    async def revoke(self, key: str) -> tuple[PluginKey, Sequence[str]]:
        """Run nothing any more that a key made; and the plugins that were ended for it.
        InvalidInput where it is no key."""
        kept = await self._trust.revoke(key)
        return kept, await self._reconsider(key)

    async def settle(self, known: Known, supervisor: Supervisor) -> None:
        """After a start: later versions are held against the publisher and the version of this one.
        It ends where that can't be stored, or where its key was revoked meanwhile (PolicyRefused).
        """
        plugin = supervisor.plugin
        try:
            self._check(supervisor, known.record)
            if plugin.state is PluginState.RUNNING:
                record = pinned(known.record, plugin.verdict, plugin.package.manifest.version)
                if record != known.record:
                    known.record = record
                    await self._store.save_record(record)
        except (MltbError, OSError):
            await supervisor.stop(0)
            raise

    async def repinned(self, package: Package, record: PluginRecord) -> PluginRecord:
        """The record where the operator takes what lies there now, whoever made it."""
        _, verdict = await self._launcher.examine(package)
        return repinned(record, verdict, package.manifest.version)

    def _check(self, supervisor: Supervisor, record: PluginRecord) -> None:
        plugin = supervisor.plugin
        plugin.verdict = self._trust.again(plugin.verdict)
        self._trust.admit(plugin.verdict, plugin.package.manifest, record)

    async def _reconsider(self, key: str) -> Sequence[str]:
        """Look again at what runs with a signature of that key. What must not run any more ends at
        once, without another word to it."""
        ending = {}
        for supervisor in self._launcher.alive():
            plugin = supervisor.plugin
            known = self._known.get(plugin.id)
            if known is None or key not in plugin.verdict.signers:
                continue
            try:
                self._check(supervisor, known.record)
            except PolicyRefused as error:
                log.warning("plugin %s is ended: %s", plugin.id, error.message)
                ending[supervisor] = plugin.id
                if known.supervisor is supervisor:
                    known.fail(error)
        await asyncio.gather(*(supervisor.stop(0) for supervisor in ending))
        if ending:
            self._changed()
        return sorted(set(ending.values()))

"""From a plugin on the disk and the operator's word about it to what runs: checked, copied, walled
in, with its broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

from bot.domain.events import Event
from bot.domain.plugins import PluginRecord, PluginStore
from bot.domain.ports import Clock
from bot.domain.redaction import Redactor
from bot.errors import InvalidInput, PluginFailed, PolicyRefused
from bot.plugins import tiers
from bot.plugins.broker import Broker, HttpPort
from bot.plugins.desk import Desks
from bot.plugins.limits import check_room
from bot.plugins.manifest import MANIFEST, TYPES, Package, parse
from bot.plugins.sandbox import Zygote
from bot.plugins.signing import Verdict
from bot.plugins.supervisor import Counts, Plugin, Supervisor
from bot.plugins.tiers import Tier
from bot.plugins.trust import Trust
from bot.plugins.values import Values
from bot.plugins.vault import Content, Vault, read_content
from bot.plugins.worker import Spec

log = logging.getLogger(__name__)

_MB = 1024 * 1024
_OPEN_FILES = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's limits: ``memory`` and ``disk`` in bytes, ``timeout`` in seconds a call,
    ``calls`` at the same time over all plugins, ``values`` in bytes that one keeps in the store,
    ``imports`` that plugins may name (None: all). ``sandbox`` is off, or a plugin in
    ``full_trust``, where there shall be no walls; ``verify_checksum``: a copy is compared with what
    it is a copy of when a plugin is loaded.
    """

    memory: int
    disk: int
    values: int
    timeout: float
    calls: int
    imports: Sequence[str] | None
    sandbox: bool = True
    full_trust: Sequence[str] = ()
    verify_checksum: bool = True

    def is_confined(self, plugin: str) -> bool:
        """Whether a plugin gets walls. Only the operator's settings say no, never its manifest."""
        return self.sandbox and plugin not in self.full_trust


class Launcher:
    """``home`` is ours, under DATA_DIR: the copies of the code, and a directory for each plugin.
    ``walls`` gives the best tier of this machine; Unavailable where it has none."""

    def __init__(
        self,
        home: Path,
        *,
        policy: Policy,
        store: PluginStore,
        http: HttpPort,
        clock: Clock,
        publish: Callable[[Event], None],
        trust: Trust,
        walls: Callable[[], Tier] = tiers.of_this_machine,
    ) -> None:
        self._state = home / "state"
        self._policy = policy
        self._store = store
        self._http = http
        self._clock = clock
        self._publish = publish
        self._counts: dict[str, Counts] = {}
        self._vault = Vault(home / "code")
        self._zygotes: dict[tuple[Tier, str], Zygote] = {}
        self._made: WeakSet[Supervisor] = WeakSet()
        self._keeping = asyncio.Lock()
        self._walls = walls
        self._best: Tier | None = None
        self.trust = trust
        self.types = set(TYPES)

    async def prepare(self, package: Package, record: PluginRecord) -> Supervisor:
        """Everything but the start. PolicyRefused where a right was not granted, Unavailable
        where this machine has no walls, PluginFailed where its files are none of a plugin or its
        directory holds too much."""
        content, verdict = await self.examine(package)
        self.trust.admit(verdict, package.manifest, record)
        _check_rights(package, record)
        tier = await self._tier(package.id)
        await asyncio.to_thread(self._make_room, self._state / package.id)
        async with self._keeping:
            code = await asyncio.to_thread(
                self._vault.keep, content, verify=self._policy.verify_checksum
            )
            supervisor = self._supervisor(package, record, content, code, verdict, tier)
            self._made.add(supervisor)
        return supervisor

    def alive(self) -> Sequence[Supervisor]:
        """Every plugin that was not stopped yet, those whose place another has taken among them."""
        return [each for each in self._made if not each.is_stopped]

    async def prune(self) -> None:
        """Remove the copies of code that nothing runs."""
        async with self._keeping:
            kept = {each.plugin.digest for each in self.alive()}
            try:
                await asyncio.to_thread(self._vault.prune, kept)
            except OSError as error:
                log.warning("old copies of plugins can't be removed: %s", error)

    def _supervisor(
        self,
        package: Package,
        record: PluginRecord,
        content: Content,
        code: Path,
        verdict: Verdict,
        tier: Tier,
    ) -> Supervisor:
        directory = self._state / package.id
        schema = package.schema
        try:
            config = schema.checked(record.config)
        except InvalidInput as error:
            hint = f"mltb plugins config {package.id} --set NAME=VALUE"
            raise PluginFailed(error.message, hint=hint) from None
        values = Values(package.id, self._store, self._policy.values)
        desks, lent = Desks(), list[str]()
        broker = Broker(
            package.id,
            net=package.manifest.rights.hosts(config),
            http=self._http,
            values=values,
            desks=desks,
            lent=lent,
        )
        plugin = Plugin(
            package,
            content.digest,
            verdict,
            tier,
            self._spec(package, config, code, directory, tier),
            broker,
            values,
            min(self._policy.timeout, package.manifest.limits.timeout or self._policy.timeout),
            Redactor(schema.secrets(config)),
            desks=desks,
            lent=lent,
            types=self.types,
            counts=self._counts.setdefault(package.id, Counts()),
        )
        zygote = self._zygote(tier, package.id, directory)
        return Supervisor(plugin, zygote, self._clock, self._publish)

    def _make_room(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_room(directory, self._policy.disk)

    async def examine(self, package: Package) -> tuple[Content, Verdict]:
        """The files of a plugin, read once, and who made them."""
        content = await asyncio.to_thread(read_content, package)
        text = content.files.get(MANIFEST)
        if package.root.is_dir() and (text is None or parse(text) != package.manifest):
            raise PluginFailed(f"plugin {package.id} changed while it was read", hint="try again")
        return content, await asyncio.to_thread(self.trust.examine, content, package.manifest)

    async def _tier(self, plugin: str) -> Tier:
        """What confines that plugin. Nothing but the settings leads to less than the best tier."""
        if not self._policy.is_confined(plugin):
            log.warning("plugin %s runs without walls, as the settings say", plugin)
            return Tier.NONE
        if self._best is None:
            self._best = await asyncio.to_thread(self._walls)
        return self._best

    async def close(self) -> None:
        """End the processes that plugins are forked from."""
        await asyncio.gather(*(zygote.close() for zygote in self._zygotes.values()))
        self._zygotes.clear()

    def _spec(
        self, package: Package, config: dict[str, Any], code: Path, directory: Path, tier: Tier
    ) -> Spec:
        limits, policy = package.manifest.limits, self._policy
        return Spec(
            plugin=package.id,
            module=package.id,
            code=str(code / package.entry.name),
            directory=str(directory),
            memory=min(policy.memory, (limits.memory or policy.memory) * _MB),
            disk=policy.disk,
            open_files=_OPEN_FILES,
            readable=[*tiers.readable(), str(code)],
            landlock=tier.landlock,
            confined=tier is not Tier.NONE,
            imports=None if policy.imports is None else list(policy.imports),
            config=config,
            metadata=_metadata(package),
        )

    def _zygote(self, tier: Tier, plugin: str, directory: Path) -> Zygote:
        """One for all of a tier where Landlock tells them apart, or nothing does; else one each."""
        name = (tier, plugin if tier is Tier.BUBBLEWRAP else "")
        if name not in self._zygotes:
            code, state = self._vault.directory, directory if name[1] else self._state
            code.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._zygotes[name] = Zygote(tier, code=[str(code)], state=[str(state)])
        return self._zygotes[name]


def _check_rights(package: Package, record: PluginRecord) -> None:
    asked = package.asks(record.config)
    if missing := [right for right in asked if right not in record.rights]:
        raise PolicyRefused(
            f"plugin {package.id} asks for {', '.join(missing)}, which it was not granted",
            hint=f"mltb plugins enable {package.id} --grant",
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

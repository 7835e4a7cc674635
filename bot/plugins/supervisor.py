"""One plugin's life: started, called, started anew after a crash, given up after too many."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from bot.domain.events import Event, PluginCrashed, PluginKilled
from bot.domain.plugins import PluginState
from bot.domain.ports import Clock
from bot.errors import MltbError, PluginFailed, Unavailable
from bot.plugins.desk import Desks
from bot.plugins.hooks import ANSWERS
from bot.plugins.manifest import TYPES, Package, check_type
from bot.plugins.sandbox import Broker, Worker, Zygote
from bot.plugins.signing import Verdict
from bot.plugins.tiers import Tier
from bot.plugins.usage import Usage
from bot.plugins.values import Values
from bot.plugins.worker import Spec

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds between a crash and the next start
_CRASHES, _WINDOW = 5, 600.0  # so many within so many seconds, and it is given up
_GRACE = 5.0  # seconds for ``shutdown``
_LINES = 500  # of its output that are kept
_LINES_A_SECOND = 100  # of its output that reach the log; what is over is counted


@dataclass(slots=True)
class Counts:
    """What became of a plugin and of its calls since the service started."""

    ok: int = 0
    failures: int = 0
    timeouts: int = 0
    crashes: int = 0  # of its process, by itself
    kills: int = 0  # of its process, by force
    seconds: float = 0.0
    cpu: float = 0.0  # seconds

    @property
    def calls(self) -> int:
        """All of them."""
        return self.ok + self.failures + self.timeouts


@dataclass(slots=True)
class Plugin:
    """A plugin as the host knows it. ``verdict`` says who made it, ``tier`` what confines it,
    ``reason`` why it does not run; ``redact`` takes the secrets of its configuration out of what it
    says."""

    package: Package
    digest: str
    verdict: Verdict
    tier: Tier
    spec: Spec
    broker: Broker
    values: Values
    timeout: float
    redact: Callable[[str], str]
    state: PluginState = PluginState.LOADING
    reason: str | None = None
    counts: Counts = field(default_factory=Counts)
    desks: Desks = field(default_factory=Desks)
    lent: list[str] = field(default_factory=list)
    types: Collection[str] = TYPES
    usage: Usage = field(default_factory=Usage)
    description: dict[str, Any] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))

    @property
    def id(self) -> str:
        """Its name."""
        return self.package.id

    @property
    def hooks(self) -> Sequence[str]:
        """The hooks that it takes part in."""
        found: Sequence[str] = self.description.get("hooks", ())
        return found

    @property
    def type(self) -> str:
        """What it is for."""
        found: str = self.description.get("type") or self.package.manifest.type or "custom"
        return found

    @property
    def decides(self) -> Sequence[str]:
        """The hooks by which it is asked; none without the right."""
        if not self.package.manifest.rights.decide:
            return ()
        return [hook for hook in self.hooks if hook in ANSWERS]

    @property
    def inactive(self) -> Sequence[str]:
        """The hooks by which it would be asked if it had the right."""
        return [hook for hook in self.hooks if hook in ANSWERS and hook not in self.decides]


class Supervisor:
    """Runs one plugin."""

    def __init__(
        self, plugin: Plugin, zygote: Zygote, clock: Clock, publish: Callable[[Event], None]
    ) -> None:
        self.plugin = plugin
        self._zygote = zygote
        self._clock = clock
        self._publish = publish
        self._log = logging.getLogger(f"plugins.{plugin.id}")
        self._worker: Worker | None = None
        self._coming: Worker | None = None  # started, and not running yet
        self._crashes: deque[float] = deque(maxlen=_CRASHES)
        self._restart: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._second = 0  # of the clock, in which so many lines were logged and left out
        self._logged = self._left_out = 0

    async def start(self, old: Supervisor | None = None) -> None:
        """Start it; afterwards it runs, or its state says why not. Where it is to take the place of
        ``old`` it has to be healthy."""
        try:
            await self._start(old)
        except Unavailable as error:  # the process that it comes from is gone: not its own fault
            self._again(error.message)
        except (MltbError, OSError) as error:
            self._move(PluginState.FAILED, str(error))

    async def _start(self, old: Supervisor | None) -> None:
        plugin = self.plugin
        worker = Worker(plugin.spec, broker=plugin.broker, log=self._said, on_end=self._ended)
        self._coming = worker
        try:
            await worker.start(self._zygote, plugin.timeout)
            described = _description(worker.description)
            check_type(plugin.id, described.type, plugin.types)
            plugin.description = msgspec.structs.asdict(described)
            is_migrated = await self._migrate(worker, described.state_version)
            if await worker.call("initialize", timeout=plugin.timeout) is False:
                raise PluginFailed(f"plugin {plugin.id}: initialize said no")
            if old is not None and await worker.call("health", timeout=plugin.timeout) is not True:
                raise PluginFailed(f"plugin {plugin.id}: health said no")
            if is_migrated and worker.alive:
                await plugin.values.commit(described.state_version)
                if old is not None:
                    old.plugin.values.end()
        except (MltbError, asyncio.CancelledError):
            await worker.stop()
            raise
        finally:
            self._coming = None
        self._worker = worker
        self._move(PluginState.RUNNING, None)
        if plugin.inactive:
            self._log.warning("not asked without rights.decide: %s", ", ".join(plugin.inactive))
        if worker.end is not None:  # while it answered
            self._ended(worker.end)

    async def _migrate(self, worker: Worker, version: int) -> bool:
        """Have the plugin bring its values into the form that its code knows; whether their version
        is to be stored. Until then nothing of it is."""
        stored = await self.plugin.values.version()
        if stored == version:
            return False
        if stored is not None and stored > version:
            raise PluginFailed(
                f"plugin {self.plugin.id}: its values are of version {stored}, and this code knows "
                f"version {version}",
                hint="install the newer version of it again",
            )
        self.plugin.values.stage()
        if stored is not None:
            await worker.call("migrate_state", stored, timeout=self.plugin.timeout)
        return True

    async def take_over(self, old: Supervisor) -> None:
        """Start it, to take the place of ``old``: what that counted and said goes on. Where it is
        not up and healthy it ends: PluginFailed."""
        plugin = self.plugin
        plugin.counts, plugin.lines = old.plugin.counts, old.plugin.lines
        await self.start(old)
        if plugin.state is not PluginState.RUNNING:
            await self.stop()
            raise PluginFailed(
                f"the new version does not come up: {plugin.reason}",
                hint="the one before it goes on" if old.pid else None,
            )

    async def configure(self, config: dict[str, Any], redact: Callable[[str], str]) -> None:
        """Give it another configuration. PluginFailed where it refuses: then it has the old one."""
        plugin, old = self.plugin, self.plugin.spec.config
        plugin.redact = redact
        if plugin.state is PluginState.RUNNING:
            try:
                await self.call("replace_config", config)
                await self.call("configured")
            except PluginFailed as error:
                with contextlib.suppress(PluginFailed):
                    await self.call("replace_config", old)
                raise PluginFailed(
                    f"the configuration is refused: {error.message}",
                    hint="the one before it holds",
                ) from None
        plugin.spec = msgspec.structs.replace(plugin.spec, config=config)

    async def idle(self) -> None:
        """Wait until no call is under way; each has its own time."""
        if self._worker is not None:
            await self._worker.idle()

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped for good."""
        return self._is_stopped

    async def stop(self, grace: float = _GRACE) -> None:
        """End it, in good order if it runs and within ``grace`` seconds for each step; 0: at
        once."""
        self._is_stopped = True
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)
        if self._coming is not None:  # whoever starts it is told so
            self._coming.kill("it was stopped")
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.stop(grace)

    async def call(
        self,
        method: str,
        *args: Any,
        data: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        fds: Sequence[int] = (),
    ) -> Any:
        """Call a method of it, with ``args`` and, by name, ``data``. PluginFailed where it does not
        run, raises, ends or is too slow."""
        plugin, worker = self.plugin, self._worker
        if worker is None or not worker.alive:
            raise PluginFailed(
                f"plugin {plugin.id} is {plugin.state}",
                hint=plugin.reason or "try again in a moment",
            )
        begun = self._clock.monotonic()
        counts, timeout = plugin.counts, timeout or plugin.timeout
        try:
            result = await worker.call(method, *args, data=data, timeout=timeout, fds=fds)
        except PluginFailed as error:
            if self._clock.monotonic() - begun >= timeout:
                counts.timeouts += 1
            else:
                counts.failures += 1
            error.message = plugin.redact(error.message)
            raise
        finally:
            counts.seconds += self._clock.monotonic() - begun
        counts.ok += 1
        return result

    def give_up(self, reason: str) -> None:
        """End it for that reason, until somebody starts it again."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._move(PluginState.FAILED, reason)
            worker.kill(reason)
            self._tell(worker, reason)

    @property
    def worker(self) -> Worker | None:
        """Its process, while there is one."""
        return self._worker or self._coming

    @property
    def pid(self) -> int | None:
        """The number of its process, while it runs."""
        return None if self._worker is None else self._worker.pid

    def _ended(self, why: str) -> None:
        """Its process is gone. While it ran, that is a crash."""
        worker, self._worker = self._worker, None
        if worker is None:
            return  # it is being stopped, or did not start
        self._tell(worker, why)
        self._again(why)

    def _tell(self, worker: Worker, why: str) -> None:
        """Count the end of a process that nobody wanted, and say so."""
        plugin, at = self.plugin, self._clock.now()
        if worker.is_killed:
            plugin.counts.kills += 1
            self._publish(PluginKilled(at, plugin.id, why))
        else:
            plugin.counts.crashes += 1
            self._publish(PluginCrashed(at, plugin.id, why))

    def _again(self, why: str) -> None:
        """Start it anew in a while, unless that was in vain too often."""
        if self._is_stopped:
            return
        now = self._clock.monotonic()
        self._crashes.append(now)
        if len(self._crashes) == _CRASHES and now - self._crashes[0] < _WINDOW:
            self._move(
                PluginState.FAILED,
                f"given up after {_CRASHES} crashes within {_WINDOW:g} s; the last: {why}",
            )
            return
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (len(self._crashes) - 1))
        self._move(PluginState.WAITING, f"{why}; the next start is in {wait:g} s")
        self._restart = asyncio.get_running_loop().create_task(self._later(wait))

    async def _later(self, wait: float) -> None:
        await self._clock.sleep(wait)
        try:
            await self._start(None)
        except (MltbError, OSError) as error:
            self._again(str(error))

    def _said(self, line: str) -> None:
        line = self.plugin.redact(line)
        self.plugin.lines.append(line)
        second = int(self._clock.monotonic())
        if second != self._second:
            if self._left_out:
                self._log.warning("%d lines before this one are not in the log", self._left_out)
            self._second, self._logged, self._left_out = second, 0, 0
        if self._logged < _LINES_A_SECOND:
            self._logged += 1
            self._log.info("%s", line, extra={"plugin": self.plugin.id})
        else:
            self._left_out += 1

    def _move(self, state: PluginState, reason: str | None) -> None:
        if reason is not None:
            reason = self.plugin.redact(reason)
        self.plugin.state, self.plugin.reason = state, reason
        if reason is not None:
            self._log.warning("plugin %s is %s: %s", self.plugin.id, state, reason)


class _Description(msgspec.Struct, frozen=True):
    """What a worker may say of its plugin."""

    name: str
    type: str
    version: str = "0.0.0"
    author: str = ""
    description: str = ""
    hooks: list[str] = []
    state_version: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] = 1


def _description(found: Any) -> _Description:
    try:
        return msgspec.convert(found, _Description)
    except msgspec.ValidationError as error:
        raise PluginFailed(f"it describes itself wrongly: {error}") from None

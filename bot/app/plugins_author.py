"""Tries a plugin for its author: in the real sandbox, without a service, in a directory that goes
afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bot.app.parts import SystemClock
from bot.app.plugins import plugin_policy
from bot.config import Settings
from bot.domain.events import Event
from bot.domain.plugins import PluginRecord, PluginState
from bot.engines.curl import CurlLoop
from bot.engines.curl_handle import Response
from bot.engines.egress import EgressPolicy
from bot.errors import PluginFailed
from bot.plugins import hooks
from bot.plugins.broker import HttpPort
from bot.plugins.launcher import Launcher
from bot.plugins.manifest import read
from bot.plugins.samples import ARCHIVE, samples
from bot.plugins.samples import Event as Recorded
from bot.plugins.sandbox import Broker
from bot.plugins.supervisor import Supervisor
from bot.plugins.trust import Trust
from bot.store.plugins_memory import MemoryPlugins


class Asked(msgspec.Struct, frozen=True):
    """What a plugin asked the host for."""

    what: str
    arguments: dict[str, Any]


class Outcome(msgspec.Struct, frozen=True):
    """What came of one event. ``error`` is None where it went well."""

    event: str
    result: Any
    error: str | None
    asked: list[Asked]
    logged: list[str]


async def tried(
    settings: Settings,
    root: Path,
    *,
    config: dict[str, Any],
    events: Sequence[Recorded] | None,
    reach: bool,
) -> list[Outcome]:
    """What comes of the start of the plugin at ``root`` and of each event: the recorded ones, or a
    sample for its ``execute`` and for each of its hooks.

    It has the rights that it asks for. HTTP requests are answered with an empty 200, or
    (``reach``) are really sent. PluginFailed where ``root`` is no plugin.
    """
    with tempfile.TemporaryDirectory(prefix="mltb-plugin-") as home:
        async with _launched(settings, Path(home), reach=reach) as launcher:
            package = read(root.resolve())
            record = PluginRecord(package.id, config=config, rights=package.asks(config))
            trial = _Trial(await launcher.prepare(package, record))
            try:
                return await trial.run(events)
            finally:
                await trial.supervisor.stop()


@asynccontextmanager
async def _launched(settings: Settings, home: Path, *, reach: bool) -> AsyncIterator[Launcher]:
    curl = CurlLoop(EgressPolicy(settings.egress_allow), ca_file=settings.http_ca_file)
    http: HttpPort = curl if reach else _Agreeable()
    store, clock = MemoryPlugins(), SystemClock()
    launcher = Launcher(
        home,
        # Whatever the service runs without walls, here they are.
        policy=replace(plugin_policy(settings), sandbox=True, full_trust=()),
        store=store,
        http=http,
        clock=clock,
        publish=_unheard,
        # Who writes it has not signed it yet.
        trust=Trust(store, clock, require_signature=False, verify_checksum=False),
    )
    try:
        yield launcher
    finally:
        await launcher.close()
        await curl.close()


def _unheard(_: Event) -> None:
    """Nobody listens to what happens here."""


class _Agreeable:
    """Answers every request, and sends none."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        max_size: int = 0,
    ) -> Response:
        return Response(200, {}, b"{}")


class _Trial:
    """One run of a plugin."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self._asked: list[Asked] = []
        plugin = supervisor.plugin
        plugin.broker = self._noting(plugin.broker)

    def _noting(self, broker: Broker) -> Broker:
        async def ask(method: str, arguments: dict[str, Any]) -> Any:
            self._asked.append(Asked(method, arguments))
            return await broker(method, arguments)

        return ask

    async def run(self, events: Sequence[Recorded] | None) -> list[Outcome]:
        """Start it, and have each event happen."""
        plugin = self.supervisor.plugin
        await self.supervisor.start()
        if plugin.state is not PluginState.RUNNING:
            return [self._outcome("start", None, plugin.reason)]
        outcomes = [self._outcome("start", None, None)]
        sampled = samples(plugin.description["type"], list(plugin.hooks))
        for event in sampled if events is None else events:
            result = error = None
            try:
                result = await self._happen(event)
            except msgspec.ValidationError as wrong:
                error = f"{event.hook}: {wrong}"
            except PluginFailed as failure:
                if events is None and failure.details.get("kind") == "NotImplementedError":
                    continue  # it lives of its hooks alone
                error = str(failure)
            outcomes.append(self._outcome(event.hook, result, error))
        return outcomes

    async def _happen(self, event: Recorded) -> Any:
        plugin, call = self.supervisor.plugin, self.supervisor.call
        if event.hook != "execute":
            answer = await call("hook", event.hook, event.payload)
            return hooks.answer(event.hook, answer) if event.hook in hooks.ANSWERS else answer
        if plugin.description["type"] != "backup":
            return await call("execute", *event.args, **event.kwargs)
        facts = {"size": len(ARCHIVE), "sha256": hashlib.sha256(ARCHIVE).hexdigest()}
        with _archive() as archive:
            return await call("backup", str(event.args[0]), facts, fds=[archive])

    def _outcome(self, event: str, result: Any, error: str | None) -> Outcome:
        lines = self.supervisor.plugin.lines
        outcome = Outcome(event, result, error, list(self._asked), list(lines))
        self._asked.clear()
        lines.clear()
        return outcome


@contextlib.contextmanager
def _archive() -> Iterator[int]:
    """A descriptor to read the sample backup from, once."""
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(ours, ARCHIVE)
        os.close(ours)
        yield theirs
    finally:
        os.close(theirs)

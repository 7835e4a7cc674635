"""The service's side of the torrent worker: calls, events, and torrents for the time of a job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from bot.domain.ports import FetchJob, PlannedFile
from bot.engines.children import python_module
from bot.engines.companion import Companion, failure
from bot.engines.egress import EgressPolicy
from bot.engines.torrent_names import DHT_STATE, PARTS, RESUME_SUFFIX
from bot.engines.torrent_reach import reach
from bot.engines.torrent_run import Run, stalled
from bot.engines.torrent_source import Contents, Layout
from bot.errors import NetworkFailed, PolicyRefused, TransferError

#: Seconds that the worker may take to let go of a torrent before it is killed.
_LETS_GO = 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class TorrentSettings(msgspec.Struct, frozen=True):
    """What the session of libtorrent is given. ``interfaces`` are addresses to listen on,
    ``dht_routers`` are ``host:port`` of nodes to begin with.
    """

    port: int
    dht: bool
    utp: bool
    max_connections: int
    interfaces: tuple[str, ...]
    dht_routers: tuple[str, ...]


class TorrentClient:
    """Talks to the worker. ``state`` is the directory that both sides keep their files in;
    ``idle`` (seconds) is how long the worker outlives the last job."""

    def __init__(
        self, policy: EgressPolicy, state: Path, settings: TorrentSettings, idle: float
    ) -> None:
        self._policy = policy
        self._state = state
        self._settings = settings
        self._limit: int | None = None
        self._companion = Companion(
            python_module("bot.engines.torrent_worker"),
            name="torrent",
            opening=self._opening,
            on_event=self._on_event,
            on_lost=self._on_lost,
            idle=idle,
        )
        self.runs: dict[str, Run] = {}

    @property
    def pid(self) -> int | None:
        """The process id of the worker while it runs."""
        return self._companion.pid

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the worker for a while."""
        with self._companion.hold():
            yield

    async def read(self, op: str, **arguments: Any) -> Contents:
        """What the worker reads in a plan (``inspect``) or a link (``inspect_magnet``)."""
        return msgspec.convert(await self._companion.call(op, **arguments), Contents)

    def limit(self, limit: int | None, job: str | None) -> None:
        """Limit one job, or all together, in bytes a second."""
        if job is None:
            self._limit = limit
        if job is None or job in self.runs:
            self._companion.post("limit", job=job, limit=limit)

    @asynccontextmanager
    async def turn(self, name: str, contents: Contents, job: FetchJob | None) -> AsyncIterator[Run]:
        """A place for one torrent. After it nothing of the torrent is written any more.

        PolicyRefused where the policy leaves nobody to get it from.
        """
        found = await reach(self._policy, contents)
        if found.empty and found.refused and not self._settings.dht:
            raise PolicyRefused(
                f"nobody is left to get the torrent from: {'; '.join(found.refused[:5])}",
                hint="the operator can let an address or host through with EGRESS_ALLOW",
            )
        run = Run(name, found, job)
        self.runs[name] = run
        try:
            yield run
        except BaseException:
            with suppress(TransferError):
                await _in_full(self._drop(run))
            raise
        else:
            await _in_full(self._drop(run))
        finally:
            del self.runs[name]

    async def ask(self, run: Run, magnet: str, path: Path) -> None:
        """Have the worker ask peers for the metadata of ``magnet`` and keep it at ``path``."""
        await self._add(
            run, mode="metadata", magnet=magnet, directory=str(self._state), resume=str(path)
        )

    async def add(
        self, run: Run, job: FetchJob, mode: str, plan: Path, layout: Layout, wanted: list[int]
    ) -> None:
        """Have the worker ``fetch`` or ``seed`` the wanted files in the directory of the job."""
        directory = os.path.realpath(job.directory)
        parts = os.path.realpath(self._state / PARTS / key_of(job.id))
        facts = await self._add(
            run,
            mode=mode,
            plan=str(plan),
            resume=str(self._state / f"{key_of(job.id)}{RESUME_SUFFIX}"),
            directory=directory,
            # libtorrent takes it as relative in any case.
            parts=os.path.relpath(parts, directory),
            names=list(enumerate(layout.paths)),
            wanted=wanted,
            limit=job.limit,
        )
        run.update(facts)

    async def stalled(self, run: Run, seconds: float) -> NetworkFailed:
        """The error about a torrent that stood still for ``seconds``."""
        report = await self._companion.call("report", job=run.name)
        return stalled(run, report, seconds, self._settings.dht)

    async def close(self) -> None:
        """End the worker."""
        await self._companion.close()

    async def _add(self, run: Run, **arguments: Any) -> Any:
        return await self._companion.call(
            "add",
            job=run.name,
            trackers=run.reach.trackers,
            web_seeds=run.reach.web_seeds,
            peers=run.reach.peers,
            allow=run.reach.addresses,
            **{"parts": "", "limit": None, **arguments},
        )

    async def _drop(self, run: Run) -> None:
        """Take a torrent out of the worker, its resume data kept.

        A worker that does not let go is killed, which fails the other jobs as a crash of it does.
        """
        if self._companion.pid is None:
            return
        try:
            async with asyncio.timeout(_LETS_GO):
                await self._companion.call("drop", job=run.name)
        except TimeoutError:
            await self._companion.kill()
            raise NetworkFailed("the torrent engine did not let go of a torrent") from None

    def _opening(self) -> dict[str, Any]:
        rules = [
            [str(network[0]), str(network[-1]), not allowed]
            for network, allowed in self._policy.rules()
        ]
        return {
            **msgspec.structs.asdict(self._settings),
            "rules": rules,
            "limit": self._limit,
            "boot": _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "",
            "dht_state": str(self._state / DHT_STATE),
        }

    def _on_event(self, message: dict[str, Any]) -> None:
        if message["event"] == "states":
            for name, facts in message["jobs"].items():
                if name in self.runs:
                    self.runs[name].update(facts)
            return
        run = self.runs.get(message["job"])
        if run is None:
            return
        if message["event"] == "metadata":
            run.got_metadata()
        else:
            run.fail(failure(message["code"], message["message"]))

    def _on_lost(self, error: TransferError) -> None:
        for run in self.runs.values():
            run.fail(error)


def key_of(job: str) -> str:
    """The name of a job in the state directory."""
    return quote(job, safe="")


def indexes(files: Sequence[PlannedFile]) -> list[int]:
    """Their indexes in the torrent."""
    return [file.index for file in files]


async def _in_full(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end, however often this call is cancelled meanwhile; then let that
    through."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    await task

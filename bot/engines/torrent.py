"""The torrent engine: magnet links, torrent files and URLs of torrent files.

libtorrent runs in one worker process for all torrents, started when the first is needed; a crash of
it fails the jobs under way with an error that may be retried. What is kept lies in the state
directory: the plan of a source (so that metadata is looked for once) and the resume file of a job,
which the worker writes about once a second and which is true at any moment, so that a kill loses
only what came after it. Where it is missing, libtorrent checks the files that are there.

Egress: the policy goes to the worker as libtorrent's ``ip_filter``, which holds for peers, trackers
(and their redirects) and web seeds, next to ``ssrf_mitigation``; ``torrent_reach`` has the rest.
The gap: hosts that are allowed by name are let through by the addresses they have at the start of
a job, and for every torrent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import msgspec

from bot.domain.ports import Capabilities, Delivered, DeliverJob, Fetched, FetchJob, Plan
from bot.domain.task import Progress, TaskOptions
from bot.engines import torrent_files as files
from bot.engines import torrent_source as sources
from bot.engines.egress import EgressPolicy
from bot.engines.torrent_client import TorrentClient, TorrentSettings, indexes, key_of
from bot.engines.torrent_names import RESUME_SUFFIX
from bot.engines.torrent_source import Contents, Layout
from bot.errors import (
    Corrupt,
    InvalidInput,
    SourceNotFound,
    Unsupported,
)

#: Well-known nodes that tell a new one about others.
DHT_ROUTERS = (
    "dht.libtorrent.org:25401",
    "router.bittorrent.com:6881",
    "router.utorrent.com:6881",
    "dht.transmissionbt.com:6881",
)
_BY_LINK = 100
_BY_ENDING = 80


class TorrentEngine:
    """Fetches and shares torrents.

    ``fetch_torrent`` gets the bytes behind the URL of a torrent file. ``stall_timeout`` in
    seconds; ``port`` 0 takes a free one on ``interfaces``. ``seed_ratio`` and ``seed_time``
    (seconds) end the seeding of a submission that says nothing about it; 0 does not count, and
    both 0 is no seeding. ``utp`` is whether peers may come by uTP; we go by TCP. ``dht_routers``
    are ``host:port`` and the only addresses that the policy is not asked about. ``idle`` is how
    long, in seconds, the worker outlives the last job.
    """

    name = "torrent"
    capabilities = Capabilities(
        schemes=("magnet", "torrent"), fetches=True, resumes=True, selects_files=True, seeds=True
    )

    def __init__(
        self,
        policy: EgressPolicy,
        state_dir: Path,
        *,
        fetch_torrent: Callable[[str, TaskOptions], Awaitable[bytes]],
        port: int = 0,
        dht: bool = True,
        stall_timeout: float = 600.0,
        max_connections: int = 200,
        seed_ratio: float = 0.0,
        seed_time: float = 0.0,
        utp: bool = True,
        interfaces: Sequence[str] = ("0.0.0.0", "[::]"),  # noqa: S104 - peers come from anywhere
        dht_routers: Sequence[str] = DHT_ROUTERS,
        idle: float = 60.0,
    ) -> None:
        self._state = state_dir
        self._fetch_torrent = fetch_torrent
        self._stall = stall_timeout
        self._seed_ratio = seed_ratio
        self._seed_time = seed_time
        self._planning: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        settings = TorrentSettings(
            port, dht, utp, max_connections, tuple(interfaces), tuple(dht_routers)
        )
        self._worker = TorrentClient(policy, state_dir, settings, idle)

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker while it runs."""
        return self._worker.pid

    def accepts(self, source: str) -> int:
        """Magnet links and torrent data at once; URLs that end in ``.torrent`` before HTTP."""
        kind = sources.kind_of(source)
        if kind == "url":
            return _BY_ENDING if sources.is_torrent_url(source) else 0
        return _BY_LINK if kind else 0

    def delivers_to(self, destination: str) -> bool:
        """Never."""
        return False

    async def plan(self, source: str, options: TaskOptions) -> Plan:
        """The files of a torrent; of a magnet link its peers are asked for them.

        NetworkFailed where no peer has them within the stall timeout.
        """
        with self._worker.hold():
            contents, _ = await self._contents(source, options)
        layout = Layout(contents)
        chosen = layout.wanted(options.select)
        sources.checksum_of(options, chosen)
        return Plan(
            engine=self.name,
            source=source,
            name=layout.name,
            size=sources.total(chosen),
            disk=sources.total(chosen),
            files=layout.files,
            resumable=True,
            identity=contents.identity,
            note=f"{layout.links} links in it are left out" if layout.links else None,
            detail={"info_hash": contents.v1 or contents.v2, "piece_size": contents.piece},
        )

    async def fetch(self, job: FetchJob) -> Fetched:
        """Fetch the selected files, from what an earlier attempt left on."""
        with self._worker.hold():
            contents, plan = await self._contents(job.source, job.options, job.id)
            layout = Layout(contents)
            wanted = layout.wanted(job.options.select)
            checksum = sources.checksum_of(job.options, wanted)
            await job.checkpoint({"identity": contents.identity, "resume": self._resume(job.id)})
            async with self._worker.turn(job.id, contents, job) as run:
                await self._worker.add(run, job, "fetch", plan, layout, indexes(wanted))
                if not await run.until(lambda: run.finished, stall=self._stall):
                    raise await self._worker.stalled(run, self._stall)
                uploaded = run.facts["uploaded"]
        try:
            entries = await files.in_thread(lambda stop: files.settle(job.directory, wanted, stop))
        except Corrupt:
            # What libtorrent believes of these files is wrong: it has to check them.
            files.forget(self._state, key_of(job.id))
            raise
        if checksum is not None:
            path = job.directory / wanted[0].path
            await files.in_thread(lambda stop: files.check(path, checksum, stop))
        if not any(self._goals(job.options)):
            files.forget_parts(self._state, key_of(job.id))
        return Fetched(layout.name, entries, {"identity": contents.identity, "uploaded": uploaded})

    async def seed(self, job: FetchJob) -> dict[str, Any]:
        """Share what ``fetch`` left in the directory until the ratio or the time is reached.

        ``uploaded`` (bytes), ``ratio`` and ``seconds`` that were reached; earlier attempts count.
        SourceNotFound where the files are gone.
        """
        ratio, seconds = self._goals(job.options)
        if not ratio and not seconds:
            return {"uploaded": 0, "ratio": 0.0, "seconds": 0.0}
        with self._worker.hold():
            contents, plan = await self._contents(job.source, job.options, job.id)
            layout = Layout(contents)
            wanted = layout.wanted(job.options.select)
            size = max(1, sources.total(wanted))
            async with self._worker.turn(job.id, contents, job) as run:
                await self._worker.add(run, job, "seed", plan, layout, indexes(wanted))
                loop = asyncio.get_running_loop()
                await run.until(lambda: run.settled)
                if not run.finished:
                    raise SourceNotFound("the files to share are gone or were changed")
                before, began = run.facts["seeding"], loop.time()
                await run.until(
                    lambda: bool(ratio) and run.facts["uploaded"] >= ratio * size,
                    deadline=began + max(0.0, seconds - before) if seconds else None,
                )
                uploaded, lasted = run.facts["uploaded"], before + loop.time() - began
        files.forget(self._state, key_of(job.id))
        return {"uploaded": uploaded, "ratio": uploaded / size, "seconds": lasted}

    async def deliver(self, job: DeliverJob) -> Delivered:
        """Unsupported."""
        self._fetches_only()

    async def verify(self, job: DeliverJob, delivered: Delivered) -> str:
        """Unsupported."""
        self._fetches_only()

    async def discard(self, job: DeliverJob, delivered: Delivered | None) -> None:
        """Unsupported."""
        self._fetches_only()

    def snapshot(self) -> Mapping[str, Progress]:
        """What the worker pushed last, at most a second ago."""
        return {run.job.id: run.progress for run in self._worker.runs.values() if run.job}

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Limit both directions."""
        self._worker.limit(limit, job)

    async def cleanup(self, older_than: float) -> int:
        """Forget old plans, and resume files of jobs whose directory is gone."""
        return await asyncio.to_thread(files.clean, self._state, older_than)

    async def close(self) -> None:
        """End the worker."""
        await self._worker.close()

    # Plans

    async def _contents(
        self, source: str, options: TaskOptions, job: str | None = None
    ) -> tuple[Contents, Path]:
        """What is in the torrent, and the file that says so."""
        kind = sources.kind_of(source)
        if kind is None:
            raise Unsupported(
                f"{source[:200]!r} is no torrent",
                hint="a magnet link with an info hash, the URL of a torrent file, or "
                f"{sources.DATA_PREFIX} and the bytes of one",
            )
        await asyncio.to_thread(self._state.mkdir, mode=0o700, parents=True, exist_ok=True)
        path = self._state / sources.plan_file(source, options)
        lock = self._planning.setdefault(path.name, asyncio.Lock())
        async with lock:
            if path.exists():
                os.utime(path)
            elif job is not None and (self._state / self._resume(job)).exists():
                path = self._state / self._resume(job)
            elif kind == "magnet":
                await self._ask_peers(source, path)
            else:
                files.keep(path, await self._torrent(kind, source, options))
        try:
            contents = await self._worker.read("inspect", path=str(path))
        except Corrupt:
            path.unlink(missing_ok=True)
            raise
        if kind == "magnet":
            linked = await self._worker.read("inspect_magnet", magnet=source)
            contents = msgspec.structs.replace(
                contents,
                trackers=linked.trackers,
                web_seeds=linked.web_seeds,
                peers=linked.peers,
            )
        return contents, path

    async def _torrent(self, kind: str, source: str, options: TaskOptions) -> bytes:
        if kind == "url":
            data = await self._fetch_torrent(source, options)
        else:
            try:
                data = sources.data_of(source)
            except InvalidInput as error:
                raise Corrupt(error.message, hint=error.hint) from None
        if len(data) > sources.MAX_TORRENT:
            raise Unsupported(
                f"the torrent file has {len(data)} bytes",
                hint=f"at most {sources.MAX_TORRENT} are read",
            )
        return data

    async def _ask_peers(self, magnet: str, path: Path) -> None:
        linked = await self._worker.read("inspect_magnet", magnet=magnet)
        async with self._worker.turn(f"plan:{path.name}", linked, None) as run:
            await self._worker.ask(run, magnet, path)
            if not await run.until(lambda: run.has_metadata, stall=self._stall):
                raise await self._worker.stalled(run, self._stall)

    def _goals(self, options: TaskOptions) -> tuple[float, float]:
        """The ratio and the seconds that end the seeding; 0 for one that does not count."""
        ratio, seconds = options.seed_ratio, options.seed_seconds
        return (
            self._seed_ratio if ratio is None else ratio,
            self._seed_time if seconds is None else seconds,
        )

    def _resume(self, job: str) -> str:
        return f"{key_of(job)}{RESUME_SUFFIX}"

    def _fetches_only(self) -> NoReturn:
        raise Unsupported("the torrent engine does not deliver", hint="it only fetches and seeds")

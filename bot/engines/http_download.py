"""One file from one link into one directory: what is there already, lanes, checkpoints."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bot.domain.ports import Fetched, FetchJob
from bot.domain.task import FileEntry, Progress
from bot.engines.curl_errors import NO_PARTS
from bot.engines.filenames import safe_name
from bot.engines.http_crew import Changed, Crew
from bot.engines.http_exchange import Access, Exchange
from bot.engines.http_heads import Head
from bot.engines.http_lane import Lane, Verdict
from bot.engines.http_pace import Growth, Meter
from bot.engines.http_partfile import PartFile
from bot.engines.http_resume import Found, Ledger
from bot.engines.http_traffic import Traffic
from bot.engines.http_workers import Buffers, Workers
from bot.errors import Corrupt, Refused, TransferError

#: Starts from zero within one fetch, before the source is called unstable.
_STARTS = 3
_FIRST_SAVE = 0.1
_SAVE_BYTES = 64 * 1024 * 1024
_SAVE_SECONDS = 5.0
_SAVE_LEAST = 1024 * 1024
_SAVE_IDLE = 60.0


@dataclass(slots=True)
class Tools:
    """What all downloads of an engine share."""

    exchange: Exchange
    workers: Workers
    buffers: Buffers
    traffic: Traffic
    max_connections: int


class Download:
    """Fetches ``job``. ``pulse`` wants to be called some times a second meanwhile."""

    def __init__(
        self, job: FetchJob, access: Access, tools: Tools, checksum: tuple[str, str] | None
    ) -> None:
        self.job = job
        self._access = access
        self._tools = tools
        self._checksum = checksum
        self._ledger = Ledger(job.directory, job.token)
        self._found = Found()
        self._part: PartFile | None = None
        self._crew: Crew | None = None
        self._before = 0
        self._splits = True
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._saved_at = time.monotonic()
        self._saved: int | None = None
        self._meter: Meter | None = None

    async def run(self) -> Fetched:
        """Do it. Raises a TransferError; what is safe stays for the next call."""
        for _ in range(_STARTS):
            try:
                return await self._attempt()
            except Changed:
                await self._start_over()
            except Corrupt:
                await self._start_over()
                raise
            except TransferError:
                if self._saved is None:
                    await self._save()
                raise
            finally:
                await self._stop()
        raise Refused(
            f"{self._access.target.host}: the file changes while it is fetched",
            hint="try again when it is at rest",
        )

    @property
    def done(self) -> int:
        """Bytes that are here, those of earlier attempts among them."""
        return self._before + (self._crew.fetched if self._crew else 0)

    def progress(self) -> Progress:
        """A sample; from any thread."""
        total, done, crew = self._found.version.size, self.done, self._crew
        return Progress(
            done=done if total is None else min(done, total),
            total=total,
            speed=self._meter.speed if self._meter else 0.0,
            connections=crew.width if crew else 0,
        )

    def pulse(self, now: float) -> None:
        """Measure the speed; wake the download where there is something to do."""
        done, crew = self.done, self._crew
        if self._meter is None:
            self._meter = Meter(done, now)
        self._meter.sample(done, now)
        if crew is None or self._part is None:
            return
        if not crew.growth.settled and not self._tools.traffic.limited(self.job.id) and crew.splits:
            self._consider(crew, self._meter.latest)
        if self._due(now) or crew.lacks():
            self._wake.set()

    def _consider(self, crew: Crew, speed: float) -> None:
        """Let the crew grow where that pays and the engine has connections to spare."""
        size, lanes = self._found.version.size, crew.lanes
        if size is None or self._tools.traffic.spare < len(lanes):
            return
        if all(lane.verdict is Verdict.TAKEN for lane in lanes) and len(lanes) >= crew.growth.width:
            crew.growth.sample(speed, size - self.done)

    # One attempt.

    async def _attempt(self) -> Fetched:
        self._found = self._ledger.restore()
        await self._look_ahead()
        self._before = self._found.ranges.size
        self._crew = crew = self._gather()
        if self._found.name is not None and self._before:
            self._part = self._open(self._found.name)
            self._part.follow()
        while True:
            crew.reap()
            if self._part is not None and self._part.error is not None:
                raise self._part.error
            if crew.idle:
                return await self._finish()
            crew.spawn()
            if self._due(time.monotonic()):
                await self._save()
            await self._wake.wait()
            self._wake.clear()

    async def _look_ahead(self) -> None:
        """FTP and SFTP say nothing along with the bytes: ask first, and compare."""
        found, size = self._found, self._found.version.size
        complete = size is not None and not found.ranges.missing(size)
        if self._access.target.web or complete:
            return
        head, _ = await self._tools.exchange.examine(self._access)
        if found.ranges.size and not (head.version.validator and found.version.fits(head.version)):
            raise Changed
        self._learn(head, self._access)

    def _learn(self, head: Head, access: Access) -> None:
        found = self._found
        found.version, found.splits = head.version, head.ranges
        wanted = self.job.options.name
        found.name = found.name or (safe_name(wanted) if wanted else head.name(access.target))

    def _gather(self) -> Crew:
        """The crew for what is missing."""
        found, size = self._found, self._found.version.size
        forced = self.job.options.segments
        most = forced or self._tools.max_connections
        width = min(forced or found.width, most)
        return Crew(
            [(found.ranges.head, None)] if size is None else list(found.ranges.missing(size)),
            Growth(width, most),
            make=self._lane,
            run=self._run_lane,
            wake=self._wake.set,
            splits=self._splits and found.splits,
        )

    def _lane(self, start: int, end: int | None) -> Lane:
        size = self._found.version.size
        lane = Lane(
            self._tools.exchange.loop,
            self._tools.buffers,
            start,
            end,
            known=self._found.version,
            bounded=end is not None and end != size,
            judge=self._judge,
        )
        self._tools.traffic.enter(lane, self.job.id)
        return lane

    async def _run_lane(self, lane: Lane) -> None:
        try:
            head, access = await self._tools.exchange.follow(self._access, lane.prepare)
            error = head.error(access.target.host) if access.target.web else None
            lane.decide()  # an answer without a body has not asked for it
        except Refused as refusal:
            if not lane.asked or refusal.details.get("curl") not in NO_PARTS:
                raise
            lane.verdict = Verdict.WHOLE
            return
        finally:
            lane.flush()
            self._tools.traffic.leave(lane)
        if lane.verdict is Verdict.TAKEN:
            self._access = access
        elif error is not None and lane.verdict is not Verdict.CHANGED:
            raise error

    def _judge(self, lane: Lane) -> tuple[Verdict, PartFile | None]:
        """What the answer in ``lane.head`` is good for. In libcurl's thread."""
        access, head, known = lane.access, lane.head, self._found.version
        if access is None or head.redirects:
            return Verdict.OTHER, None
        if access.target.web:
            verdict = _weigh(lane, head, access)
            good = verdict in {Verdict.TAKEN, Verdict.WHOLE}
            if good and lane.asked and not known.fits(head.version):
                verdict = Verdict.CHANGED
            if verdict is not Verdict.TAKEN:
                return verdict, None
            self._take(lane, head, access)
        if self._part is None:
            self._part = self._open(self._found.name or "file")
        if self.job.options.segments:
            self._call_wake()
        return Verdict.TAKEN, self._part

    def _take(self, lane: Lane, head: Head, access: Access) -> None:
        """Learn from the first answer that is taken what the others have to fit to."""
        if lane.asked:
            if self._found.version.size is None:
                self._found.version = head.version
            return
        self._learn(head, access)
        lane.end = lane.reach = head.size
        if self._crew is not None:
            self._crew.splits = self._splits and head.ranges and head.size is not None

    def _open(self, name: str) -> PartFile:
        return PartFile(
            self.job.directory,
            name,
            workers=self._tools.workers,
            buffers=self._tools.buffers,
            ranges=self._found.ranges,
            failed=self._call_wake,
            checksum=self._checksum,
        )

    def _call_wake(self) -> None:
        """Wake the download, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    # What lasts.

    def _due(self, now: float) -> bool:
        """Whether it is time for a checkpoint."""
        if self._part is None or self._found.name is None:
            return False
        passed, fresh = now - self._saved_at, self.done - (self._saved or 0)
        if self._saved is None:
            return passed >= _FIRST_SAVE
        return fresh > 0 and (
            (fresh >= _SAVE_BYTES and passed >= 1)
            or (fresh >= _SAVE_LEAST and passed >= _SAVE_SECONDS)
            or passed >= _SAVE_IDLE
        )

    async def _save(self) -> None:
        """Make a checkpoint. The first has nothing new to make durable: it says what comes."""
        if self._part is None or self._crew is None or not self.done:
            return
        done = self.done
        first = self._saved is None
        ranges = self._found.ranges if first else await self._part.sync()
        token = self._ledger.token(self._found, ranges, self._crew.growth.width)
        await self.job.checkpoint(token)
        self._saved, self._saved_at = done, time.monotonic()

    async def _finish(self) -> Fetched:
        size = self._found.version.size
        if self._part is None:
            self._part = self._open(self._found.name or "file")
        if size is None:
            size = self.done
        digest = await self._part.finish(size)
        name, self._part = self._part.name, None
        return Fetched(name, [FileEntry(name, size, digest)])

    async def _start_over(self) -> None:
        """Throw away what is there, durably: first the bytes, then the word about them."""
        if self._crew is not None and not self._crew.splits:
            self._splits = False
        await self._stop()
        self._ledger.clear()
        await self.job.checkpoint({})
        self._saved, self._saved_at = None, time.monotonic()
        self._before = 0

    async def _stop(self) -> None:
        """Let nothing go on: neither connections nor writes."""
        crew, self._crew = self._crew, None
        if crew is not None:
            self._before += crew.banked
            await crew.stop()
        part, self._part = self._part, None
        if part is not None:
            await part.close()


def _weigh(lane: Lane, head: Head, access: Access) -> Verdict:
    """Whether an HTTP answer brings what was asked for."""
    if head.error(access.target.host) is not None:
        gone = head.status == 416 and lane.asked
        return Verdict.CHANGED if gone else Verdict.OTHER
    if head.status != 206:
        return Verdict.WHOLE if lane.asked else Verdict.TAKEN
    span = head.span
    if not lane.asked or span is None or span[0] != lane.start:
        return Verdict.WHOLE
    lane.reach = span[1]
    if lane.end is None:
        lane.end = span[1] if span[2] is None else span[2]
    return Verdict.TAKEN

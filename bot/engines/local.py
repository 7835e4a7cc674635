"""Delivers to directories of this machine that lie under the configured roots."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bot.domain.integrity import Inspected, Inspection
from bot.domain.ports import (
    Capabilities,
    Delivered,
    DeliverJob,
    Fetched,
    FetchJob,
    Plan,
)
from bot.domain.task import Progress, TaskOptions
from bot.engines import local_after
from bot.engines.local_delivery import Delivery
from bot.engines.local_flow import Flow, in_thread
from bot.engines.local_inspect import Inspections
from bot.engines.local_names import Names
from bot.engines.local_roots import WORK, Roots
from bot.errors import Corrupt, Unsupported

_Result = TypeVar("_Result")
_FEW = 3  # threads for short work: more of them only wait for each other
_FRESH = 1.0  # seconds for which the root of a destination is known: a batch asks by the thousand
_LARGE = 16 * 1024 * 1024  # bytes from which a job must not hold up small ones


class LocalEngine:
    """Moves a verified file to its place, or copies it where that is another filesystem.

    ``roots`` are absolute; ``threads`` bounds the copies that run at the same time. Local files
    are no sources: they would show a user of the service what lies on its machine.
    """

    name = "local"
    capabilities = Capabilities(delivers=True, resumes=True)

    def __init__(self, roots: Sequence[Path], *, threads: int = 8) -> None:
        self._roots = Roots(roots)
        self._names = Names()
        self._located: dict[str, tuple[float, str]] = {}
        self._inspections = Inspections(self._roots)
        self._flows: dict[str, Flow] = {}
        self._limit: int | None = None
        self._limits: dict[str, int | None] = {}
        self._threads = threads
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def accepts(self, source: str) -> int:
        """Nothing: local files are no sources."""
        return 0

    def delivers_to(self, destination: str) -> bool:
        """Whether ``destination`` is an absolute path."""
        return destination.startswith("/")

    def workspace_for(self, destination: str, task: str) -> Path | None:
        """The directory (not made yet; mode 0700 is for its maker) for the work of ``task``: on the
        filesystem of the root that holds ``destination``, so that delivering is renaming.

        None where ``destination`` is not local; PolicyRefused where it lies outside of the roots.
        """
        if not self.delivers_to(destination):
            return None
        known, now = self._located.get(destination), time.monotonic()
        if known is None or now - known[0] > _FRESH:
            if len(self._located) > 64:
                self._located.clear()
            # Each name of the path is asked of the disk. A delivery does that anew.
            known = self._located[destination] = now, self._roots.locate(destination).root
        return Path(known[1], WORK, task)

    async def plan(self, source: str, options: TaskOptions) -> Plan:
        """Unsupported."""
        raise _no_source()

    async def fetch(self, job: FetchJob) -> Fetched:
        """Unsupported."""
        raise _no_source()

    async def deliver(self, job: DeliverJob) -> Delivered:
        """Put the files of ``job`` under its destination, all of them at once.

        Raises PolicyRefused (outside of the roots, no permission, name taken and ``refuse``),
        NoSpace, Unsupported (a name that the filesystem can't hold), Refused (the disk fails).
        """
        size = sum(file.size for file in job.files)
        self._limits.setdefault(job.id, job.limit)
        flow = Flow(size, functools.partial(self._rate, job.id))
        self._flows[job.id] = flow
        delivery: Delivery | None = None
        try:
            delivery = await self._run(
                flow, False, functools.partial(_prepared, job, self._roots, self._names, flow)
            )
            if job.token is None:
                await job.checkpoint(delivery.token)
            large = size >= _LARGE
            while (delivered := await self._run(flow, large, delivery.advance)) is None:
                await job.checkpoint(delivery.token)
            return delivered
        finally:
            if delivery is not None:
                delivery.close()
            self._flows.pop(job.id, None)
            self._limits.pop(job.id, None)

    async def verify(self, job: DeliverJob, delivered: Delivered) -> str:
        """``same-inode`` where the verified files themselves were moved, else ``read-back`` after
        hashing what lies there. Corrupt names the first file that differs, with both hashes."""
        size = sum(file.size for file in delivered.files)
        flow = Flow(size, lambda: None)
        self._flows[job.id] = flow
        work = functools.partial(local_after.verify, delivered, self._roots, flow)
        try:
            method, complaints = await self._run(flow, size >= _LARGE, work)
        finally:
            self._flows.pop(job.id, None)
        if complaints:
            more = f" and {len(complaints) - 1} more" if len(complaints) > 1 else ""
            raise Corrupt(
                f"what was delivered to {delivered.root} is not what was fetched: "
                f"{complaints[0]}{more}",
                hint="another program changed it, or the disk is faulty",
            )
        return method

    def inspect(self, wanted: Inspection) -> AsyncIterator[Inspected]:
        """Read each file again, behind everything else that this machine does."""
        return self._inspections.run(wanted)

    async def discard(self, job: DeliverJob, delivered: Delivered | None) -> None:
        """Remove what the delivery left, and the directories that it made while they are empty;
        a file of another that took the name meanwhile stays."""
        flow = Flow(0, lambda: None)
        await self._run(flow, False, functools.partial(local_after.discard, job, self._roots))

    def snapshot(self) -> Mapping[str, Progress]:
        """The progress of deliveries and verifications, by task id."""
        return {job: flow.progress() for job, flow in tuple(self._flows.items())}

    def set_limit(self, limit: int | None, job: str | None = None) -> None:
        """Limit the copies of the whole engine, or of one job; moving a file is not limited."""
        if job is None:
            self._limit = limit
        elif job in self._flows:
            self._limits[job] = limit

    async def cleanup(self, older_than: float) -> int:
        """Nothing: every hidden file belongs to a task, whose ``discard`` removes it."""
        return 0

    async def close(self) -> None:
        """End the threads."""
        await self._inspections.close()
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await asyncio.to_thread(pool.shutdown)

    def _rate(self, job: str) -> int | None:
        """What one job may do now: its own limit and its part of the engine's."""
        limits = [self._limits.get(job)]
        if self._limit is not None:
            limits.append(max(1, self._limit // max(1, len(self._flows))))
        return min((limit for limit in limits if limit is not None), default=None)

    async def _run(self, flow: Flow, large: bool, work: Callable[[], _Result]) -> _Result:
        """Run ``work`` in a thread; when cancelled, only after it has let go of the disk."""
        kind = "large" if large else "small"
        if kind not in self._pools:
            threads = self._threads if large else min(_FEW, self._threads)
            self._pools[kind] = ThreadPoolExecutor(threads, f"local-{kind}")
        return await in_thread(flow, self._pools[kind], work)


def _prepared(job: DeliverJob, roots: Roots, names: Names, flow: Flow) -> Delivery:
    delivery = Delivery(job, roots, names, flow)
    delivery.prepare()
    return delivery


def _no_source() -> Unsupported:
    return Unsupported(
        "files of this machine are no sources", hint="give a link, a magnet or remote:path"
    )

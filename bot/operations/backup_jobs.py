"""One thing at a time: a backup, a verification or a restore, how far it is, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bot.domain.ports import Clock
from bot.errors import Conflict, InternalFailure, MltbError
from bot.operations.backup_archive import Report

log = logging.getLogger(__name__)

T = TypeVar("T")


class _GivenUp(Exception):
    """Nobody waits for the work any more."""


async def interruptible(call: Callable[[Report], T], report: Report) -> T:
    """The result of ``call`` in a thread; when this is cancelled it ends at its next report."""
    given_up = threading.Event()

    def watched(step: str, done: int, total: int) -> None:
        if given_up.is_set():
            raise _GivenUp
        report(step, done, total)

    working = asyncio.ensure_future(asyncio.to_thread(call, watched))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        given_up.set()
        with contextlib.suppress(_GivenUp, MltbError, OSError):
            await working
        raise


@dataclass(slots=True)
class Job:
    """What is under way. ``kind`` is ``create``, ``verify``, ``restore`` or ``delete``; ``done``
    of ``total`` bytes (or pages) of the present step."""

    kind: str
    name: str
    started_at: float
    step: str = "starting"
    done: int = 0
    total: int = 0
    task: asyncio.Task[Any] | None = field(default=None, repr=False)

    def report(self, step: str, done: int, total: int) -> None:
        """Called from threads too; whoever looks in between sees numbers of two steps at worst."""
        self.step, self.done, self.total = step, done, total

    async def result(self, within: float | None = None) -> Any:
        """What it came to, or raises; TimeoutError where that takes longer than so many seconds.
        The job goes on when its caller goes away."""
        assert self.task is not None
        async with asyncio.timeout(within):
            return await asyncio.shield(self.task)


@dataclass(frozen=True, slots=True)
class Failed:
    """How the last job that failed ended."""

    kind: str
    name: str
    at: float
    code: str
    message: str


class Jobs:
    """Runs one job at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.running: Job | None = None
        self.last_failure: Failed | None = None

    def begin(self, kind: str, name: str, work: Callable[[Job], Awaitable[Any]]) -> Job:
        """Start ``work``. Conflict where another job is under way."""
        if self.running is not None:
            raise Conflict(
                f"{self.running.kind} of {self.running.name} is under way",
                hint="one at a time; wait until it is over",
            )
        job = self.running = Job(kind, name, self._clock.now())
        job.task = asyncio.create_task(self._run(job, work), name=f"backup {kind}")
        job.task.add_done_callback(_seen)
        return job

    async def _run(self, job: Job, work: Callable[[Job], Awaitable[Any]]) -> Any:
        try:
            return await work(job)
        except MltbError as error:
            self._failed(job, error)
            raise
        except Exception as error:
            log.exception("%s of backup %s: a fault of the program", job.kind, job.name)
            failure = InternalFailure(f"{job.kind} of {job.name} failed: {error!r}")
            self._failed(job, failure)
            raise failure from error
        finally:
            self.running = None

    def _failed(self, job: Job, error: MltbError) -> None:
        log.error("backup: %s of %s failed: %s", job.kind, job.name, error)
        self.last_failure = Failed(job.kind, job.name, self._clock.now(), error.code, error.message)

    async def stop(self) -> None:
        """Cancel what is under way, and wait until it has cleaned up."""
        if self.running is not None and (task := self.running.task) is not None:
            task.cancel()
            await asyncio.wait([task])


def _seen(task: asyncio.Task[Any]) -> None:
    """Nobody has to ask for a failure: it is kept, and logged."""
    if not task.cancelled():
        task.exception()

"""Compares what was delivered with its receipts, and keeps a history of that.

A check walks over receipts, the newest first, a page at a time: its place and what it found are
durable after each page, so that one that was cut off can be gone on with, and memory holds one
page however many there are. One check runs at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from bot.domain import events
from bot.domain.ids import IdSource
from bot.domain.integrity import (
    UNDECIDED,
    Check,
    CheckScope,
    CheckState,
    Condition,
    Finding,
    Inspected,
    Inspection,
    Inspector,
    Order,
)
from bot.domain.ports import Clock
from bot.domain.task import FileEntry
from bot.engines.registry import Engines
from bot.errors import Conflict, MltbError, NotFound
from bot.store.recovery import Granted, RecoveryStore

log = logging.getLogger(__name__)

_PAGE = 50  # receipts between two durable places
#: Findings that are stored of one check; the others are counted.
MAX_FINDINGS = 10_000


class DataChecker(Protocol):
    """Looks at the data directory."""

    def run(self) -> AsyncIterator[list[Finding]]:
        """What is wrong there, part by part; the numbers do not count."""


class Integrity:
    """Runs checks. ``rate`` limits their reading in bytes a second; ``keep`` of them are kept."""

    def __init__(
        self,
        *,
        store: RecoveryStore,
        engines: Engines,
        hub: events.EventHub,
        clock: Clock,
        data: DataChecker,
        rate: int | None,
        keep: int,
    ) -> None:
        self._store = store
        self._engines = engines
        self._hub = hub
        self._clock = clock
        self._data = data
        self._rate = rate
        self._keep = keep
        self._new_id = IdSource()
        self._running: Check | None = None
        self._handle: asyncio.Task[None] | None = None

    @property
    def running(self) -> Check | None:
        """The check under way."""
        return self._running

    async def settle(self) -> list[str]:
        """Mark what a crash cut off; the ids of those checks. Before the first ``start``."""
        cut = await self._store.checks(limit=100, states=[CheckState.RUNNING])
        for check in cut:
            check.state = CheckState.INTERRUPTED
            check.finished_at = self._clock.now()
            await self._store.save_check(check)
        await self._store.prune(self._keep)
        return [check.id for check in cut]

    async def start(self, user: str, order: Order) -> Check:
        """Begin a check. Conflict while another one runs."""
        if self._running is not None:
            raise Conflict(
                f"the check {self._running.id} runs already",
                hint="wait for its end, or cancel it",
                check=self._running.id,
            )
        check = Check(self._new_id(), user, order, self._clock.now(), cursor=order.cursor)
        self._running = check
        try:
            await self._store.add_check(check)
            await self._store.prune(self._keep)
        except BaseException:
            self._running = None
            raise
        self._handle = asyncio.ensure_future(self._run(check))
        return check

    async def wait(self, check_id: str, seconds: float | None) -> None:
        """Return when that check is over, at last after ``seconds`` (None: however long)."""
        running, handle = self._running, self._handle
        if running is not None and running.id == check_id and handle is not None:
            await asyncio.wait([handle], timeout=seconds)

    async def cancel(self, check_id: str) -> None:
        """End a check that runs; what it found stays. Conflict where it does not run."""
        if self._running is None or self._running.id != check_id or self._handle is None:
            raise Conflict(f"the check {check_id} does not run")
        self._running.state = CheckState.CANCELLED
        self._handle.cancel()
        await asyncio.wait([self._handle])

    async def stop(self) -> None:
        """Cut off what runs, so that it can be gone on with."""
        if self._handle is not None:
            self._handle.cancel()
            await asyncio.wait([self._handle])

    async def show(self, check_id: str) -> Check:
        """A check as it is now."""
        if self._running is not None and self._running.id == check_id:
            return self._running
        found = await self._store.check(check_id)
        if found is None:
            raise NotFound(f"there is no check {check_id!r}", hint="recovery/history has them")
        return found

    # One check

    async def _run(self, check: Check) -> None:
        began = self._clock.monotonic()
        try:
            work = self._data_pages if check.order.scope is CheckScope.DATA else self._pages
            async with contextlib.aclosing(work(check)) as pages:
                async for found in pages:
                    check.seconds = self._clock.monotonic() - began
                    await _whole(self._keep_page(check, found))
            check.state = CheckState.DONE if check.cursor is None else CheckState.PARTIAL
        except asyncio.CancelledError:
            if check.state is CheckState.RUNNING:
                check.state = CheckState.INTERRUPTED
        except MltbError as error:
            check.state, check.error = CheckState.FAILED, error.message
        except Exception:
            # The boundary of a check: a fault in it must not take the service with it.
            log.exception("check %s: a fault of the program", check.id)
            check.state, check.error = CheckState.FAILED, "a fault of the program; see the log"
        finally:
            check.seconds = self._clock.monotonic() - began
            check.finished_at = self._clock.now()
            await self._close(check)
            self._running = None

    async def _close(self, check: Check) -> None:
        try:
            await self._store.save_check(check)
        except MltbError as error:
            log.warning("check %s: its end could not be stored: %s", check.id, error)
        log.info(
            "check %s (%s): %s, %d files, %d bytes, %d wrong",
            *(check.id, check.order.scope, check.state, check.files, check.bytes, check.wrong),
        )
        self._hub.publish(
            events.IntegrityChecked(self._clock.now(), check.id, check.files, check.wrong)
        )

    async def _keep_page(self, check: Check, found: Sequence[Finding]) -> None:
        kept: list[Finding] = []
        for finding in found:
            if finding.condition in UNDECIDED:
                check.undecided += 1
            else:
                check.wrong += 1
            if check.findings < MAX_FINDINGS:
                check.findings += 1
                kept.append(msgspec.structs.replace(finding, number=check.findings))
        await self._store.save_check(check, kept)

    async def _pages(self, check: Check) -> AsyncGenerator[list[Finding], None]:
        order = check.order
        while True:
            left = _PAGE if order.limit is None else min(_PAGE, order.limit - check.receipts)
            at = msgspec.structs.replace(order, cursor=check.cursor)
            granted, cursor = await self._store.granted(at, left)
            found: list[Finding] = []
            for each in granted:
                found += await self._receipt(check, each)
            check.receipts += len(granted)
            check.cursor = cursor
            named = order.scope in {CheckScope.PATH, CheckScope.TASK}
            if named and cursor is None and check.receipts == 0 and order.cursor is None:
                found.append(Finding(0, Condition.UNKNOWN, order.target or "", None))
            yield found
            if cursor is None or (order.limit is not None and check.receipts >= order.limit):
                return

    async def _data_pages(self, _: Check) -> AsyncGenerator[list[Finding], None]:
        async for found in self._data.run():
            yield found

    async def _receipt(self, check: Check, granted: Granted) -> list[Finding]:
        """What is wrong with the files of one receipt."""
        receipt, found = granted.receipt, list[Finding]()
        if receipt.path is None:
            return found
        root = root_of(receipt.path, receipt.files)
        wanted = [e for e in receipt.files if _within(_joined(root, e.path), check.order)]
        engine = self._engines.for_destination(receipt.path)
        if not isinstance(engine, Inspector):
            return [Finding(0, Condition.NO_HASH, receipt.path, receipt.task)]
        look = Inspection(root, wanted, self._rate, check.order.read_back, granted.hashes)
        async with contextlib.aclosing(_generator(engine.inspect(look))) as inspected:
            async for each in inspected:
                check.files += 1
                check.bytes += each.size
                if each.condition is None:
                    continue
                path = _joined(root, each.path)
                if not await self._store.newer(path, receipt):
                    found.append(
                        Finding(0, each.condition, path, receipt.task, each.expected, each.found)
                    )
        return found


def root_of(path: str, files: Sequence[FileEntry]) -> str:
    """What the files of a receipt with that ``path`` are relative to.

    Of a local receipt the directory that holds ``path``; of a remote ``path`` itself, unless that
    is the one file.
    """
    if path.startswith("/"):
        return path.rpartition("/")[0] or "/"
    if len(files) == 1 and "/" not in files[0].path:
        remote, _, key = path.partition(":")
        return f"{remote}:{key.rpartition('/')[0] or ('/' if key.startswith('/') else '')}"
    return path


def _joined(root: str, relative: str) -> str:
    return f"{root}{relative}" if root.endswith(("/", ":")) else f"{root}/{relative}"


def _within(path: str, order: Order) -> bool:
    """Whether a file is one of those that were asked for."""
    if order.scope is not CheckScope.PATH or order.target is None:
        return True
    return path == order.target or path.startswith(_joined(order.target, ""))


async def _generator(found: AsyncIterator[Inspected]) -> AsyncGenerator[Inspected, None]:
    """An iterator as a generator, which can be closed."""
    async for each in found:
        yield each


async def _whole(saving: Coroutine[Any, Any, None]) -> None:
    """Await ``saving``; a caller that is cancelled meanwhile goes on (cancelled) when it is over:
    the place of a check and what it found up to there are stored together."""
    running = asyncio.ensure_future(saving)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise

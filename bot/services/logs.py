"""What the service wrote about itself: statistics, recent lines, and lines as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec

from bot.errors import TooMany
from bot.operations.log_files import LogFile, found_files
from bot.operations.log_lines import LogLine
from bot.operations.log_reader import LogQuery, LogReader, Place, Recent
from bot.services.callers import Caller, Scope

_FOLLOWERS = 16


class LogStats(msgspec.Struct, frozen=True):
    """The files of the log. ``dropped`` lines could not be written since the start."""

    enabled: bool
    directory: str
    files: int
    bytes: int
    dropped: int
    oldest: str | None
    newest: str | None


class Logs:
    """Lines tell about every user, so only admins read them. ``file`` is where this service writes
    its lines, None where it does not."""

    def __init__(self, reader: LogReader, file: LogFile | None) -> None:
        self._reader = reader
        self._file = file
        self._ending = asyncio.Event()
        self._followers = 0

    async def stats(self, caller: Caller) -> LogStats:
        """How much there is."""
        caller.require(Scope.VIEW)
        return await asyncio.to_thread(self._stats)

    def _stats(self) -> LogStats:
        files = found_files(self._reader.directory)
        return LogStats(
            enabled=self._file is not None,
            directory=str(self._reader.directory),
            files=len(files),
            bytes=sum(file.size for file in files),
            dropped=self._file.dropped if self._file is not None else 0,
            oldest=self._reader.oldest(),
            newest=self._reader.newest(),
        )

    async def recent(
        self, caller: Caller, query: LogQuery, limit: int, cursor: str | None = None
    ) -> Recent:
        """The newest lines of ``query``, or those before ``cursor``."""
        caller.require(Scope.ADMIN)
        before = None if cursor is None else Place.parse(cursor)
        return await asyncio.to_thread(self._reader.recent, query, limit, before)

    async def follow(
        self, caller: Caller, query: LogQuery, after: str | None = None
    ) -> AsyncGenerator[list[tuple[Place, LogLine]], None]:
        """Lines of ``query`` from now on, or ``after`` a place, until the service stops.

        An empty list now and then says that there are none at present.
        """
        caller.require(Scope.ADMIN)
        place = self._reader.end() if after is None else Place.parse(after)
        if self._followers >= _FOLLOWERS:
            raise TooMany("too many follow the log", hint=f"at most {_FOLLOWERS} at a time")
        return self._follow(query, place)

    async def _follow(
        self, query: LogQuery, place: Place
    ) -> AsyncGenerator[list[tuple[Place, LogLine]], None]:
        self._followers += 1
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            async with contextlib.aclosing(self._reader.follow(query, place)) as batches:
                while not self._ending.is_set():
                    coming = asyncio.ensure_future(anext(batches))
                    try:
                        await asyncio.wait([coming, ending], return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        # Also where the one who follows goes away: nothing may still read when
                        # the reader is closed.
                        coming.cancel()
                        with contextlib.suppress(asyncio.CancelledError):
                            await asyncio.wait([coming])
                    if coming.cancelled():
                        return
                    yield coming.result()
        finally:
            ending.cancel()
            self._followers -= 1

    def end(self) -> None:
        """Let those who follow go: the service stops."""
        self._ending.set()

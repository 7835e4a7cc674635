"""Reads the log: the newest lines backwards, and new ones as they come.

A place in the log is a file's number and an offset in it. Files are never renamed, so a place
stays what it is while lines are written and files begin and go.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Self

import msgspec

from bot.domain.ports import Clock
from bot.errors import InvalidInput
from bot.operations.log_files import Found, found_files
from bot.operations.log_lines import LEVELS, LogLine, parsed

_BLOCK = 64 * 1024  # bytes that are read at once
_LONGEST = 1024 * 1024  # bytes; what is longer is no line
EXAMINED = 16 * 1024 * 1024  # bytes that one question looks at
_PAUSE = 0.25  # seconds between two looks for new lines


class Place(msgspec.Struct, frozen=True, order=True):
    """A place in the log: in the file ``number``, after ``offset`` bytes."""

    number: int
    offset: int

    def __str__(self) -> str:
        return f"{self.number}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that ``str`` made ``text`` of; InvalidInput where it made none."""
        number, _, offset = text.partition("-")
        if not (number.isdecimal() and offset.isdecimal() and len(text) <= 40):
            raise InvalidInput(f"{text[:50]!r} is no place in the log", hint="give back a cursor")
        return cls(int(number), int(offset))


class LogQuery(msgspec.Struct, frozen=True):
    """Which lines: of this ``level`` and above, of this logger and those below it, of this task or
    request, with this ``text`` (without case) in message, fields or traceback, not older than
    ``since`` (as the ``time`` of a line)."""

    level: str | None = None
    logger: str | None = None
    task: str | None = None
    request: str | None = None
    text: str | None = None
    since: str | None = None

    def matches(self, line: LogLine) -> bool:
        """Whether it is one of them."""
        logger = self.logger
        return (
            (self.since is None or line.time >= self.since)
            and (self.task is None or line.task == self.task)
            and (self.request is None or line.request == self.request)
            and (self.level is None or _rank(line.level) >= _rank(self.level))
            and (logger is None or line.logger == logger or line.logger.startswith(f"{logger}."))
            and (self.text is None or self.text.casefold() in _text(line))
        )


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 0


def _text(line: LogLine) -> str:
    parts = [line.message, *map(str, line.fields.values()), line.error or ""]
    return "\n".join(parts).casefold()


class Recent(msgspec.Struct, frozen=True):
    """Lines, the newest first. ``cursor`` is where the older ones begin, None where there are no
    more; ``end`` is where the next line will be; ``skipped`` lines were none."""

    lines: list[LogLine]
    cursor: Place | None
    end: Place
    examined: int
    skipped: int


class LogReader:
    """Reads what lies in ``directory``, whoever writes it."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock

    # Backwards

    def recent(
        self, query: LogQuery, limit: int, before: Place | None = None, *, most: int = EXAMINED
    ) -> Recent:
        """The newest ``limit`` lines of ``query``, older than ``before``; of ``most`` bytes.

        Blocks: for a thread, where there is a loop.
        """
        files = found_files(self.directory)
        end = before or (Place(files[-1].number, files[-1].size) if files else Place(0, 0))
        lines: list[LogLine] = []
        examined = skipped = 0
        for at, data in _backwards(files, end):
            examined += len(data) + 1
            line = parsed(data)
            if line is None:
                skipped += bool(data)
            elif query.matches(line):
                lines.append(line)
            if len(lines) == limit or examined >= most:
                return Recent(lines, at, end, examined, skipped)
        return Recent(lines, None, end, examined, skipped)

    def oldest(self) -> str | None:
        """The ``time`` of the first line, as far as its file's first line is one."""
        for file in found_files(self.directory):
            with contextlib.suppress(FileNotFoundError), file.path.open("rb") as handle:
                line = parsed(handle.readline(_LONGEST).rstrip(b"\n"))
                if line is not None:
                    return line.time
        return None

    def newest(self) -> str | None:
        """The ``time`` of the last line."""
        lines = self.recent(LogQuery(), 1, most=_LONGEST).lines
        return lines[0].time if lines else None

    # Forwards

    def end(self) -> Place:
        """Where the next line will be."""
        files = found_files(self.directory)
        return Place(files[-1].number, files[-1].size) if files else Place(0, 0)

    async def follow(
        self, query: LogQuery, after: Place
    ) -> AsyncGenerator[list[tuple[Place, LogLine]], None]:
        """The lines of ``query`` that come ``after`` that place, each with the place behind it.

        An empty list says that there are none at present. It does not end by itself.
        """
        while True:
            after, found = self._next(query, after)
            yield found
            if not found:
                await self._clock.sleep(_PAUSE)

    def _next(self, query: LogQuery, after: Place) -> tuple[Place, list[tuple[Place, LogLine]]]:
        """What came after that place, of one block; and the place where the look ended."""
        files = found_files(self.directory)
        if files and files[-1].number < after.number:
            after = Place(0, 0)  # They were cleared away, and begin anew.
        files = [file for file in files if file.number >= after.number]
        for file in files:
            start = after.offset if file.number == after.number else 0
            is_last = file is files[-1]
            found, offset = [], start
            for offset, data in _forwards(file.path, start):
                line = parsed(data)
                if line is not None and query.matches(line):
                    found.append((Place(file.number, offset), line))
            if found or is_last or offset > start:
                return Place(file.number, offset), found
        return after, []


def _backwards(files: list[Found], end: Place) -> Iterator[tuple[Place, bytes]]:
    """The lines before ``end``, the last first, each with the place where it begins."""
    for file in reversed(files):
        if file.number > end.number:
            continue
        stop = min(end.offset, file.size) if file.number == end.number else file.size
        with contextlib.suppress(FileNotFoundError), file.path.open("rb") as handle:
            for offset, line in _lines_before(handle.fileno(), stop):
                yield Place(file.number, offset), line


def _lines_before(handle: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """What is behind the last end of a line was not written whole, or is still being written."""
    start, rest, whole = stop, b"", False
    while start > 0:
        size = min(_BLOCK, start)
        start -= size
        pieces = (os.pread(handle, size, start) + rest).split(b"\n")
        at = start + sum(map(len, pieces)) + len(pieces) - 1
        for piece in reversed(pieces[1:]):
            at -= len(piece)
            if whole:
                yield at, piece
            whole = True
            at -= 1
        rest = pieces[0] if len(pieces[0]) <= _LONGEST else b"?"
    if whole:
        yield 0, rest


def _forwards(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines from ``start`` on, up to one block of them, each with its end."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(_BLOCK)
            while b"\n" not in data and len(data) <= _LONGEST and (more := file.read(_BLOCK)):
                data += more
    except FileNotFoundError:
        return
    for line in data.split(b"\n")[:-1]:
        start += len(line) + 1
        yield start, line
    if b"\n" not in data and len(data) > _LONGEST:
        yield start + len(data), b""  # No line at all; what is behind it may be one.

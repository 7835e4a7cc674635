"""Where log lines go: a terminal for people, files for programs; and the lines of the events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import msgspec

from bot.domain import events
from bot.operations.log_files import LogFile
from bot.operations.log_lines import ForPeople, Redact, as_json, formatter

log = logging.getLogger(__name__)

#: Libraries whose ordinary lines say nothing to an operator.
_CHATTY = ("alembic", "uvicorn", "asyncio", "aiosqlite", "apprise", "urllib3")
#: One line for each event. They go to the files, and do not scroll by on a terminal.
_EVENTS = logging.getLogger("bot.events")
_TROUBLE = (events.StageFailed, events.BackupFailed, events.AlertRaised)


class _Handler(logging.Handler):
    """Formats, and never shows the arguments of a call that can't be: they may be secrets."""

    def text(self, record: logging.LogRecord) -> str:
        """The line of ``record``."""
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001 - any object may be logged, and fail to be text
            where = f"{record.pathname}:{record.lineno}"
            return self.format(
                remark(
                    logging.ERROR, f"the log call at {where} has no line: {type(error).__name__}"
                )
            )


class TerminalHandler(_Handler):
    """Lines for people; the events only where ``everything`` is wanted."""

    def __init__(self, stream: TextIO, redact: Redact, *, everything: bool) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(formatter(redact, ForPeople(coloured=stream.isatty())))
        if not everything:
            self.addFilter(lambda record: record.name != _EVENTS.name)

    def emit(self, record: logging.LogRecord) -> None:
        """Write its line; a terminal that is gone has no reader."""
        try:
            self._stream.write(self.text(record) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


class FileHandler(_Handler):
    """Lines for programs. What a full disk does not take is dropped and counted; the terminal
    hears of the first, the file of how many once there is room again."""

    def __init__(self, file: LogFile, redact: Redact) -> None:
        super().__init__()
        self._file = file
        self._lost = 0
        self.setFormatter(formatter(redact, as_json))
        # What is wrong with the file is told elsewhere.
        self.addFilter(lambda record: record.name != __name__)

    def emit(self, record: logging.LogRecord) -> None:
        """Write its line, or count it."""
        line = self.text(record).encode()
        try:
            if self._lost:
                told = f"{self._lost} lines before this one could not be written"
                self._file.write(self.text(remark(logging.WARNING, told)).encode())
                self._lost = 0
            self._file.write(line)
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                reason = error.strerror or str(error)
                log.warning("the log in %s takes no lines: %s", self._file.directory, reason)


def remark(level: int, text: str) -> logging.LogRecord:
    """A record of the log about itself."""
    return logging.LogRecord(__name__, level, __file__, 0, text, (), None)


def log_to_terminal(stream: TextIO, redact: Redact, *, level: str) -> None:
    """Write lines of ``level`` and above to ``stream``, and to nothing else that was there."""
    root = logging.getLogger()
    for handler in tuple(root.handlers):
        root.removeHandler(handler)
        handler.close()
    number = logging.getLevelNamesMapping()[level.upper()]
    everything = number <= logging.DEBUG
    root.addHandler(TerminalHandler(stream, redact, everything=everything))
    root.setLevel(number)
    logging.captureWarnings(True)
    for name in () if everything else _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def log_to_file(file: LogFile, redact: Redact) -> Iterator[None]:
    """Write lines to ``file`` too; at the end it is closed, and the terminal told what it lacks."""
    root, handler = logging.getLogger(), FileHandler(file, redact)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        file.close()
        if file.dropped:
            log.warning("%s log lines could not be written to %s", file.dropped, file.directory)


def log_event(event: events.Event) -> None:
    """One line for ``event``: a listener of the hub."""
    level = logging.WARNING if isinstance(event, _TROUBLE) else logging.INFO
    if isinstance(event, events.OperationExecuted):
        level = logging.DEBUG  # they come by the thousand, and change nothing that is not told
    if _EVENTS.isEnabledFor(level):
        fields = msgspec.structs.asdict(event)
        del fields["at"]
        task = fields.pop("task", None)
        kind = type(event).__struct_config__.tag
        _EVENTS.log(level, "%s", kind, extra={"task": task, "fields": fields})

"""The log, as the settings want it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.app.parts import Base
from bot.config import Settings
from bot.config_types import secrets_in
from bot.domain.ports import Clock
from bot.domain.redaction import Redactor
from bot.operations.log_files import LogFile
from bot.operations.log_reader import LogReader
from bot.operations.logs import log_event, log_to_file
from bot.services import Logs


def log_directory(settings: Settings) -> Path:
    """Where the files of the log are."""
    return settings.log_dir or settings.data_dir / "logs"


@contextmanager
def kept_log(settings: Settings, clock: Clock) -> Iterator[LogFile]:
    """Files for the log lines, as long as the block lasts; ConfigError where they can't be."""
    file = LogFile(
        log_directory(settings),
        clock,
        max_size=settings.log_max_size,
        max_age=settings.log_max_age,
        total_size=settings.log_total_size,
    )
    with log_to_file(file, Redactor(secrets_in(settings))):
        yield file


@contextmanager
def opened_logs(base: Base) -> Iterator[Logs]:
    """A line for each event as long as the block lasts, and the service that reads them."""
    unlisten = base.hub.listen(log_event)
    try:
        yield Logs(LogReader(log_directory(base.settings), base.clock), base.log)
    finally:
        unlisten()

"""Where the log lines of a command go: standard error, for a person."""

from __future__ import annotations

import sys

from bot.config import Settings
from bot.config_types import secrets_in
from bot.domain.redaction import Redactor
from bot.operations.logs import log_to_terminal


def start_logging(settings: Settings, *, quiet: bool) -> None:
    """Write lines of LOG_LEVEL and above; a ``quiet`` command says nothing below a warning."""
    level = settings.log_level
    if quiet and level in {"debug", "info"}:
        level = "warning"
    log_to_terminal(sys.stderr, Redactor(secrets_in(settings)), level=level)

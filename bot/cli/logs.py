"""Where log lines go: standard error, for a person."""

from __future__ import annotations

import logging

from bot.config import Settings

#: Libraries whose ordinary lines say nothing to an operator.
_CHATTY = ("alembic", "uvicorn", "asyncio")


def start_logging(settings: Settings, *, at_least: int = logging.DEBUG) -> None:
    """Write lines of LOG_LEVEL and above; ``at_least`` raises that for a short command."""
    level = max(at_least, getattr(logging, settings.log_level.upper()))
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    if settings.log_level != "debug":
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)

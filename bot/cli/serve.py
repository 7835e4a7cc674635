"""``mltb serve``: the service, until it is asked to stop."""

from __future__ import annotations

import asyncio
import logging
import sys

import uvloop

from bot.cli.host import hosted, stoppable
from bot.cli.logs import start_logging
from bot.config import Loaded, Settings
from bot.lock import Address, Doorplate


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    settings = loaded.settings
    start_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    async with stoppable() as stop, hosted(settings, public=True, restore=True) as address:
        _greet(settings, address)
        await stop.wait()
        logging.getLogger(__name__).info("stopping; what is under way goes on at the next start")
    return 0


def _greet(settings: Settings, address: Address) -> None:
    """Say where it is, what is on, and what to do first."""
    token = Doorplate(settings.data_dir).token
    limit = f", {settings.bandwidth_limit} bytes/s" if settings.bandwidth_limit else ""
    database = "PostgreSQL" if settings.database_url else "SQLite"
    allowed = ", ".join(settings.egress_allow)
    refused = f"refused but {allowed}" if allowed else "refused"
    cache = "Redis" if settings.redis_url else "memory"
    lines = [
        f"mltb is ready: {address.url}/#token={token}",
        f"  store {database} in {settings.data_dir}, cache {cache}",
        f"  {settings.max_active} tasks at a time{limit}; files go to {settings.download_dir}",
        f"  private addresses: {refused}",
        "  first link: .venv/bin/mltb mirror https://example.org/file.iso",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()

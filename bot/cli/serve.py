"""``mltb serve``: the service, until it is asked to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import closing

import uvloop

from bot.app import App, locked
from bot.app.operations_backups import build_restorer
from bot.app.parts import SystemClock
from bot.cli.host import Doors, served, stoppable
from bot.cli.log_setup import start_logging
from bot.config import Loaded, Settings
from bot.engines.children import allow_open_files
from bot.errors import MltbError
from bot.lock import Address, Doorplate
from bot.operations.backup_restore import Prepared

log = logging.getLogger(__name__)


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    settings = loaded.settings
    start_logging(settings, quiet=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    greeted = False

    def greet(address: Address) -> None:
        nonlocal greeted
        if not greeted:
            _greet(settings, address)
        greeted = True

    async with stoppable() as stop:
        await keep(settings, stop, public=True, told=greet)
    return 0


async def keep(
    settings: Settings,
    stop: asyncio.Event,
    *,
    public: bool,
    told: Callable[[Address], None],
) -> None:
    """The service, until ``stop`` is set; a backup that is to be put in place makes it start anew.
    ``told`` is called with its address at each start, ``public`` is as of ``Doors``."""
    log.debug("up to %d open files", allow_open_files())
    with locked(settings), closing(Doors(settings, public=public)) as doors:
        while True:
            async with served(settings, doors, restore=True) as (app, address):
                told(address)
                prepared = await _stopped(stop, app)
            if prepared is None:
                return
            await _put_in_place(settings, prepared)


async def _stopped(stop: asyncio.Event, app: App) -> Prepared | None:
    """Wait until the service is to stop: for a backup to put in place, or for good."""
    wanted = asyncio.ensure_future(app.services.backups.restore_wanted())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([wanted, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        stopping.cancel()
        return wanted.result()
    wanted.cancel()
    log.info("stopping; what is under way goes on at the next start")
    return None


async def _put_in_place(settings: Settings, prepared: Prepared) -> None:
    try:
        await build_restorer(settings, SystemClock()).swap(prepared)
    except MltbError as error:
        log.warning("restore: %s is not in place, the service goes on: %s", prepared.name, error)


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

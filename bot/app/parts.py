"""What the wirings hand to each other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bot.cache import Cache
from bot.config import Settings
from bot.domain.events import EventHub
from bot.domain.ports import Clock, Profiler
from bot.engines.registry import Engines
from bot.operations.log_files import LogFile
from bot.store.repository import Store
from bot.transfers.bandwidth import Governor
from bot.transfers.debris import Debris, Janitor
from bot.transfers.planner import Planner
from bot.transfers.runner import Runner
from bot.transfers.scheduler import Scheduler


class SystemClock:
    """The real time."""

    def now(self) -> float:
        """UNIX time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def database_url(settings: Settings) -> str:
    """Where the store is: DATABASE_URL, else SQLite in DATA_DIR."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir / 'mltb.db'}"


@dataclass(frozen=True, slots=True)
class Base:
    """What everything else stands on."""

    settings: Settings
    store: Store
    cache: Cache
    engines: Engines
    hub: EventHub
    clock: Clock
    profiler: Profiler
    log: LogFile | None = None


@dataclass(frozen=True, slots=True)
class Transfers:
    """What moves files."""

    planner: Planner
    runner: Runner
    scheduler: Scheduler
    debris: Debris
    janitor: Janitor
    governor: Governor

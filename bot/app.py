"""The only wiring: builds every part from the settings, and closes them in reverse."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from bot.cache import Cache, open_cache
from bot.config import Settings
from bot.domain.bandwidth import Timetable
from bot.domain.events import EventHub
from bot.domain.ports import Engine
from bot.domain.queue import Queue, QueuePolicy
from bot.domain.retry import RetryPolicy
from bot.domain.task import TaskOptions
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.engines.http import HttpEngine
from bot.engines.local import LocalEngine
from bot.engines.rclone import RcloneEngine
from bot.engines.registry import Engines
from bot.engines.torrent import TorrentEngine
from bot.engines.ytdlp import YtdlpEngine
from bot.lock import InstanceLock
from bot.services import Tasks, Tokens
from bot.store.repository import Store, open_store
from bot.transfers.bandwidth import Governor
from bot.transfers.debris import Debris
from bot.transfers.files import WORK
from bot.transfers.planner import Planner
from bot.transfers.runner import Runner
from bot.transfers.scheduler import Scheduler
from bot.transfers.space import DiskLedger
from bot.transfers.steps import build_steps, find_programs
from bot.web import server

log = logging.getLogger(__name__)

_SWEEP = 3600.0  # seconds between two sweeps of what tasks left behind


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


@dataclass(slots=True)
class App:
    """The parts that doors need. Made by ``running``."""

    settings: Settings
    store: Store
    cache: Cache
    hub: EventHub
    engines: Engines
    scheduler: Scheduler
    tasks: Tasks
    tokens: Tokens
    restored: int = 0

    def web(self) -> FastAPI:
        """The ASGI application of this service."""
        return server.build(
            self.tasks,
            self.tokens,
            ready=lambda: None if self.scheduler.open else "starting or stopping",
        )


def database_url(settings: Settings) -> str:
    """Where the store is: DATABASE_URL, else SQLite in DATA_DIR."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir / 'mltb.db'}"


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """The store alone, for what needs no service."""
    _private(settings.data_dir)
    store = await open_store(database_url(settings))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def running(settings: Settings, *, restore: bool = True) -> AsyncIterator[App]:
    """Every part, started; stopped in reverse at the end, so that the next start goes on.

    ``restore`` queues what a crash or a stop left; without it those tasks are known but wait.
    ConfigError where another process works in the same DATA_DIR.
    """
    async with AsyncExitStack() as stack:
        _private(settings.data_dir)
        stack.enter_context(InstanceLock(settings.data_dir))
        store = await stack.enter_async_context(opened_store(settings))
        secret = settings.redis_url.get_secret_value() if settings.redis_url else None
        cache = await open_cache(secret, prefix="mltb_", max_bytes=32 * 1024 * 1024)
        stack.push_async_callback(cache.close)
        clock, hub = SystemClock(), EventHub()
        engines = await _engines(settings, stack)
        app = _wire(settings, stack, store, cache, hub, engines, clock)
        app.restored = await app.scheduler.start(run_restored=restore)
        stack.push_async_callback(app.scheduler.stop)
        yield app


async def _engines(settings: Settings, stack: AsyncExitStack) -> Engines:
    policy = EgressPolicy(settings.egress_allow)
    loop = CurlLoop(policy, ca_file=settings.http_ca_file)
    stack.push_async_callback(loop.close)
    programs = find_programs(sevenzip=settings.sevenzip_path, ffmpeg=settings.ffmpeg_path)

    async def fetch_torrent(url: str, options: TaskOptions) -> bytes:
        response = await loop.request("GET", url, headers=options.headers, max_size=16 * 1024**2)
        return response.body

    engines: list[Engine] = []
    return Engines(engines)


def _wire(  # noqa: PLR0913 - the one place where every part meets
    settings: Settings,
    stack: AsyncExitStack,
    store: Store,
    cache: Cache,
    hub: EventHub,
    engines: Engines,
    clock: SystemClock,
) -> App:
    raise NotImplementedError


def _private(directory: Path) -> None:
    """Make a directory that only this user can enter."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _roots(settings: Settings) -> Sequence[Path]:
    return [*dict.fromkeys([*settings.local_roots, settings.download_dir])]

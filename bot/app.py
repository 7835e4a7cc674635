"""The only wiring: builds every part from the settings, and closes them in reverse."""

from __future__ import annotations

import asyncio
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
from bot.transfers.debris import Debris, Janitor
from bot.transfers.files import WORK
from bot.transfers.planner import Planner
from bot.transfers.runner import Runner
from bot.transfers.scheduler import Scheduler
from bot.transfers.space import DiskLedger
from bot.transfers.steps import build_steps, find_programs
from bot.web import server

_CACHE = 32 * 1024 * 1024  # bytes of the memory cache
_MAX_TORRENT = 32 * 1024 * 1024  # bytes of a .torrent behind a URL


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


@dataclass(frozen=True, slots=True)
class App:
    """The parts that doors need. Made by ``running``."""

    settings: Settings
    scheduler: Scheduler
    tasks: Tasks
    tokens: Tokens
    governor: Governor
    janitor: Janitor

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
        settings.download_dir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(InstanceLock(settings.data_dir))
        store = await stack.enter_async_context(opened_store(settings))
        redis = settings.redis_url.get_secret_value() if settings.redis_url else None
        cache = await open_cache(redis, prefix="mltb_", max_bytes=_CACHE)
        stack.push_async_callback(cache.close)
        engines = await _engines(settings, stack)
        app = _wire(settings, store, cache, engines, SystemClock())
        stack.push_async_callback(app.scheduler.stop)
        await app.scheduler.start(run_restored=restore)
        if restore:
            app.janitor.start()
            stack.push_async_callback(app.janitor.stop)
        app.governor.start()
        stack.push_async_callback(app.governor.stop)
        yield app


async def _engines(settings: Settings, stack: AsyncExitStack) -> Engines:
    policy = EgressPolicy(settings.egress_allow)
    curl = CurlLoop(policy, ca_file=settings.http_ca_file)
    stack.push_async_callback(curl.close)
    programs = find_programs(sevenzip=settings.sevenzip_path, ffmpeg=settings.ffmpeg_path)
    http = HttpEngine(
        curl,
        policy,
        max_connections=settings.http_max_connections,
        connect_timeout=settings.http_connect_timeout,
        stall_timeout=settings.http_stall_timeout,
        max_redirects=settings.http_max_redirects,
        user_agent=settings.http_user_agent,
        known_hosts=settings.sftp_known_hosts,
    )

    async def fetch_torrent(url: str, options: TaskOptions) -> bytes:
        return await http.read(url, options, max_size=_MAX_TORRENT)

    engines: list[Engine] = [
        http,
        TorrentEngine(
            policy,
            settings.data_dir / "torrents",
            fetch_torrent=fetch_torrent,
            port=settings.torrent_port,
            dht=settings.torrent_dht,
            stall_timeout=settings.torrent_stall_timeout,
            max_connections=settings.torrent_max_connections,
            seed_ratio=settings.torrent_seed_ratio,
            seed_time=settings.torrent_seed_time,
        ),
        YtdlpEngine(
            policy,
            format=settings.ytdlp_format,
            cookies=settings.ytdlp_cookies,
            max_items=settings.ytdlp_max_items,
            ffmpeg=programs.ffmpeg,
            stall_timeout=settings.http_stall_timeout,
        ),
        RcloneEngine(
            curl,
            settings.data_dir / "rclone",
            config=settings.rclone_config,
            transfers=settings.rclone_transfers,
        ),
        LocalEngine(settings.local_roots),
    ]
    found = Engines(engines)
    stack.push_async_callback(found.close)
    return found


def _wire(
    settings: Settings, store: Store, cache: Cache, engines: Engines, clock: SystemClock
) -> App:
    hub = EventHub()
    steps = build_steps(
        find_programs(sevenzip=settings.sevenzip_path, ffmpeg=settings.ffmpeg_path),
        max_size=settings.archive_max_size,
        max_files=settings.archive_max_files,
        max_ratio=settings.archive_max_ratio,
        max_depth=settings.archive_max_depth,
        timeout=settings.step_timeout,
    )
    space = DiskLedger(settings.disk_reserve, lambda: _written(engines), clock)
    planner = Planner(
        engines,
        steps,
        space,
        workspace_of=lambda destination, task: _workspace(settings, engines, destination, task),
        stream_max_size=settings.stream_max_size,
        seeds_by_default=bool(settings.torrent_seed_ratio or settings.torrent_seed_time),
    )
    runner = Runner(
        engines=engines,
        steps=steps,
        planner=planner,
        store=store,
        hub=hub,
        space=space,
        clock=clock,
        daily_bytes=settings.user_daily_bytes,
    )
    debris = Debris(
        engines, store, clock, roots=_roots(settings), keep_partial=settings.keep_partial
    )
    scheduler = Scheduler(
        queue=Queue(QueuePolicy(settings.max_active, settings.max_active_per_user)),
        runner=runner,
        store=store,
        hub=hub,
        clock=clock,
        retry=RetryPolicy(settings.retry_attempts, settings.retry_base, settings.retry_max),
        debris=debris,
        disk_wait=settings.disk_wait,
    )
    tasks = Tasks(
        store=store,
        planner=planner,
        scheduler=scheduler,
        runner=runner,
        debris=debris,
        cache=cache,
        hub=hub,
        clock=clock,
        default_destination=str(settings.download_dir),
        max_queued_per_user=settings.max_queued_per_user,
        daily_bytes=settings.user_daily_bytes,
    )
    timetable = Timetable.parse(settings.bandwidth_timetable, settings.bandwidth_limit)
    return App(
        settings=settings,
        scheduler=scheduler,
        tasks=tasks,
        tokens=Tokens(store, clock),
        governor=Governor(engines, timetable, clock),
        janitor=Janitor(debris, store, clock, keep_finished=settings.keep_finished),
    )


def _written(engines: Engines) -> dict[str, int]:
    """The bytes that each running task has on the disk."""
    return {task: progress.done for task, progress in engines.snapshot().items()}


def _workspace(settings: Settings, engines: Engines, destination: str, task: str) -> Path:
    """Where the work towards ``destination`` happens: on its filesystem where it is local."""
    engine = engines.for_destination(destination)
    if isinstance(engine, LocalEngine) and (found := engine.workspace_for(destination, task)):
        return found
    return settings.download_dir / WORK / task


def _private(directory: Path) -> None:
    """Make a directory that only this user can enter."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _roots(settings: Settings) -> Sequence[Path]:
    return [*dict.fromkeys([*settings.local_roots, settings.download_dir])]

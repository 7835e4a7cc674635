"""The service: its parts in the order in which they start, and stop in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.types import ASGIApp

from bot.app.access import gate_rules
from bot.app.engines import build_engines
from bot.app.graphql import Graphql, opened_graphql
from bot.app.logs import kept_log
from bot.app.operations import opened_operations
from bot.app.operations_backups import build_restorer
from bot.app.parts import Base, SystemClock, Transfers, database_url
from bot.app.plugins import build_plugins, opened_plugins
from bot.app.profiling import build_profiler
from bot.app.transfers import build_transfers
from bot.cache import open_cache
from bot.config import Settings
from bot.core.advanced_dashboard import dashboard_app
from bot.core.present import Present
from bot.domain.advice import NO_ADVICE
from bot.domain.events import EventHub
from bot.domain.ports import Profiler
from bot.domain.profiling import UNPROFILED
from bot.lock import InstanceLock
from bot.services import Services, Tasks, Tokens
from bot.store.repository import Store, open_store
from bot.web import server
from bot.web.attached import Served
from bot.web.gate import Gate
from bot.web.live.hub import Hub, Options
from bot.web.switch import Switch, Telling

_CACHE = 32 * 1024 * 1024  # bytes of the memory cache


@dataclass(frozen=True, slots=True)
class App:
    """The parts that doors need. Made by ``running``."""

    settings: Settings
    transfers: Transfers
    services: Services
    hub: EventHub
    profiler: Profiler
    graphql: Graphql | None
    served: Served

    async def let_go(self) -> None:
        """End the answers that have no end of their own, so that the web server can stop."""
        self.services.logs.end()
        if self.served.live is not None:
            self.served.live.end()
        if self.graphql is not None:
            await self.graphql.let_go()

    def web(self) -> ASGIApp:
        """A new ASGI application of this service."""
        scheduler = self.transfers.scheduler
        rest = server.build(
            self.served,
            ready=lambda: None if scheduler.open else "starting or stopping",
            profiler=self.profiler,
        )
        whole: ASGIApp = rest
        if self.graphql is not None:
            whole = Switch({"/graphql": self.graphql}, Telling(rest, self.graphql.changed))
        return Gate(whole, gate_rules(self.settings, SystemClock()))


#: The services of this process, the newest last.
_HERE: Present[App] = Present()


def here() -> App | None:
    """The service that runs in this process."""
    return _HERE.newest


@contextmanager
def _known(app: App) -> Iterator[None]:
    """The code beside the service finds it, for as long as this is entered."""
    # Built when another application asks for it, which few do.
    with _HERE.attached(app), dashboard_app.attached(cache(app.web)):
        yield


@asynccontextmanager
async def opened_store(settings: Settings, profiler: Profiler = UNPROFILED) -> AsyncIterator[Store]:
    """The store alone, for what needs no service."""
    _private(settings.data_dir)
    store = await open_store(database_url(settings), profiler=profiler)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def running(
    settings: Settings, *, restore: bool = True, keep_log: bool = False
) -> AsyncIterator[App]:
    """Every part, started; stopped in reverse at the end, so that the next start goes on.

    ``restore`` queues what a crash or a stop left; without it those tasks are known but wait.
    ``keep_log`` writes log lines to files too, where LOG_TO_FILE allows it.
    ConfigError where another process works in the same DATA_DIR.
    """
    with locked(settings):
        async with started(settings, restore=restore, keep_log=keep_log) as app:
            yield app


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """DATA_DIR is ours alone. ConfigError where another process works in it."""
    _private(settings.data_dir)
    with InstanceLock(settings.data_dir):
        yield


@asynccontextmanager
async def started(
    settings: Settings, *, restore: bool = True, keep_log: bool = False
) -> AsyncIterator[App]:
    """As ``running``, in a DATA_DIR that is locked already.

    Where a backup was put in place before, it has proved itself when everything has started; where
    something does not start, the state before it comes back.
    """
    restorer = build_restorer(settings, SystemClock())
    journal, outcome = await restorer.settle(), None
    stack = AsyncExitStack()
    try:
        app = await _started(settings, stack, restore=restore, keep_log=keep_log)
    except Exception as error:
        await stack.aclose()
        if journal is None:
            raise
        outcome = await restorer.roll_back(journal, f"the service did not start with it: {error}")
        app = await _started(settings, stack, restore=restore, keep_log=keep_log)
    else:
        if journal is not None:
            outcome = await restorer.confirm(journal)
    async with stack:
        if outcome is not None:
            app.services.backups.restored(outcome)
        with _known(app):
            yield app


async def _started(
    settings: Settings, stack: AsyncExitStack, *, restore: bool, keep_log: bool
) -> App:
    base = await _opened_base(settings, stack, keep_log=keep_log and settings.log_to_file)
    plugins = build_plugins(base)
    advisors = NO_ADVICE if plugins is None else plugins.advisors
    transfers = build_transfers(base, advisors, None if plugins is None else plugins.steps)
    tasks = Tasks(
        store=base.store,
        planner=transfers.planner,
        scheduler=transfers.scheduler,
        runner=transfers.runner,
        debris=transfers.debris,
        cache=base.cache,
        hub=base.hub,
        clock=base.clock,
        default_destination=str(settings.download_dir),
        max_queued_per_user=settings.max_queued_per_user,
        daily_bytes=settings.user_daily_bytes,
        advisors=advisors,
        sources=None if plugins is None else plugins.sources,
    )
    tokens = Tokens(base.store, base.clock)
    host = await stack.enter_async_context(opened_plugins(base, transfers, plugins))
    # They hear of every event, so they start before tasks and stop after them.
    services = await stack.enter_async_context(
        opened_operations(
            base,
            transfers,
            tasks,
            tokens,
            host,
            is_open=lambda: transfers.scheduler.open,
            restores=restore,
        )
    )
    stack.push_async_callback(transfers.scheduler.stop)
    await transfers.scheduler.start(run_restored=restore)
    if restore:
        transfers.janitor.start()
        stack.push_async_callback(transfers.janitor.stop)
    transfers.governor.start()
    stack.push_async_callback(transfers.governor.stop)
    graphql = await stack.enter_async_context(opened_graphql(base, services))
    browsers = settings.enable_advanced_dashboard
    live = _live(base, services) if browsers else None
    served = Served(services, live, browsers, graphql)
    return App(settings, transfers, services, base.hub, base.profiler, graphql, served)


def _live(base: Base, services: Services) -> Hub | None:
    """Who sends live metrics; None where they are off."""
    settings = base.settings
    if not settings.enable_live_metrics:
        return None
    options = Options(
        most=settings.max_dashboard_connections,
        interval=settings.dashboard_refresh,
        compresses=settings.dashboard_thresholds.data_compression,
    )
    return Hub(services, base.hub, base.clock, options)


async def _opened_base(settings: Settings, stack: AsyncExitStack, *, keep_log: bool) -> Base:
    settings.download_dir.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    log = stack.enter_context(kept_log(settings, clock)) if keep_log else None
    profiler = build_profiler(settings, clock)
    store = await stack.enter_async_context(opened_store(settings, profiler))
    redis = settings.redis_url.get_secret_value() if settings.redis_url else None
    cache = await open_cache(redis, prefix="mltb_", max_bytes=_CACHE, profiler=profiler)
    stack.push_async_callback(cache.close)
    engines = await build_engines(settings, stack)
    return Base(settings, store, cache, engines, EventHub(), clock, profiler, log)


def _private(directory: Path) -> None:
    """Make a directory that only this user can enter."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)

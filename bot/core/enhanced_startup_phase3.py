"""A whole service in a process that is not ours, for the start and the end of an application:

    from bot.core.enhanced_startup_phase3 import (
        initialize_phase3_services,
        shutdown_phase3_services,
    )

The application serves the ``router`` of ``bot.core.advanced_dashboard`` and the ``graphql_app`` of
``bot.core.graphql_api``; ``mltb`` finds the service over its unix socket. WEB_PORT stays free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from bot.app import App, here
from bot.cli.serve import keep
from bot.config import Settings, load
from bot.errors import Conflict, Unavailable
from bot.lock import Address, Doorplate

T = TypeVar("T")

__all__ = ["Status", "initialize_phase3_services", "shutdown_phase3_services"]

#: What there is by its name, each with its ``state`` (``running`` or ``off``) and its ``address``:
#: a URL where the service listens for browsers itself, else the path below which the router of the
#: dashboard and ``graphql_app`` serve it.
Status = dict[str, dict[str, str | None]]


class _Kept:
    """A service that a task of its own keeps, so that who starts it and who stops it may be
    different ones. It ends with its event loop too, as all tasks do."""

    def __init__(self, settings: Settings) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._up: asyncio.Future[None] = self.loop.create_future()
        self._task = self.loop.create_task(
            keep(settings, self._stop, public=False, told=self._told), name="mltb"
        )

    def _told(self, _: Address) -> None:
        if not self._up.done():
            self._up.set_result(None)

    @property
    def over(self) -> bool:
        """Whether nothing is left of it."""
        return self._task.done() or self.loop.is_closed()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    async def up(self) -> None:
        """Wait until it runs, or is over; raises what kept it from running."""
        await asyncio.wait([self._task, self._up], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task

    async def stopped(self) -> None:
        """Stop it, and wait until it is over; raises what went wrong after it ran. What went wrong
        before was told to who started it."""
        self._stop.set()
        await asyncio.wait([self._task])
        if self._up.done():
            await self._task


class _Here:
    """What this process keeps."""

    kept: _Kept | None = None


_here = _Here()


async def initialize_phase3_services() -> Status:
    """Start the service, with the settings as ``mltb serve`` reads them, and say what runs.

    Where one runs in this process already, by whomever it was started, it says what runs of that
    and starts nothing. ConfigError where the settings are wrong, or another process works in the
    same DATA_DIR; then, and after a shutdown, it can be called again.
    """
    if (loop := _elsewhere()) is not None:
        return await _on(loop, initialize_phase3_services())
    while (own := _here.kept) is not None and own.stopping and not own.over:
        await own.stopped()
    # Nothing is awaited from the look to the start: of concurrent calls one starts it.
    if own is None or own.over:
        own = _here.kept = None if here() is not None else _Kept(load().settings)
    if own is not None:
        await own.up()
    if (app := here()) is None:
        raise Unavailable(
            "the service does not run just now",
            hint="it was asked to stop meanwhile, or puts a backup in place: call again",
        )
    return _status(app)


async def shutdown_phase3_services() -> None:
    """Stop the service that ``initialize_phase3_services`` started, so that its next start goes on
    where it was. One that something else started is left alone."""
    if (loop := _elsewhere()) is not None:
        await _on(loop, shutdown_phase3_services())
        return
    own = _here.kept
    if own is None or own.over:
        return
    try:
        await own.stopped()
    finally:
        if _here.kept is own:
            _here.kept = None


def _elsewhere() -> asyncio.AbstractEventLoop | None:
    """The event loop of another thread that keeps the service: what is done is done there."""
    kept = _here.kept
    if kept is None or kept.over or kept.loop is asyncio.get_running_loop():
        return None
    if not kept.loop.is_running():
        raise Conflict(
            "the service is kept by an event loop that does not run",
            hint="start and stop it on the event loop that your application runs on",
        )
    return kept.loop


async def _on(loop: asyncio.AbstractEventLoop, what: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(what, loop))


def _status(app: App) -> Status:
    settings = app.settings
    address = Doorplate(settings.data_dir).address()
    url = (address and address.url) or ""
    socket = f"unix:{address.socket}" if address else None
    parts = {
        "graphql_api": (app.graphql is not None, "/graphql"),
        "plugin_system": (settings.enable_plugin_system, "/api/v3/plugins/list"),
        "advanced_dashboard": (app.served.dashboard, "/api/v3/dashboard"),
        "live_metrics": (app.served.live is not None, "/api/v3/ws/live-metrics"),
        "query_optimization": (
            settings.enable_graphql_api and settings.enable_query_optimization,
            "/graphql",
        ),
        "metrics": (
            settings.enable_advanced_metrics,
            "/metrics" if url else "/api/v3/metrics/current",
        ),
    }
    found: Status = {"service": {"state": "running", "address": url or socket}}
    for name, (on, path) in parts.items():
        whole = f"{url}{path}"
        if "/ws/" in path:
            whole = whole.replace("http", "ws", 1)
        found[name] = {"state": "running" if on else "off", "address": whole if on else None}
    return found

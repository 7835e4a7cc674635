"""Runs the service: for ``mltb serve``, and privately for one command where none runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import cast

import uvicorn

from bot.app import App, locked, started
from bot.cli.client import Client
from bot.config import Settings
from bot.engines.children import allow_open_files
from bot.errors import ConfigError, Unauthenticated, Unavailable
from bot.lock import Address, Doorplate, held
from bot.services import Scope
from bot.web.wire import JoinedHttp, websocket

log = logging.getLogger(__name__)

_SOCKET = "mltb.sock"
_BACKLOG = 2048
_STARTING = 30.0  # seconds that a command waits for a service that starts
_WS_MESSAGE = 1024 * 1024  # bytes of a WebSocket message; doors have lower limits of their own
_SUN_PATH = 100  # bytes that a path of a unix socket may have, with a margin


class _Server(uvicorn.Server):
    """uvicorn under our own signals: the service stops its tasks before its sockets."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us."""
        yield


async def own_token(app: App) -> str:
    """The token of the user of this machine: made once, kept with mode 0600 in DATA_DIR."""
    plate = Doorplate(app.settings.data_dir)
    known = plate.token
    if known is not None:
        with contextlib.suppress(Unauthenticated):
            await app.services.tokens.authenticate(known)
            return known
    secret, _ = await app.services.tokens.create("this machine", Scope.ADMIN)
    plate.keep_token(secret)
    return secret


class Doors:
    """The sockets that a process listens on, while services come and go behind them: whoever
    knocks in between waits. ``public``: on WEB_HOST:WEB_PORT too."""

    def __init__(self, settings: Settings, *, public: bool) -> None:
        self._settings = settings
        self.public = public
        self._sockets: list[socket.socket] = []
        self._address: Address | None = None

    def open(self) -> tuple[list[socket.socket], Address]:
        """Sockets for one service, which closes them, and where they are. ConfigError where the
        port is taken."""
        if self._address is None:
            self._sockets, self._address = _listen(self._settings, public=self.public)
        return [each.dup() for each in self._sockets], self._address

    def close(self) -> None:
        """Listen no more."""
        for each in self._sockets:
            each.close()


@asynccontextmanager
async def hosted(settings: Settings, *, public: bool, restore: bool) -> AsyncIterator[Address]:
    """The service, listening on its unix socket, and where ``public`` on WEB_HOST:WEB_PORT too.

    ConfigError where the port is taken.
    """
    log.debug("up to %d open files", allow_open_files())
    with locked(settings), contextlib.closing(Doors(settings, public=public)) as doors:
        async with served(settings, doors, restore=restore) as (_, address):
            yield address


@asynccontextmanager
async def served(
    settings: Settings, doors: Doors, *, restore: bool
) -> AsyncIterator[tuple[App, Address]]:
    """A service behind these doors, in a DATA_DIR that is locked already."""
    # What a single command does is for its terminal; the log is the service's.
    async with started(settings, restore=restore, keep_log=restore) as app:
        await own_token(app)
        sockets, address = doors.open()
        config = uvicorn.Config(
            app.web(),
            http=JoinedHttp,
            ws=cast("type[asyncio.Protocol]", websocket),
            ws_max_size=_WS_MESSAGE,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=3,
        )
        server = _Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=sockets))
        plate = Doorplate(settings.data_dir)
        plate.publish(address)
        try:
            yield app, address
        finally:
            plate.withdraw()
            await app.let_go()
            server.should_exit = True
            await serving


def _listen(settings: Settings, *, public: bool) -> tuple[list[socket.socket], Address]:
    path = settings.data_dir / _SOCKET
    if len(os.fsencode(path)) > _SUN_PATH:
        raise ConfigError(
            f"DATA_DIR is too long for a unix socket: {path}",
            hint=f"at most {_SUN_PATH - len(_SOCKET) - 1} bytes",
        )
    path.unlink(missing_ok=True)
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.bind(str(path))
    path.chmod(0o600)
    # From now on whoever comes is waiting, not refused: the address is told before uvicorn is up.
    local.listen(_BACKLOG)
    if not public:
        return [local], Address(os.getpid(), None, str(path))
    outer = _bind(settings.web_host, settings.web_port)
    host, port = outer.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return [local, outer], Address(os.getpid(), f"http://{shown}:{port}", str(path))


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        outer = socket.socket(family, kind, protocol)
        outer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        outer.bind(where)
        outer.listen(_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} can't be listened on: {error.strerror}",
            hint="set another WEB_HOST or WEB_PORT, or stop what listens there",
        ) from None
    return outer


@asynccontextmanager
async def stoppable() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def asked(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def running_service(settings: Settings) -> AbstractContextManager[Client] | None:
    """A client of the running service, None where none runs."""
    plate = Doorplate(settings.data_dir)
    address = _found(settings, plate)
    return None if address is None else contextlib.closing(_client(address, plate))


def with_service(settings: Settings, work: Callable[[Client], int], *, start: bool) -> int:
    """The result of ``work`` with a client of the running service; where none runs, of one that is
    started for this alone (``start``), else ConfigError."""
    plate = Doorplate(settings.data_dir)
    address = _found(settings, plate)
    if address is not None:
        return _with_client(address, plate, work)
    if not start:
        raise Unavailable(f"no service runs in {settings.data_dir}", hint="mltb serve starts it")
    return asyncio.run(_alone(settings, work))


def _found(settings: Settings, plate: Doorplate) -> Address | None:
    """Where a service listens, once it does: one that starts or stops holds the directory before
    and after."""
    deadline = time.monotonic() + _STARTING
    while (address := plate.address()) is None and held(settings.data_dir):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the process that works in {settings.data_dir} does not say where it listens",
                hint="look at its log; it starts, stops or hangs",
            )
        time.sleep(0.05)
    return address


async def _alone(settings: Settings, work: Callable[[Client], int]) -> int:
    async with hosted(settings, public=False, restore=False) as address, stoppable() as stop:
        plate = Doorplate(settings.data_dir)
        working = asyncio.ensure_future(asyncio.to_thread(_with_client, address, plate, work))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            return working.result()
        log.warning("stopped; the task is stored, and the same command goes on with it")
        # The thread ends when the service closes its connection; whichever comes first, that or
        # the end of the loop, is as it should be.
        working.add_done_callback(lambda done: done.cancelled() or done.exception())
        return 128 + signal.SIGINT


def _with_client(address: Address, plate: Doorplate, work: Callable[[Client], int]) -> int:
    with contextlib.closing(_client(address, plate)) as client:
        return work(client)


def _client(address: Address, plate: Doorplate) -> Client:
    token = plate.token
    if token is None:
        raise Unauthenticated(
            f"there is no token in {plate.directory}", hint="mltb token create makes one"
        )
    return Client(address.socket, token)

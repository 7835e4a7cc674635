"""Where notifications go: a port that anything can stand behind, and apprise behind it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import unquote

from bot.domain.alerts import Alert, Notification, Severity
from bot.domain.plain import plain
from bot.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from apprise import NotifyBase

_T = TypeVar("_T")

_SECONDS = 30.0  # for one message; apprise itself gives up a connection after 4
_THREADS = 8
_SECRET = re.compile(r"[^/@:?&=,\s]{4,}")
_KINDS = {
    Severity.CRITICAL: "failure",
    Severity.HIGH: "failure",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
}


class Channel(Protocol):
    """One place where notifications go."""

    @property
    def name(self) -> str:
        """Its name, one of a kind."""

    @property
    def shown(self) -> str | None:
        """Where it leads, for people, without secrets; None where there is no such place."""

    async def send(self, notification: Notification) -> None:
        """Tell it. Unavailable (with the reason, without secrets) where it did not get there: it
        is sent again later, so it may arrive twice."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a channel is told of, and how often. Empty means all."""

    min_severity: Severity = Severity.LOW
    severities: frozenset[Severity] = frozenset()
    rules: frozenset[str] = frozenset()
    resolved: bool = True
    per_minute: int = 10

    def wants(self, alert: Alert) -> bool:
        """Whether an alert is one of those."""
        return (
            alert.severity.rank <= self.min_severity.rank
            and (not self.severities or alert.severity in self.severities)
            and (not self.rules or alert.rule in self.rules)
        )


class Threads:
    """Daemon threads, a few at a time, for libraries that block.

    One that hangs holds its place, and does not hold up the end of the program.
    """

    def __init__(self, most: int = _THREADS) -> None:
        self._free = asyncio.Semaphore(most)

    async def run(self, call: Callable[[], _T], name: str) -> _T:
        """The result of ``call`` in a thread. A caller that is cancelled leaves it behind."""
        loop = asyncio.get_running_loop()
        await self._free.acquire()
        future: asyncio.Future[_T] = loop.create_future()

        def settle(result: _T | None, error: BaseException | None) -> None:
            self._free.release()
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001 - goes to who waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=work, name=name, daemon=True).start()
        return await future


class AppriseChannel:
    """One URL of apprise: Telegram, Slack, Discord, mail, webhooks and a hundred more."""

    def __init__(self, name: str, url: str, threads: Threads) -> None:
        """ConfigError where apprise does not know such a URL. Nothing is sent."""
        self._name = name
        self._url = url
        self._threads = threads
        self._running: asyncio.Future[bool] | None = None
        with _listening() as lines:
            service = _apprise_service(url)
        if service is None:
            raise ConfigError(
                f"ALERT_CHANNELS: the url of channel {name!r} is none that apprise can use"
                + "".join(f": {self._redacted(line)}" for line in lines[-1:]),
                hint="such as json://host:8080/path, tgram://TOKEN/CHAT or "
                "mailto://USER:PASSWORD@host; the documentation of apprise lists them",
            )
        self._service = service

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def shown(self) -> str:
        """The URL for people: its scheme alone. What follows may be a token in any place."""
        return self._url.partition("://")[0] + "://***"

    async def send(self, notification: Notification) -> None:
        """Tell it, in a thread: apprise blocks."""
        if self._running is not None and not self._running.done():
            raise Unavailable(f"channel {self._name}: the message before still hangs")
        lines: list[str] = []
        call = functools.partial(self._notify, notification, lines)
        self._running = asyncio.ensure_future(self._threads.run(call, f"alert {self._name}"))
        try:
            sent = await asyncio.wait_for(asyncio.shield(self._running), _SECONDS)
        except TimeoutError:
            raise Unavailable(f"channel {self._name}: no answer in {_SECONDS:g} seconds") from None
        if not sent:
            reason = self._redacted(lines[-1]) if lines else "apprise gave no reason"
            raise Unavailable(f"channel {self._name}: {reason}")

    def _notify(self, notification: Notification, lines: list[str]) -> bool:
        from apprise import NotifyFormat, NotifyType

        resolved = notification.kind == "resolved"
        kind = "success" if resolved else _KINDS[notification.severity]
        with _listening() as heard:
            try:
                return bool(
                    self._service.notify(
                        body=notification.body,
                        title=notification.title,
                        notify_type=NotifyType(kind),
                        body_format=NotifyFormat.TEXT,
                    )
                )
            except Exception as error:  # noqa: BLE001 - a hundred plugins raise what they like
                heard.append(f"{type(error).__name__}: {error}")
                return False
            finally:
                lines += heard

    def _redacted(self, line: str) -> str:
        """What apprise says, without any part of the URL: tokens are in its paths, too."""
        parts = {*_SECRET.findall(self._url), *_SECRET.findall(unquote(self._url))}
        for secret in sorted(parts, key=len, reverse=True):
            line = line.replace(secret, "***")
        return plain(line, 300)


def _apprise_service(url: str) -> NotifyBase | None:
    with warnings.catch_warnings():
        # It imports a hundred services, some of them by ways that Python will drop.
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise

        found: NotifyBase | None = Apprise.instantiate(url, suppress_exceptions=True)
        return found


class _Lines(logging.Handler):
    """The warnings of one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """What apprise logs in this thread meanwhile. Its lines go nowhere else: they hold URLs."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    # What apprise sends with writes the paths of URLs, and so tokens, when the level is debug.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    handler = _Lines()
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)

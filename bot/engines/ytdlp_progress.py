"""How far yt-dlp is, in its own process: what it reports, at which pace it may go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from bot.engines.ytdlp_errors import clean

Send = Callable[[dict[str, Any]], None]

_SAMPLE = 0.5  # seconds between two reports of progress


class Pace:
    """Slows the download to ``limit`` bytes a second (None: not at all); any thread may set it.

    ``on_wait`` is called about twice a second while it waits.
    """

    def __init__(self, limit: int | None, on_wait: Callable[[], None]) -> None:
        self._limit = limit
        self._on_wait = on_wait
        self._lock = threading.Lock()
        self._next = 0.0

    def set(self, limit: int | None) -> None:
        """From now on; who waits for an earlier limit waits no longer."""
        with self._lock:
            self._limit = limit
            self._next = 0.0

    def spent(self, count: int) -> None:
        """``count`` bytes came; wait until more may come."""
        with self._lock:
            if not self._limit:
                return
            self._next = max(self._next, time.monotonic() - _SAMPLE) + count / self._limit
        while (left := self._next - time.monotonic()) > 0:
            time.sleep(min(left, _SAMPLE))
            self._on_wait()


class Progress:
    """Adds up the parts of all items; ``expected`` is what one item should have."""

    def __init__(self, send: Send, pace: Pace) -> None:
        self._send = send
        self._pace = pace
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._expected = 0
        self._certain = True
        self._items = 0
        self._of = 1
        self._sent = 0.0

    def item(self, expected: int | None, certain: bool, of: int) -> None:
        """An item begins, the next of ``of``."""
        with self._lock:
            self._items += 1
            self._of = max(of, self._items)
            self._expected += expected or 0
            self._certain = self._certain and certain and expected is not None

    def hook(self, state: dict[str, Any]) -> None:
        """yt-dlp's progress hook."""
        name = str(state.get("filename"))
        done = int(state.get("downloaded_bytes") or state.get("total_bytes") or 0)
        with self._lock:
            fresh = done - self._done.get(name, done)
            self._done[name] = done
            total = state.get("total_bytes") or state.get("total_bytes_estimate") or 0
            self._total[name] = max(done, int(total))
            self._certain = self._certain and bool(state.get("total_bytes"))
            message = self._message()
        if message is not None:
            self._send(message)
        self._pace.spent(max(0, fresh))

    def _message(self) -> dict[str, Any] | None:
        now = time.monotonic()
        if now - self._sent < _SAMPLE:
            return None
        self._sent = now
        known = max(self._expected, sum(self._total.values()))
        total = known * self._of // max(1, self._items)
        return {
            "progress": sum(self._done.values()),
            "total": total or None,
            "is_estimate": not self._certain or self._of > self._items,
        }


class Log:
    """yt-dlp's logger: its lines tell the service that something moves."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sent = 0.0

    def debug(self, message: str) -> None:
        """A line for a screen."""
        now = time.monotonic()
        if now - self._sent >= _SAMPLE:
            self._sent = now
            self._send({"pulse": clean(message)})

    info = warning = error = debug

"""The process that runs libtorrent: ``python -m bot.engines.torrent_worker``.

It reads calls from its standard input and writes answers and events to its standard output, as
``wire`` says; one thread waits for both the service and libtorrent. The end of its input is its
end: the service is gone or needs it no more.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any

from bot.engines import torrent_load
from bot.engines.torrent_job import WorkerError
from bot.engines.torrent_session import Session
from bot.engines.wire import Splitter, pack

_CHUNK = 256 * 1024
_TICK = 1.0
_BLOCK = 16_000
_M_MMAP_THRESHOLD = -3


class Worker:
    """Waits for calls on ``source`` and answers on ``sink`` (file descriptors)."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._splitter = Splitter()
        self._session: Session | None = None
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rope, False)
        self._next_tick = 0.0

    def run(self) -> None:
        """Serve until the input ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._source, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while self._turn(selector):
                pass
        if self._session is not None:
            self._session.close()

    def _turn(self, selector: selectors.BaseSelector) -> bool:
        busy = self._session is not None and self._session.busy
        wait = max(0.0, self._next_tick - time.monotonic()) if busy else None
        ready = {key.fd for key, _ in selector.select(wait)}
        if self._bell in ready:
            os.read(self._bell, _CHUNK)
        if self._source in ready:
            data = os.read(self._source, _CHUNK)
            if not data:
                return False
            for message in self._splitter.feed(data):
                self._serve(message)
        if self._session is not None:
            self._session.pump()
            if busy and time.monotonic() >= self._next_tick:
                self._next_tick = time.monotonic() + _TICK
                self._session.tick()
        return True

    def _serve(self, message: dict[str, Any]) -> None:
        try:
            self._dispatch(message)
        except WorkerError as error:
            self._answer(message, error=error.code, message=error.message)
        except (OSError, RuntimeError) as error:
            # libtorrent reports everything that it refuses as RuntimeError.
            what = f"the torrent engine could not {message['op']}: {error}"
            self._answer(message, error="internal", message=what)

    def _dispatch(self, message: dict[str, Any]) -> None:
        if message["op"] == "open":
            self._session = Session(message, self._write, self._rope)
            self._answer(message, result={"port": self._session.port})
            return
        session = self._session
        if session is None:
            raise WorkerError("internal", "the worker got a call before it was opened")
        if message["op"] == "drop":
            session.drop(message, lambda result: self._answer(message, result=result))
            return
        calls: dict[str, Callable[[dict[str, Any]], Any]] = {
            "add": session.add,
            "limit": session.limit,
            "report": session.report,
            "inspect": torrent_load.inspect,
            "inspect_magnet": torrent_load.inspect_magnet,
        }
        self._answer(message, result=calls[message["op"]](message))

    def _answer(self, message: dict[str, Any], /, **answer: Any) -> None:
        if "id" in message:
            self._write({"id": message["id"], **answer})

    def _write(self, message: dict[str, Any]) -> None:
        data = memoryview(pack(message))
        while data:
            data = data[os.write(self._sink, data) :]


def _give_memory_back() -> None:
    """Blocks of torrents are 16 KiB each. By default the C library (glibc's, mallopt(3)) keeps a
    hundred megabytes of them after a fast torrent; mapped one by one they go back at once.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _BLOCK)


def main() -> None:
    """Serve on the standard streams; whatever else prints goes to standard error."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _give_memory_back()
    sink = os.dup(1)
    os.dup2(2, 1)
    Worker(0, sink).run()


if __name__ == "__main__":
    main()

"""What a server saw and sent, for tests to assert on."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Seen:
    """One request and what became of it. Times are monotonic seconds, `sent` counts body bytes.

    `status`, `sent` and `whole` are noted before the last byte goes out, so that a client that has
    it all finds them right; `finished` is noted after.
    """

    method: str
    target: str
    path: str
    headers: tuple[tuple[str, str], ...]
    peer: str
    connection: int
    body: bytes = b""
    started: float = field(default_factory=time.monotonic)
    finished: float | None = None
    status: int = 0
    offset: int = 0
    sent: int = 0
    whole: bool = False
    expected: int | None = None

    def header(self, name: str) -> str | None:
        """The first value of a header, in any case of letters."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def range(self) -> str | None:
        return self.header("Range")

    @property
    def authorization(self) -> str | None:
        return self.header("Authorization")

    @property
    def host(self) -> str | None:
        return self.header("Host")


class Recorder:
    """The requests of one server, from all of its threads.

    `max_active` is the most bodies that were on the way at a time: ask that of a client with few
    connections. `max_connections` may count one that its client has just closed.
    """

    def __init__(self) -> None:
        # Re-entrant: a condition of `wait_for` calls the questions below.
        self._changed = threading.Condition(threading.RLock())
        self._seen: list[Seen] = []
        self._open = 0
        self._active = 0
        self.connections = 0
        self.max_connections = 0
        self.max_active = 0
        self.peers: list[str] = []

    # What the server tells.

    def opened(self, peer: str) -> int:
        with self._changed:
            self.connections += 1
            self._open += 1
            self.max_connections = max(self.max_connections, self._open)
            self.peers.append(peer)
            self._changed.notify_all()
            return self.connections

    def closed(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def began(self, seen: Seen) -> Seen:
        with self._changed:
            self._seen.append(seen)
            self._active += 1
            self.max_active = max(self.max_active, self._active)
            self._changed.notify_all()
        return seen

    def answering(self, seen: Seen, status: int, offset: int, expected: int | None) -> None:
        """The head is about to go out, with `expected` bytes to follow (None: not known)."""
        with self._changed:
            seen.status, seen.offset, seen.expected = status, offset, expected
            self._sent_all(seen)

    def sending(self, seen: Seen, count: int) -> None:
        """Bytes are about to go out; less than nothing takes back what did not."""
        with self._changed:
            seen.sent += count
            self._sent_all(seen)
            self._changed.notify_all()

    def _sent_all(self, seen: Seen) -> None:
        if not seen.whole and seen.expected is not None and seen.sent >= seen.expected:
            seen.whole = True
            self._active -= 1

    def ended(self, seen: Seen, *, whole: bool) -> None:
        with self._changed:
            if not seen.whole:
                self._active -= 1
            seen.whole = whole
            seen.finished = time.monotonic()
            self._changed.notify_all()

    # What a test asks.

    @property
    def open_connections(self) -> int:
        return self._open

    def requests(self, path: str | None = None, method: str | None = None) -> list[Seen]:
        """The requests so far, oldest first, of one path or method if given."""
        with self._changed:
            return [
                seen
                for seen in self._seen
                if (path is None or seen.path == path) and (method is None or seen.method == method)
            ]

    def count(self, path: str | None = None, method: str | None = None) -> int:
        return len(self.requests(path, method))

    def bytes_sent(self, path: str | None = None) -> int:
        """Body bytes handed to the kernel; a client that went away may have read fewer."""
        return sum(seen.sent for seen in self.requests(path))

    def ranges(self, path: str | None = None) -> list[str]:
        """The `Range` headers asked, in order; requests without one are left out."""
        return [seen.range for seen in self.requests(path) if seen.range is not None]

    def authorizations(self, path: str | None = None) -> list[str]:
        return [
            seen.authorization for seen in self.requests(path) if seen.authorization is not None
        ]

    def spans(self, path: str) -> list[tuple[int, int]]:
        """The parts of the resource sent with 200 or 206, as `[start, stop)`, sorted."""
        good = [seen for seen in self.requests(path) if seen.status in (200, 206) and seen.sent]
        return sorted((seen.offset, seen.offset + seen.sent) for seen in good)

    def repeated(self, path: str) -> int:
        """How many bytes of the resource were sent more than once."""
        total = covered = end = 0
        for start, stop in self.spans(path):
            total += stop - start
            covered += max(0, stop - max(start, end))
            end = max(end, stop)
        return total - covered

    def clear(self) -> None:
        """Forget the requests; those still running go on unrecorded."""
        with self._changed:
            self._seen.clear()

    def wait_for(self, condition: "Callable[[Recorder], bool]", timeout: float = 10.0) -> None:
        """Block until `condition(self)` holds; `TimeoutError` if it does not in time.

        The condition is asked again whenever something was opened, sent or closed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise TimeoutError(f"the server did not see it within {timeout} s")

    async def until(self, condition: "Callable[[Recorder], bool]", timeout: float = 10.0) -> None:
        """`wait_for` that leaves the event loop free."""
        await asyncio.to_thread(self.wait_for, condition, timeout)

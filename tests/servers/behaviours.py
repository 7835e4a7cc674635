"""How an HTTP route goes wrong: each wraps a route and changes one thing.

They compose, the outermost last: `Throttled(DropAfter(route, 3 * MIB, times=2), rate=MIB)`.
"""

import base64
import gzip
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.servers.message import FOREVER, Body, Hangup, Request, Response, Route, pieces, text


class Countdown:
    """How often a thing still happens; None is for ever. Safe between threads."""

    def __init__(self, times: int | None) -> None:
        self._left = times
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0


def at(body: Body, offset: int, action: Callable[[], None]) -> Iterator[bytes]:
    """The body, with `action` called once exactly `offset` bytes are out."""
    left: int | None = offset
    for piece in pieces(body):
        if left is None or len(piece) < left:
            left = None if left is None else left - len(piece)
            yield piece
            continue
        if left:
            yield piece[:left]
        action()
        if rest := piece[left:]:
            yield rest
        left = None


# What the client may ask.


@dataclass(frozen=True)
class NoRanges:
    """Always the whole body. `advertise` says that ranges work all the same: a liar."""

    inner: Route
    advertise: bool = False

    def __call__(self, request: Request) -> Response:
        response = self.inner(request.without("Range", "If-Range"))
        return response.set("Accept-Ranges", "bytes" if self.advertise else "none")


@dataclass(frozen=True)
class WrongRange:
    """Answers 206, but with other bytes than were asked: those `shift` further on."""

    inner: Route
    shift: int = 1

    def __call__(self, request: Request) -> Response:
        asked = request.header("Range")
        if asked is None:
            return self.inner(request)
        moved = re.sub(r"\d+", lambda number: str(int(number[0]) + self.shift), asked)
        headers = (*request.without("Range").headers, ("Range", moved))
        return self.inner(replace(request, headers=headers))


@dataclass(frozen=True)
class NoHead:
    """GET only, as many download links are; `status` is what HEAD gets."""

    inner: Route
    status: int = 405

    def __call__(self, request: Request) -> Response:
        return text(self.status) if request.method == "HEAD" else self.inner(request)


# Who may ask.


@dataclass(frozen=True)
class BasicAuth:
    inner: Route
    user: str
    password: str

    def __call__(self, request: Request) -> Response:
        secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if request.header("Authorization") == f"Basic {secret}":
            return self.inner(request)
        return text(401).set("WWW-Authenticate", 'Basic realm="test"')


@dataclass(frozen=True)
class DigestAuth:
    """RFC 7616 with MD5 and `qop=auth`."""

    inner: Route
    user: str
    password: str
    nonce: str = "dcd98b7102dd2f0e8b11d0f600bfb0c0"

    def __call__(self, request: Request) -> Response:
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', request.header("Authorization") or ""))
        if given.get("response") == self._expected(request, given):
            return self.inner(request)
        challenge = f'Digest realm="test", nonce="{self.nonce}", qop="auth", algorithm=MD5'
        return text(401).set("WWW-Authenticate", challenge)

    def _expected(self, request: Request, given: dict[str, str]) -> str:
        def md5(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode()).hexdigest()

        who = md5(self.user, "test", self.password)
        what = md5(request.method, request.target)
        count, client = given.get("nc", ""), given.get("cnonce", "")
        return md5(who, self.nonce, count, client, given.get("qop", ""), what)


@dataclass(frozen=True)
class Needs:
    """Asks for a header with a value (a cookie, a bearer token, a referer), else 403."""

    inner: Route
    name: str
    value: str
    status: int = 403

    def __call__(self, request: Request) -> Response:
        if request.header(self.name) == self.value:
            return self.inner(request)
        return text(self.status)


# When it answers.


class Sequence:
    """Each request gets the next route, and the last for ever: content that changes.

    `only` counts just the requests it holds for (say, `lambda request: request.method == "GET"`).
    """

    def __init__(
        self, *routes: Route, only: Callable[[Request], bool] = lambda request: True
    ) -> None:
        self._routes = list(routes)
        self._only = only
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        with self._lock:
            route = self._routes[0]
            if len(self._routes) > 1 and self._only(request):
                self._routes.pop(0)
        return route(request)


class Switch:
    """One of several routes, until the test turns it."""

    def __init__(self, *routes: Route) -> None:
        self._routes = routes
        self.at = 0

    def turn(self, to: int = 1) -> None:
        self.at = to

    def __call__(self, request: Request) -> Response:
        return self._routes[self.at](request)


class FailTimes:
    """The first `times` requests fail with `status`, those after are served."""

    def __init__(
        self, inner: Route, status: int = 503, times: int = 1, retry_after: str | None = None
    ) -> None:
        self._inner = inner
        self._status = status
        self._retry_after = retry_after
        self._count = Countdown(times)

    def __call__(self, request: Request) -> Response:
        if self._count.take():
            return text(self._status).set("Retry-After", self._retry_after)
        return self._inner(request)


class AtMost:
    """So many bodies at a time, else `status`: a host that limits connections."""

    def __init__(self, inner: Route, limit: int, status: int = 503) -> None:
        self._inner = inner
        self._status = status
        self._free = threading.Semaphore(limit)

    def __call__(self, request: Request) -> Response:
        if request.method == "HEAD":
            return self._inner(request)
        if not self._free.acquire(blocking=False):
            return text(self._status)
        response = self._inner(request)
        place = _Place(self._free)
        response.body = place.leave_before_end(response.body, response.length)
        response.after.append(place.leave)
        return response


class _Place:
    """One of the places that `AtMost` has, given back once."""

    def __init__(self, free: threading.Semaphore) -> None:
        self._free: threading.Semaphore | None = free

    def leave(self) -> None:
        if self._free is not None:
            self._free.release()
            self._free = None

    def leave_before_end(self, body: Body, length: int | None) -> Iterator[bytes]:
        # Before the last bytes go out: who has them may come again at once.
        out = 0
        for piece in pieces(body):
            out += len(piece)
            if length is not None and out >= length:
                self.leave()
            yield piece


class Gate:
    """Holds responses back until the test opens it: tests need no sleep.

    `reached.wait(5)` returns once a response came to it.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    def shut(self) -> None:
        self._opened.clear()
        self.reached.clear()

    def hold(self, request: Request) -> None:
        self.reached.set()
        while not self._opened.is_set():
            # Ends by hanging up when the client goes or the server stops.
            request.pause(0.01)


@dataclass(frozen=True)
class Gated:
    """Sends the head and `after` bytes, then waits at the gate; None waits before the head."""

    inner: Route
    gate: Gate
    after: int | None = 0

    def __call__(self, request: Request) -> Response:
        if self.after is None:
            self.gate.hold(request)
            return self.inner(request)
        response = self.inner(request)
        response.body = at(response.body, self.after, lambda: self.gate.hold(request))
        return response


# How fast it answers.


@dataclass(frozen=True)
class Throttled:
    """At most `rate` bytes per second for each response; `step` is the size of one write."""

    inner: Route
    rate: float
    step: int | None = None

    def __call__(self, request: Request) -> Response:
        response = self.inner(request)
        response.body = self._slow(request, response.body)
        return response

    def _slow(self, request: Request, body: Body) -> Iterator[bytes]:
        step = self.step or max(1, min(64 * 1024, int(self.rate / 50)))
        started, sent = time.monotonic(), 0
        for piece in pieces(body):
            for low in range(0, len(piece), step):
                yield piece[low : low + step]
                sent += min(step, len(piece) - low)
                ahead = started + sent / self.rate - time.monotonic()
                if ahead > 0:
                    request.pause(ahead)


def trickle(inner: Route, rate: float = 5.0) -> Route:
    """A few bytes per second, one at a time: never idle, never done."""
    return Throttled(inner, rate, step=1)


@dataclass(frozen=True)
class SlowHead:
    """The status line and headers come byte by byte, `rate` a second."""

    inner: Route
    rate: float = 20.0

    def __call__(self, request: Request) -> Response:
        response = self.inner(request)
        response.head_rate = self.rate
        return response


# How far it comes.


class StallAfter:
    """Sends `after` bytes and then nothing, with the connection open; `times` responses of it."""

    def __init__(self, inner: Route, after: int, times: int | None = None) -> None:
        self._inner = inner
        self._after = after
        self._count = Countdown(times)

    def __call__(self, request: Request) -> Response:
        def stall() -> None:
            if self._count.take():
                request.pause(FOREVER)

        response = self._inner(request)
        response.body = at(response.body, self._after, stall)
        return response


class DropAfter:
    """Closes the connection after `after` bytes of a body; `times` responses of it."""

    def __init__(
        self, inner: Route, after: int, times: int | None = None, *, reset: bool = False
    ) -> None:
        self._inner = inner
        self._after = after
        self._count = Countdown(times)
        self._reset = reset

    def __call__(self, request: Request) -> Response:
        def drop() -> None:
            if self._count.take():
                raise Hangup(reset=self._reset)

        response = self._inner(request)
        response.body = at(response.body, self._after, drop)
        return response


# What it says about the body.


@dataclass(frozen=True)
class Misdeclared:
    """A Content-Length that is `by` bytes too big, or too small when negative."""

    inner: Route
    by: int

    def __call__(self, request: Request) -> Response:
        response = self.inner(request)
        response.length = (response.length or 0) + self.by
        return response


@dataclass(frozen=True)
class Chunked:
    """No length: chunked transfer, or, with `until_close`, the end of the connection."""

    inner: Route
    until_close: bool = False

    def __call__(self, request: Request) -> Response:
        response = self.inner(request)
        response.length = None
        response.chunked = not self.until_close
        response.close = self.until_close
        return response


@dataclass(frozen=True)
class Gzipped:
    """The body with `Content-Encoding: gzip`, asked for or not (`honest=False`)."""

    inner: Route
    honest: bool = True

    def __call__(self, request: Request) -> Response:
        asked = "gzip" in (request.header("Accept-Encoding") or "")
        response = self.inner(request.without("Range") if asked or not self.honest else request)
        if response.status != 200 or (self.honest and not asked):
            return response
        body = gzip.compress(b"".join(pieces(response.body)), 1, mtime=0)
        response.body, response.length = body, len(body)
        return response.set("Content-Encoding", "gzip").set("Vary", "Accept-Encoding")

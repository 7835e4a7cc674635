"""An HTTP/1.1 server in threads of its own, whose routes misbehave on demand.

    with HttpServer() as server:
        url = server.add("/file.bin", Resource(Generated(10 * MIB, seed=1)))
        ...
        assert server.seen.repeated("/file.bin") == 0

The routes are in `routes.py` (what is served) and `behaviours.py` (how it goes wrong).
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.servers.content import Seed
from tests.servers.message import (
    BadRequest,
    Hangup,
    Request,
    Response,
    Route,
    pieces,
    read_request,
    text,
)
from tests.servers.recorder import Recorder, Seen
from tests.servers.routes import Generated, Resource

_RESET = struct.pack("ii", 1, 0)
_BODILESS = (204, 304)


class HttpServer:
    """Serves routes until it is left. With `tls`, it is an HTTPS server.

    `errors` holds what routes raised by mistake; leaving the context raises the first of them.
    """

    def __init__(self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.tls = tls
        self.seen = Recorder()
        self.errors: list[Exception] = []
        self.port = 0
        self._exact: dict[str, Route] = {}
        self._under: dict[str, Route] = {}
        self._lock = threading.Lock()
        self._stopping = False
        self._sockets: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None

    # Routes.

    def add(self, path: str, route: Route) -> str:
        """Answer one path with a route; returns its URL."""
        self._exact[path] = route
        return self.url(path)

    def mount(self, prefix: str, route: Route) -> str:
        """Answer every path under a prefix that ends in a slash; returns its URL."""
        self._under[prefix] = route
        return self.url(prefix)

    def content(self, path: str, size: int, seed: Seed = 0) -> str:
        """The usual case: `size` well-served bytes, with ranges; returns the URL."""
        return self.add(path, Resource(Generated(size, seed)))

    def url(self, path: str = "/", *, host: str | None = None, auth: str = "") -> str:
        """The address of a path; `host` names another host, `auth` is `user:password`."""
        name = host or self.host
        shown = f"[{name}]" if ":" in name else name
        scheme = "https" if self.tls else "http"
        at = f"{auth}@" if auth else ""
        return f"{scheme}://{at}{shown}:{self.port}{quote(path, safe='/?&=%~')}"

    # Life.

    def start(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.create_server((self.host, 0), family=family, backlog=1024)
        self.port = listener.getsockname()[1]
        # Shutting a listener down wakes `accept` on Linux only; elsewhere the timeout does.
        listener.settimeout(0.2)
        self._listener = listener
        self._spawn(self._accept, listener)
        return self

    def stop(self) -> None:
        """Cut every connection and wait for the threads. Stopping twice is fine."""
        self._stopping = True
        if self._listener is None:
            return
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        deadline = time.monotonic() + 10
        while (threads := list(self._threads)) and time.monotonic() < deadline:
            threads[0].join(1)
        self._listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self.errors and error is None:
            raise self.errors[0]

    def cut(self) -> None:
        """Drop every open connection, and go on listening: a network that blinked."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    # Threads.

    def _spawn(self, target: object, *args: object) -> None:
        def run() -> None:
            try:
                target(*args)  # type: ignore[operator]
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=f"http-{self.port}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping:
            try:
                sock, address = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            sock.setblocking(True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._converse, sock, str(address[0]))

    @contextlib.contextmanager
    def _kept(self, sock: socket.socket, peer: str) -> Iterator[int]:
        with self._lock:
            self._sockets.add(sock)
            if self._stopping:
                sock.shutdown(socket.SHUT_RDWR)
        number = self.seen.opened(peer)
        try:
            yield number
        finally:
            with self._lock:
                self._sockets.discard(sock)
            sock.close()
            self.seen.closed()

    def _converse(self, sock: socket.socket, peer: str) -> None:
        # A client that leaves is nothing to report, nor is one that refuses the certificate.
        with self._kept(sock, peer) as number, contextlib.suppress(OSError):
            if self.tls is None:
                self._answer_all(sock, peer, number)
            else:
                self._converse_securely(self.tls, sock, peer, number)

    def _converse_securely(
        self, tls: ssl.SSLContext, sock: socket.socket, peer: str, number: int
    ) -> None:
        with tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secure:
            with self._lock:
                self._sockets.add(secure)
            try:
                secure.do_handshake()
                self._answer_all(secure, peer, number)
            finally:
                with self._lock:
                    self._sockets.discard(secure)

    def _answer_all(self, sock: socket.socket, peer: str, number: int) -> None:
        with sock.makefile("rb") as reader:
            while not self._stopping:
                try:
                    request = read_request(reader, sock, peer, number)
                except (BadRequest, ValueError):
                    sock.sendall(text(400, "not HTTP").head())
                    return
                if request is None or not self._answer(sock, request):
                    return

    # One request.

    def _route(self, path: str) -> Route:
        if path in self._exact:
            return self._exact[path]
        under = [prefix for prefix in self._under if path.startswith(prefix)]
        if under:
            return self._under[max(under, key=len)]
        return lambda request: text(404, f"no route for {request.path}")

    def _answer(self, sock: socket.socket, request: Request) -> bool:
        """Answer one request; whether the connection can take another."""
        seen = self.seen.began(
            Seen(
                request.method,
                request.target,
                request.path,
                request.headers,
                request.peer,
                request.connection,
                request.body,
            )
        )
        whole = False
        try:
            response = self._respond(request)
            try:
                self._write(sock, request, response, seen)
            finally:
                for action in response.after:
                    action()
            whole = True
            return _reusable(request, response, seen.sent)
        except Hangup as hangup:
            if hangup.reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return False
        finally:
            self.seen.ended(seen, whole=whole)

    def _respond(self, request: Request) -> Response:
        try:
            return self._route(request.path)(request)
        except Hangup:
            raise
        except Exception as error:  # noqa: BLE001 - a route's mistake must not pass unseen
            self.errors.append(error)
            return text(500, f"the route failed: {error!r}")

    def _write(self, sock: socket.socket, request: Request, response: Response, seen: Seen) -> None:
        head = response.head()
        empty = request.method == "HEAD" or response.status in _BODILESS
        expected = 0 if empty else None if response.chunked else response.length
        self.seen.answering(seen, response.status, response.offset, expected)
        if response.head_rate:
            for byte in head:
                sock.sendall(bytes((byte,)))
                request.pause(1 / response.head_rate)
            head = b""
        if empty:
            sock.sendall(head)
        elif isinstance(response.body, bytes) and not response.chunked:
            self.seen.sending(seen, len(response.body))
            sock.sendall(head + response.body)
        else:
            sock.sendall(head)
            self._stream(sock, response, seen)

    def _stream(self, sock: socket.socket, response: Response, seen: Seen) -> None:
        for piece in pieces(response.body):
            if response.chunked:
                sock.sendall(b"%x\r\n" % len(piece))
            rest = memoryview(piece)
            while rest:
                self.seen.sending(seen, len(rest))
                count = 0
                try:
                    count = sock.send(rest)
                finally:
                    if count < len(rest):
                        self.seen.sending(seen, count - len(rest))
                rest = rest[count:]
            if response.chunked:
                sock.sendall(b"\r\n")
        if response.chunked:
            sock.sendall(b"0\r\n\r\n")


def _reusable(request: Request, response: Response, sent: int) -> bool:
    if response.close or (request.header("Connection") or "").lower() == "close":
        return False
    if request.version != "HTTP/1.1":
        return False
    if request.method == "HEAD" or response.status in _BODILESS or response.chunked:
        return True
    return response.length == sent

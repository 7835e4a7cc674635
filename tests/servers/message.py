"""A request read from a socket, a response to write to one, and the routes between them."""

import select
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from io import BufferedReader
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

Body = bytes | Iterable[bytes]
Headers = list[tuple[str, str]]

FOREVER = 3600.0
_LINE = 64 * 1024
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Hangup(Exception):
    """Raised by a route or a body: the connection ends here, with a reset if asked."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("hang up")
        self.reset = reset


@dataclass(frozen=True)
class Request:
    """What the client asked. `path` is decoded, `target` is as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: str
    connection: int
    sock: socket.socket = field(repr=False)
    version: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def without(self, *names: str) -> "Request":
        """The same request, as if these headers had not been sent."""
        dropped = {name.lower() for name in names}
        kept = tuple(item for item in self.headers if item[0].lower() not in dropped)
        return replace(self, headers=kept)

    def pause(self, seconds: float = FOREVER) -> None:
        """Wait, but hang up at once when the client goes or the server stops.

        A stopping server shuts its sockets down, which ends the poll as a client's leaving does.
        """
        poll = select.poll()
        poll.register(self.sock.fileno(), _GONE)
        if poll.poll(seconds * 1000):
            raise Hangup


@dataclass
class Response:
    """What goes back. `length` is what is declared, true or not; None declares nothing.

    `offset` is where in the resource the body starts, for the recorder. What is in `after` is
    called once the body is out or has failed.
    """

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: Body = b""
    length: int | None = None
    chunked: bool = False
    offset: int = 0
    close: bool = False
    head_rate: float | None = None
    after: list[Callable[[], object]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def set(self, name: str, value: str | None) -> "Response":
        """Replace a header; None removes it."""
        wanted = name.lower()
        self.headers = [item for item in self.headers if item[0].lower() != wanted]
        if value is not None:
            self.headers.append((name, value))
        return self

    def head(self) -> bytes:
        """The status line and the headers, as they go over the wire."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.length is not None and self.status not in (204, 304):
            lines.append(f"Content-Length: {self.length}")
        if self.close:
            lines.append("Connection: close")
        # A hostile header is not ASCII: UTF-8 bytes come in as surrogates or as Latin-1.
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "surrogateescape")


class Route(Protocol):
    """Answers a request. Behaviours are routes that wrap another."""

    def __call__(self, request: Request, /) -> Response: ...


def text(status: int, body: str | bytes = b"", kind: str = "text/plain; charset=utf-8") -> Response:
    """A short answer."""
    data = body.encode() if isinstance(body, str) else body
    return Response(status, [("Content-Type", kind)], data, len(data))


def pieces(body: Body) -> Iterator[bytes]:
    """The body as chunks, whatever it is."""
    if isinstance(body, bytes):
        if body:
            yield body
    else:
        yield from body


class BadRequest(Exception):
    """What came was not HTTP."""


def read_request(
    reader: BufferedReader, sock: socket.socket, peer: str, connection: int
) -> Request | None:
    """The next request of a connection; None when the client closed it instead."""
    line = reader.readline(_LINE)
    if not line.strip():
        return None
    try:
        method, target, version = line.decode("latin-1").split()
    except ValueError:
        raise BadRequest from None
    headers = tuple(_read_headers(reader))
    request = Request(method, target, headers, b"", peer, connection, sock, version)
    if (request.header("Expect") or "").lower() == "100-continue":
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    return replace(request, body=_read_body(reader, request))


def _read_headers(reader: BufferedReader) -> Iterator[tuple[str, str]]:
    while line := reader.readline(_LINE).strip(b"\r\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequest
        yield name, value.strip()


def _read_body(reader: BufferedReader, request: Request) -> bytes:
    if (request.header("Transfer-Encoding") or "").lower() == "chunked":
        return b"".join(_read_chunks(reader))
    return reader.read(int(request.header("Content-Length") or 0))


def _read_chunks(reader: BufferedReader) -> Iterator[bytes]:
    while size := int(reader.readline(_LINE).split(b";")[0], 16):
        yield reader.read(size)
        reader.readline(_LINE)
    while reader.readline(_LINE).strip():
        pass

"""One libcurl request, and its answer where that is small."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pycurl

from bot.engines.egress import EgressPolicy
from bot.errors import InvalidInput, PolicyRefused


class Handle:
    """A libcurl easy handle that opens sockets only where the policy lets it.

    ``host`` is the name in its URL, ``refused`` what the policy said, ``unix_socket`` the only
    address of a handle that talks to a child of the service. ``curl`` belongs to the thread of
    the loop while it runs. Who sets ``excess`` to False is told whether more came than announced.
    """

    __slots__ = (
        "curl",
        "detail",
        "excess",
        "headers",
        "host",
        "policy",
        "refused",
        "satisfied",
        "scheme",
        "shown",
        "unix_socket",
    )

    def __init__(
        self, curl: pycurl.Curl, policy: EgressPolicy, url: str, unix_socket: Path | None
    ) -> None:
        self.curl = curl
        self.policy = policy
        self.scheme, self.host = _scheme_and_host(url)
        self.shown = str(unix_socket) if unix_socket else self.host
        self.unix_socket = unix_socket
        self.headers: list[bytes] = []
        self.satisfied = False
        self.excess: bool | None = None
        self.refused: PolicyRefused | None = None
        self.detail: str | None = None

    def set(self, option: int, value: Any) -> None:
        """CURLOPT ``option``; not while it runs."""
        self.curl.setopt(option, value)

    def stop(self) -> int:
        """What a write callback returns to end the transfer well before the body ends."""
        self.satisfied = True
        return 0

    def listen(self, kind: int, text: bytes) -> None:
        """CURLOPT_DEBUGFUNCTION: libcurl only mentions it when more came than was announced."""
        if kind == pycurl.INFOTYPE_TEXT and text.startswith(b"Excess found"):
            self.excess = True

    def open_socket(self, _purpose: int, address: Any) -> Any:
        """CURLOPT_OPENSOCKETFUNCTION: a socket for ``address``, or none."""
        family, kind, protocol, where = address
        if (family == socket.AF_UNIX) is not (self.unix_socket is not None):
            return pycurl.SOCKET_BAD
        if family != socket.AF_UNIX:
            try:
                self.policy.check(where[0], self.host.strip("[]"))
            except PolicyRefused as refusal:
                self.refused = refusal
                return pycurl.SOCKET_BAD
        try:
            return _Passing(socket.socket(family, kind, protocol).detach())
        except OSError as error:
            self.detail = f"no socket: {error.strerror}"
            return pycurl.SOCKET_BAD


class _Passing:
    """A descriptor on its way to pycurl, which takes a copy of it and leaves the original."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def __del__(self) -> None:
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to ``CurlLoop.request``; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Answer:
    """Collects one answer: status, headers, and a body of at most ``max_size`` bytes."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._chunks: list[bytes] = []
        self._size = 0
        self.too_big = False
        self.status = 0
        self.headers: dict[str, str] = {}

    def clear(self) -> None:
        """Start over, for another answer."""
        self._chunks.clear()
        self._size = 0

    def header(self, line: bytes) -> None:
        """CURLOPT_HEADERFUNCTION; an answer after an interim one starts over."""
        if line.startswith(b"HTTP/"):
            fields = line.split(None, 2)
            self.status = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
            self.headers = {}
            return
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            self.headers[name.strip().lower()] = value.strip()

    def write(self, data: bytes) -> int | None:
        """CURLOPT_WRITEFUNCTION; ends the transfer where the body is too big."""
        self._size += len(data)
        if self._size > self._max_size:
            self.too_big = True
            return 0
        self._chunks.append(data)
        return None

    def response(self) -> Response:
        """What has come."""
        return Response(self.status, self.headers, b"".join(self._chunks))


def _scheme_and_host(url: str) -> tuple[str, str]:
    """As libcurl reads them, which is what counts for the policy."""
    try:
        parsed = pycurl.CurlUrl(url)
    except (pycurl.error, UnicodeError):
        raise InvalidInput("the URL is malformed", hint="scheme://host/path is meant") from None
    return (parsed.scheme or "").lower(), (parsed.host or "").lower()


def unread(fd: int) -> bool:
    """Whether the peer has sent something that nobody asked for. It would be the rest of a body
    that is longer than announced; libcurl reads no further than that."""
    if fd < 0:
        return False
    with socket.socket(fileno=os.dup(fd)) as copy:
        try:
            return bool(copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

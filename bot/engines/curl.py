"""libcurl in one thread: what every HTTP, FTP and SFTP request of the service goes through.

One multi handle is driven by its socket interface, so that a thousand slow transfers cost as much
as their bytes and no more. Every socket is opened by ``Handle``, which asks the egress policy about
the very address that is about to be connected to: redirects, retries, FTP data connections and a
second DNS answer pass there as well. Source of the interface: libcurl-multi(3),
curl_multi_socket_action(3), CURLOPT_OPENSOCKETFUNCTION(3).
"""

from __future__ import annotations

import asyncio
import ipaddress
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pycurl

from bot.engines.curl_errors import transfer_error
from bot.engines.curl_handle import Answer, Handle, Response, unread
from bot.engines.egress import EgressPolicy
from bot.engines.urls import PORTS
from bot.errors import (
    Corrupt,
    InternalFailure,
    MltbError,
    NetworkFailed,
)

#: Answers the addresses of ``(host, port)`` in place of DNS.
Resolve = Callable[[str, int], Sequence[str]]
_Ended = asyncio.Future[tuple[int, str]]

#: libcurl reads this many bytes of a socket at once; one such buffer serves all handles.
RECEIVE_BUFFER = 512 * 1024
_TICK = 0.1
_SPARE_HANDLES = 64
_IDLE_CONNECTIONS = 64
_PROTOCOLS = (
    pycurl.PROTO_HTTP
    | pycurl.PROTO_HTTPS
    | pycurl.PROTO_FTP
    | pycurl.PROTO_FTPS
    | pycurl.PROTO_SFTP
)


class CurlLoop:
    """Runs libcurl handles in a thread of its own, which starts with the first of them.

    ``policy`` says which addresses may be reached; ``ca_file`` is a PEM file of more certificate
    authorities; ``resolve`` answers names in place of DNS (its answers are checked like any).
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        ca_file: Path | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._policy = policy
        self._ca_file = ca_file
        self._ca_text: str | None = None
        self._resolve = resolve
        self._spare: deque[pycurl.Curl] = deque(maxlen=_SPARE_HANDLES)
        self._calls: deque[Callable[[], None]] = deque()
        self._waking = threading.Lock()
        self._awake = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._running: dict[pycurl.Curl, tuple[Handle, _Ended]] = {}
        self._ended: list[tuple[_Ended, tuple[int, str]]] = []
        self._tickers: dict[object, Callable[[float], None]] = {}
        self._deadline: float | None = None

    def handle(self, url: str, *, unix_socket: Path | None = None) -> Handle:
        """A handle for one request to ``url``: no proxy, netrc, cookie, redirect or decoding.

        InvalidInput where ``url`` is malformed, PolicyRefused where its scheme or literal address
        is not allowed. Hand it back with ``release`` when it is not needed any more.
        """
        if unix_socket is None:
            self._policy.check_url(url, PORTS)
        curl = self._spare.pop() if self._spare else pycurl.Curl()
        handle = Handle(curl, self._policy, url, unix_socket)
        self._configure(handle, url)
        if self._resolve is not None and unix_socket is None:
            self._pin(handle, url, self._resolve)
        return handle

    def _configure(self, handle: Handle, url: str) -> None:
        set_option = handle.curl.setopt
        set_option(pycurl.URL, url)
        set_option(pycurl.NOSIGNAL, 1)
        set_option(pycurl.PROXY, "")
        set_option(pycurl.NOPROXY, "*")
        set_option(pycurl.PROTOCOLS, _PROTOCOLS)
        set_option(pycurl.REDIR_PROTOCOLS, 0)
        set_option(pycurl.FOLLOWLOCATION, 0)
        set_option(pycurl.HTTP_CONTENT_DECODING, 0)
        set_option(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        set_option(pycurl.BUFFERSIZE, RECEIVE_BUFFER)
        set_option(pycurl.OPENSOCKETFUNCTION, handle.open_socket)
        if handle.unix_socket is not None:
            set_option(pycurl.UNIX_SOCKET_PATH, str(handle.unix_socket))
        elif self._ca_file is not None:
            if self._ca_text is None:
                self._ca_text = self._ca_file.read_text()
            handle.curl.set_ca_certs(self._ca_text)

    def _pin(self, handle: Handle, url: str, resolve: Resolve) -> None:
        """Let ``resolve`` answer for the host instead of DNS, unless it is an address already."""
        port = urlsplit(url).port or PORTS[handle.scheme]
        try:
            ipaddress.ip_address(handle.host.strip("[]"))
        except ValueError:
            found = [f"[{text}]" if ":" in text else text for text in resolve(handle.host, port)]
            if not found:
                raise NetworkFailed(f"{handle.host}: the name can't be resolved") from None
            handle.set(pycurl.RESOLVE, [f"{handle.host}:{port}:{','.join(found)}"])

    def release(self, handle: Handle) -> None:
        """Take back a handle that does not run."""
        handle.curl.reset()
        self._spare.append(handle.curl)

    async def perform(self, handle: Handle) -> None:
        """Run ``handle`` to its end. Raises a TransferError that says what went wrong.

        Cancelling removes the handle; none of its callbacks run after that.
        """
        if handle.headers:
            handle.set(pycurl.HTTPHEADER, handle.headers)
        loop = asyncio.get_running_loop()
        ended: _Ended = loop.create_future()
        self.call(lambda: self._add(handle, ended))
        try:
            code, text = await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.call(lambda: self._remove(handle))
            while not ended.done():
                try:
                    await asyncio.shield(ended)
                except asyncio.CancelledError:
                    continue
            raise
        if code == pycurl.E_OK or (code == pycurl.E_WRITE_ERROR and handle.satisfied):
            return
        text = handle.detail or text
        raise handle.refused or transfer_error(code, text, handle.shown, handle.scheme)

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        unix_socket: Path | None = None,
        timeout: float = 30.0,
        max_size: int = 16 * 1024 * 1024,
    ) -> Response:
        """One request with its whole answer in memory, whatever its status; for small answers.

        ``timeout`` in seconds for all of it; Corrupt where the body has more than ``max_size``
        bytes.
        """
        handle = self.handle(url, unix_socket=unix_socket)
        answer = Answer(max_size)
        handle.headers += [f"{name}: {value}".encode() for name, value in (headers or {}).items()]
        handle.set(pycurl.CUSTOMREQUEST, method)
        if method == "HEAD":
            handle.set(pycurl.NOBODY, 1)
        if body is not None:
            handle.set(pycurl.POSTFIELDS, body)
            handle.headers.append(b"Expect:")
        handle.set(pycurl.TIMEOUT_MS, max(1, int(timeout * 1000)))
        handle.set(pycurl.HEADERFUNCTION, answer.header)
        handle.set(pycurl.WRITEFUNCTION, answer.write)
        try:
            await self.perform(handle)
            return answer.response()
        except MltbError:
            if answer.too_big:
                raise Corrupt(
                    f"the answer of {handle.shown} has more than {max_size} bytes"
                ) from None
            raise
        finally:
            self.release(handle)

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function``, which must not raise, in the thread of the loop, soon."""
        with self._waking:
            if self._closed:
                raise InternalFailure("the network part of the service is closed")
            self._calls.append(function)
            if self._thread is None:
                self._start()
            elif not self._awake:
                self._awake = True
                self._bell.send(b"\0")

    def resume(self, handle: Handle) -> None:
        """Go on receiving, from any thread; nothing happens where the handle has ended."""
        if self._closed:
            return

        def go_on() -> None:
            if handle.curl in self._running:
                handle.curl.pause(pycurl.PAUSE_CONT)

        self.call(go_on)

    def limit(self, handle: Handle, rate: int | None) -> None:
        """Receive at most ``rate`` bytes a second from now on, from any thread."""
        if self._closed:
            return

        def change() -> None:
            if handle.curl in self._running:
                handle.curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, rate or 0)

        self.call(change)

    def every_tick(self, key: object, function: Callable[[float], None]) -> None:
        """Call ``function(now)`` about ten times a second while handles run (monotonic seconds)."""
        self.call(lambda: self._tickers.__setitem__(key, function))

    def no_tick(self, key: object) -> None:
        """End what ``every_tick`` began."""

        def forget() -> None:
            self._tickers.pop(key, None)

        self.call(forget)

    async def close(self) -> None:
        """End the thread. Handles that still run end with an error."""
        with self._waking:
            self._closed = True
            thread = self._thread
            if thread is not None and not self._awake:
                self._awake = True
                self._bell.send(b"\0")
        if thread is not None:
            await asyncio.to_thread(thread.join)
        self._spare.clear()

    # What follows runs in the thread of the loop.

    def _start(self) -> None:
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="curl", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._time)
        self._multi.setopt(pycurl.M_MAXCONNECTS, _IDLE_CONNECTIONS)
        ticked = 0.0
        while not self._closed:
            self._drain()
            self._wait()
            self._finish()
            now = time.monotonic()
            if self._tickers and now - ticked >= _TICK:
                ticked = now
                for function in tuple(self._tickers.values()):
                    function(now)
        self._end()

    def _drain(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def _wait(self) -> None:
        """One round: wait for sockets and the timer, and let libcurl act on them."""
        timeout = None if self._deadline is None else self._deadline - time.monotonic()
        if self._tickers and self._running:
            timeout = _TICK if timeout is None else min(timeout, _TICK)
        if self._calls or self._ended:
            timeout = 0
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._ear:
                self._hear()
                continue
            bits = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
            if events & selectors.EVENT_WRITE:
                bits |= pycurl.CSELECT_OUT
            self._multi.socket_action(key.fd, bits)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _hear(self) -> None:
        with self._waking:
            self._awake = False
            self._ear.recv(64)

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """CURLMOPT_SOCKETFUNCTION: which events of ``fd`` libcurl wants."""
        events = 0
        if what in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            events |= selectors.EVENT_READ
        if what in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            events |= selectors.EVENT_WRITE
        known = fd in self._selector.get_map()
        if events and known:
            self._selector.modify(fd, events)
        elif events:
            self._selector.register(fd, events)
        elif known:
            self._selector.unregister(fd)

    def _time(self, milliseconds: int) -> None:
        """CURLMOPT_TIMERFUNCTION: when libcurl wants to be called without an event."""
        self._deadline = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _add(self, handle: Handle, ended: _Ended) -> None:
        if handle.excess is not None:
            handle.set(pycurl.VERBOSE, 1)
            handle.set(pycurl.DEBUGFUNCTION, handle.listen)
        self._running[handle.curl] = handle, ended
        self._multi.add_handle(handle.curl)

    def _remove(self, handle: Handle) -> None:
        running = self._running.pop(handle.curl, None)
        if running is not None:
            self._multi.remove_handle(handle.curl)
            self._ended.append((running[1], (pycurl.E_ABORTED_BY_CALLBACK, "cancelled")))

    def _finish(self) -> None:
        """Tell those who wait about the handles that have ended."""
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            for curl, result in (
                *((curl, (pycurl.E_OK, "")) for curl in good),
                *((curl, (code, text)) for curl, code, text in bad),
            ):
                handle, ended = self._running.pop(curl)
                if handle.excess is False and handle.scheme == "http":
                    handle.excess = self._left_over(int(curl.getinfo(pycurl.ACTIVESOCKET)))
                self._multi.remove_handle(curl)
                self._ended.append((ended, result))
        if self._ended:
            self._notify()

    def _left_over(self, fd: int) -> bool:
        """Whether bytes lie in the socket of a transfer that has ended; not where another transfer
        has taken the connection over already, whose answer they would be."""
        return fd >= 0 and fd not in self._selector.get_map() and unread(fd)

    def _notify(self) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Any]] = {}
        for ended, result in self._ended:
            by_loop.setdefault(ended.get_loop(), []).append((ended, result))
        self._ended.clear()
        for loop, batch in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, batch)

    def _end(self) -> None:
        self._drain()
        for curl, (_, ended) in self._running.items():
            self._multi.remove_handle(curl)
            self._ended.append((ended, (pycurl.E_ABORTED_BY_CALLBACK, "the service stops")))
        self._running.clear()
        self._notify()
        self._multi.close()
        self._selector.close()
        with self._waking:  # who rings for the end may not be done with it
            self._ear.close()
            self._bell.close()


def _settle(batch: Sequence[tuple[_Ended, tuple[int, str]]]) -> None:
    for ended, result in batch:
        if not ended.done():
            ended.set_result(result)

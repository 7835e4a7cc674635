"""The libcurl loop: requests, unix sockets, cancelling, closing, connections."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pycurl
import pytest

from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.errors import (
    Corrupt,
    InternalFailure,
    InvalidInput,
    NetworkFailed,
    PolicyRefused,
    TransferError,
)
from tests.servers.behaviours import Gate, Gated
from tests.servers.http import HttpServer
from tests.servers.routes import MIB, Generated, Page, Resource, Sink, Status


@pytest.fixture
async def loop() -> AsyncIterator[CurlLoop]:
    made = CurlLoop(EgressPolicy(["127.0.0.1"]))
    yield made
    await made.close()


@pytest.fixture
def unix_echo(tmp_path: Path) -> Iterator[Path]:
    """Answers one request a connection on a unix socket with the body that came."""
    path = tmp_path / "echo"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                length = 0
                while (line := reader.readline()).strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = reader.read(length)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
                connection.sendall(head.encode() + b"\r\n" + body)

    thread = threading.Thread(target=serve)
    thread.start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


async def test_a_request_brings_status_headers_and_body(
    loop: CurlLoop, http_server: HttpServer
) -> None:
    url = http_server.add("/a", Page("hello", "text/plain"))
    answer = await loop.request("GET", url)
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["content-type"] == "text/plain"
    assert (await loop.request("GET", http_server.url("/missing"))).status == 404


async def test_a_request_sends_method_body_and_headers(
    loop: CurlLoop, http_server: HttpServer
) -> None:
    sink = Sink()
    url = http_server.add("/in", sink)
    answer = await loop.request("PUT", url, body=b"\0data", headers={"X-Mine": "1"})
    assert answer.status == 201
    assert sink.kept == {"/in": [b"\0data"]}
    assert http_server.seen.requests("/in")[0].header("X-Mine") == "1"


async def test_requests_share_a_connection(loop: CurlLoop, http_server: HttpServer) -> None:
    url = http_server.add("/a", Page("hello"))
    for _ in range(5):
        await loop.request("GET", url)
    assert http_server.seen.connections == 1


async def test_the_environment_names_no_proxy(
    loop: CurlLoop, http_server: HttpServer, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    assert (await loop.request("GET", http_server.add("/a", Page("x")))).status == 200


async def test_an_answer_that_is_too_big_is_corrupt(
    loop: CurlLoop, http_server: HttpServer
) -> None:
    url = http_server.content("/big", MIB)
    with pytest.raises(Corrupt, match="more than 1000 bytes"):
        await loop.request("GET", url, max_size=1000)


async def test_a_request_that_takes_too_long_fails(loop: CurlLoop, http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/slow", Gated(Page("x"), gate, after=None))
    with pytest.raises(NetworkFailed, match="no answer in time"):
        await loop.request("GET", url, timeout=0.2)
    gate.open()


async def test_no_listener_is_a_network_failure(loop: CurlLoop, free_port: int) -> None:
    with pytest.raises(NetworkFailed, match="no connection"):
        await loop.request("GET", f"http://127.0.0.1:{free_port}/")


async def test_cancelling_closes_the_connection(loop: CurlLoop, http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/held", Gated(Resource(Generated(MIB)), gate, after=1000))
    task = asyncio.create_task(loop.request("GET", url))
    await asyncio.to_thread(gate.reached.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await http_server.seen.until(lambda seen: seen.open_connections == 0)


async def test_no_callback_runs_after_a_cancelled_transfer(
    loop: CurlLoop, http_server: HttpServer
) -> None:
    url = http_server.content("/big", 512 * MIB)
    came: list[int] = []
    handle = loop.handle(url)
    handle.set(pycurl.WRITEFUNCTION, lambda data: came.append(len(data)))
    task = asyncio.create_task(loop.perform(handle))
    await http_server.seen.until(lambda seen: seen.bytes_sent("/big") > MIB)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    count = len(came)
    await loop.request("GET", http_server.add("/a", Page("x")))
    assert len(came) == count
    loop.release(handle)


async def test_closing_ends_what_runs_with_an_error(http_server: HttpServer) -> None:
    loop = CurlLoop(EgressPolicy(["127.0.0.1"]))
    gate = Gate()
    url = http_server.add("/held", Gated(Page("x"), gate, after=None))
    task = asyncio.create_task(loop.request("GET", url))
    await asyncio.to_thread(gate.reached.wait, 10)
    await loop.close()
    with pytest.raises(TransferError):
        await task
    with pytest.raises(InternalFailure, match="closed"):
        await loop.request("GET", url)


async def test_closing_without_a_request_starts_nothing() -> None:
    before = threading.active_count()
    await CurlLoop(EgressPolicy()).close()
    assert threading.active_count() == before


async def test_a_unix_socket_is_spoken_to(loop: CurlLoop, unix_echo: Path) -> None:
    answer = await loop.request("POST", "http://child/x", body=b"ping", unix_socket=unix_echo)
    assert answer.body == b"ping"


async def test_a_unix_socket_that_is_missing_is_a_network_failure(
    loop: CurlLoop, tmp_path: Path
) -> None:
    with pytest.raises(NetworkFailed):
        await loop.request("GET", "http://child/", unix_socket=tmp_path / "none")


async def test_a_handle_opens_unix_sockets_only_when_it_is_meant_to(
    loop: CurlLoop, unix_echo: Path
) -> None:
    handle = loop.handle("http://127.0.0.1/")
    handle.set(pycurl.UNIX_SOCKET_PATH, str(unix_echo))
    with pytest.raises(NetworkFailed):
        await loop.perform(handle)
    loop.release(handle)
    handle = loop.handle("http://child/", unix_socket=unix_echo)
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, ("127.0.0.1", 1))
    assert handle.open_socket(0, address) == pycurl.SOCKET_BAD
    loop.release(handle)


async def test_schemes_that_transfers_may_not_use_are_refused(loop: CurlLoop) -> None:
    for url in (
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "dict://127.0.0.1/",
        "ws://127.0.0.1/",
    ):
        with pytest.raises((PolicyRefused, InvalidInput)):
            await loop.request("GET", url)


async def test_a_malformed_url_is_invalid(loop: CurlLoop) -> None:
    for url in ("http://a b/", "http://", "http://h:99999/", "http://[::1/"):
        with pytest.raises(InvalidInput):
            await loop.request("GET", url)


async def test_a_status_is_no_error_of_a_request(loop: CurlLoop, http_server: HttpServer) -> None:
    url = http_server.add("/busy", Status(503, retry_after="7"))
    answer = await loop.request("GET", url)
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")


async def test_many_slow_requests_run_at_once(loop: CurlLoop, http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/held", Gated(Page("done"), gate, after=None))
    tasks = [asyncio.create_task(loop.request("GET", url)) for _ in range(100)]
    await http_server.seen.until(lambda seen: seen.max_active == 100)
    gate.open()
    assert {answer.body for answer in await asyncio.gather(*tasks)} == {b"done"}

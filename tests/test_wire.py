"""How answers leave for the network."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from bot.web.wire import JoinedHttp, JoinedWrites


class Written(asyncio.Transport):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True


async def test_two_pieces_leave_together_and_one_alone_as_the_loop_comes_round() -> None:
    inner = Written()
    joined = JoinedWrites(inner, asyncio.get_running_loop())
    joined.write(b"head ")
    joined.write(b"body")
    assert inner.pieces == [b"head body"]
    joined.write(b"event")
    assert inner.pieces == [b"head body"]
    await asyncio.sleep(0)
    assert inner.pieces == [b"head body", b"event"]
    joined.write(b"last")
    joined.close()
    assert inner.pieces[-1] == b"last"
    assert inner.closed
    await asyncio.sleep(0)
    assert len(inner.pieces) == 3


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to an application behind this protocol."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=JoinedHttp, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup([listener])
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()
        await server.shutdown([listener])


async def test_a_stream_of_answers_comes_piece_by_piece() -> None:
    go, over = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go.wait()
        for number in range(3):
            body = b"%d" % number
            await send({"type": "http.response.body", "body": body, "more_body": number < 2})
        over.set()

    async with asyncio.timeout(20), served(app) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")  # before there is a body
        assert head.startswith(b"HTTP/1.1 200")
        go.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"
        await over.wait()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # the connection is good for more
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"0\r\n\r\n")

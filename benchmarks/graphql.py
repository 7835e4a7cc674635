"""GraphQL beside a plain Strawberry and FastAPI application with the same schema and data.

A rate is requests for each second of processor time of the server, which runs on one core: so a
client that can't ask faster, and a neighbour on the machine, change nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psutil
import uvloop
import websockets

from benchmarks.rig import Result, peer, scratch
from tests.servers.redis import RedisServer
from tests.serving import Service

_TASKS = 100
_Q100 = (
    "query Q100 { tasks(first: 100) { nodes { id state source destination name size engine "
    "priority createdAt updatedAt } } }"
)
_STATUS = "query Status { systemStatus { version open } }"
CONNECTIONS = 32
_FOLLOWERS = 1000
_EVENTS = 30
_SETTINGS = {
    "GRAPHQL_SECURITY__RATE_LIMIT_QUERIES": "false",
    # Requests are counted, and none is refused.
    "DASHBOARD_SECURITY__MAX_REQUESTS_PER_SECOND": "1000000",
    "GRAPHQL_SECURITY__MAX_CONNECTIONS": "2000",
    "ENABLE_PLUGIN_SYSTEM": "false",
    "INTEGRITY_INTERVAL": "0",
}


def measure() -> Iterator[Result]:
    """The figures."""
    if others := os.sched_getaffinity(0) - {0}:
        os.sched_setaffinity(0, others)  # the first core is the server's
    with scratch() as place:
        plain = _plain_rates(place / "plain")
        yield Result(
            "plain Strawberry and FastAPI",
            f"q100 {plain['q100']:,.0f}, status {plain['status']:,.0f} a second",
        )
        yield from _compared("kept answer", place / "hit", plain, (120, 35), {})
        with RedisServer() as redis:
            settings = {"QUERY_CACHE_BACKEND": "redis", "REDIS_URL": redis.url}
            yield from _compared("kept in Redis", place / "redis", plain, (60, None), settings)
        made = {"QUERY_CACHE_ENABLED": "false"}
        yield from _compared("made anew, every guard on", place / "miss", plain, (1.4, 3), made)
        yield _followed(place / "live")


def _compared(
    name: str,
    place: Path,
    plain: Mapping[str, float],
    targets: tuple[float, float | None],
    settings: Mapping[str, str],
) -> Iterator[Result]:
    found = _rates(place, settings)
    for query, target in zip(("q100", "status"), targets, strict=True):
        ratio = found[query] / plain[query]
        yield Result(
            f"{name}: {query}",
            f"{found[query]:,.0f} a second, {ratio:.1f} times the plain one",
            "" if target is None else f"at least {target:g} times",
            None if target is None else ratio >= target,
        )


def _rates(place: Path, settings: Mapping[str, str]) -> dict[str, float]:
    with service(place, settings) as it:
        fill(it)
        pid = it.process_now.pid
        os.sched_setaffinity(pid, {0})
        headers = {"Authorization": f"Bearer {token_of(it)}"}
        url = f"{it.url}/graphql"
        return {
            name: _rate(pid, url, query, headers)
            for name, query in (("q100", _Q100), ("status", _STATUS))
        }


def service(place: Path, settings: Mapping[str, str]) -> Service:
    it = Service(place)
    it.env |= {**_SETTINGS, **settings}
    return it


def fill(it: Service) -> None:
    later = "2099-01-01T00:00:00Z"
    wanted = [
        {"source": f"http://127.0.0.1:9/{number}/film.mkv", "start_at": later}
        for number in range(_TASKS)
    ]
    it.client.post("/tasks/batch", {"tasks": wanted})


def token_of(it: Service) -> str:
    return (it.data / "token").read_text().strip()


def _plain_rates(place: Path) -> dict[str, float]:
    with service(place, {}) as it:
        fill(it)
        it.terminate()
        environ = it.env | {"PYTHONPATH": str(Path(__file__).parents[1])}
        with peer("benchmarks.graphql", "serve", environ=environ) as (pid, url):
            return {
                name: _rate(pid, url, query, {})
                for name, query in (("q100", _Q100), ("status", _STATUS))
            }


def _rate(pid: int, url: str, query: str, headers: Mapping[str, str]) -> float:
    """Requests for each second of processor time of the process."""
    _ask(url, query, headers, 20)
    count = 50
    while True:
        before = seconds_of(pid)
        _ask(url, query, headers, count)
        spent = seconds_of(pid) - before
        if spent >= 1.0:
            return count / spent
        count = min(200_000, max(count * 2, int(count * 1.5 / max(spent, 0.05))))


def seconds_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _ask(url: str, query: str, headers: Mapping[str, str], count: int) -> None:
    """Send it so many times over a few connections; each answer has to be one without errors.

    On uvloop, so that there is always a request that waits: a server that is woken for each one
    pays for that, too.
    """
    parts = urlsplit(url)
    body = json.dumps({"query": query}).encode()
    head = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = "\r\n".join([*head, "", ""]).encode() + body
    assert parts.hostname is not None
    assert parts.port is not None
    uvloop.run(talk_all(parts.hostname, parts.port, request, -(-count // CONNECTIONS)))


async def talk_all(host: str, port: int, request: bytes, count: int) -> None:
    loop = asyncio.get_running_loop()
    over = [loop.create_future() for _ in range(CONNECTIONS)]
    for each in over:
        await loop.create_connection(partial(_Talk, request, count, each), host, port)
    async with asyncio.timeout(300):
        await asyncio.gather(*over)


class _Talk(asyncio.Protocol):
    """One connection that asks the same again and again."""

    def __init__(self, request: bytes, count: int, over: asyncio.Future[None]) -> None:
        self._request = request
        self._left = count
        self._over = over
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        if not end or len(rest) < int(length or b"1"):
            return
        if b'"errors"' in rest[:40] or b" 200 " not in head[:20]:
            self._over.set_exception(RuntimeError(f"no answer: {self._buffer[:500]!r}"))
            self._transport.close()
            return
        self._buffer = b""
        self._left -= 1
        if self._left:
            self._transport.write(self._request)
        else:
            self._over.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over.done():
            self._over.set_exception(exc or RuntimeError("the server hung up"))


def _followed(place: Path) -> Result:
    """What an event costs with one follower and with a thousand."""
    with service(place, {}) as it:
        one = asyncio.run(_follow(it, 1))
        many = asyncio.run(_follow(it, _FOLLOWERS))
    return Result(
        f"an event for {_FOLLOWERS:,} followers of one subscription, and for one",
        f"{many * 1000:.1f} ms and {one * 1000:.1f} ms of processor time, {many / one:.0f} times",
        "at most 20 times",
        many / one <= 20,
    )


async def _follow(it: Service, count: int) -> float:
    """Seconds of processor time of the service for each alert that ``count`` clients follow."""
    url = f"{it.url.replace('http', 'ws', 1)}/graphql"
    hello = {"type": "connection_init", "payload": {"Authorization": f"Bearer {token_of(it)}"}}
    query = "subscription { alerts { id severity state title message count } }"
    ask = {"type": "subscribe", "id": "1", "payload": {"query": query}}
    clients = []
    for _ in range(count):
        client = await websockets.connect(
            url, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]
        )
        await client.send(json.dumps(hello))
        await client.recv()
        await client.send(json.dumps(ask))
        clients.append(client)
    await asyncio.sleep(1.0)  # every subscription has begun; nothing is measured yet
    pid = it.process_now.pid
    before, begun = seconds_of(pid), time.monotonic()
    for number in range(_EVENTS):
        title = f"{count} followers, {number}"
        await asyncio.to_thread(it.client.post, "/alerts/trigger", {"title": title})
        await asyncio.gather(*(client.recv() for client in clients))
    spent, wall = seconds_of(pid) - before, time.monotonic() - begun
    idle = seconds_of(pid)
    await asyncio.sleep(wall)
    idle = seconds_of(pid) - idle
    await asyncio.gather(*(client.close() for client in clients))
    return max(1e-5, (spent - idle) / _EVENTS)


def _serve() -> None:
    """The plain application, in a process of its own."""
    import uvicorn
    from fastapi import FastAPI
    from strawberry.fastapi import BaseContext, GraphQLRouter

    from bot.app import running
    from bot.app.parts import SystemClock
    from bot.config import load
    from bot.graphql.context import Context
    from bot.graphql.schema import build
    from bot.services import OWNER

    async def main() -> None:
        async with running(load().settings, restore=False) as app:

            async def context() -> BaseContext:
                made = Context.of(OWNER, app.services, cast("Any", None), app.hub, SystemClock())
                plain = BaseContext()
                for name in Context.__slots__:
                    setattr(plain, name, getattr(made, name))
                return plain

            web = FastAPI()
            router: Any = GraphQLRouter(build(), context_getter=context)
            web.include_router(router, prefix="/graphql")
            with socket.socket() as listening:
                listening.bind(("127.0.0.1", 0))
                listening.listen(1024)
                config = uvicorn.Config(
                    web, http="httptools", ws="none", log_config=None, access_log=False
                )
                print(f"http://127.0.0.1:{listening.getsockname()[1]}/graphql", flush=True)
                await uvicorn.Server(config).serve(sockets=[listening])

    uvloop.run(main())


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    _serve()

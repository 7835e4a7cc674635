"""Live messages for 5,000 WebSocket clients, beside ``send_json`` for each of them.

The server runs on one core and its clients on another. A message costs what the server takes of its
core beyond what it takes for one client, divided by clients and ticks; its delivery lasts from the
time that is written in it to its arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.rig import Result, peer, scratch
from bot.engines.children import allow_open_files
from tests.serving import Service

_CLIENTS = 5000
_TICKS = 10
_WARM = 3  # ticks that are left out
_TARGET, _LATE = 0.012, 60.0  # milliseconds: of a message, and of the slowest of a hundred
_DEFLATE = "permessage-deflate; server_no_context_takeover"
_PATH = "/api/v3/ws/live-metrics"


@dataclass(slots=True)
class Figures:
    """What came of one server: milliseconds, and bytes of a message as it was sent."""

    cpu: float
    half: float
    p99: float
    size: int

    def __str__(self) -> str:
        return (
            f"{self.cpu:.4f} ms of processor time a message of {self.size:,} bytes; delivered in "
            f"{self.half:.0f} ms, 99 of 100 in {self.p99:.0f} ms"
        )


def measure() -> Iterator[Result]:
    """The figures."""
    peers = {}
    for name, compresses in (("uncompressed", False), ("compressed for each", True)):
        with peer("benchmarks.live", "serve", json.dumps(compresses)) as (pid, url):
            peers[name] = _figures(pid, url, {}, compresses=compresses)
        yield Result(f"send_json of Starlette, {name}", str(peers[name]))
    with scratch() as place, _service(place / "live") as it:
        pid = it.process_now.pid
        os.sched_setaffinity(pid, {0})
        token = (it.data / "token").read_text().strip()
        url, headers = f"{it.url}{_PATH}", {"Authorization": f"Bearer {token}"}
        ours = _figures(pid, url, headers, compresses=True)
    least = min(each.cpu for each in peers.values())
    yield Result(
        f"live metrics, {_CLIENTS:,} clients",
        f"{ours}; {least / ours.cpu:.1f} times less than the cheaper one",
        f"at most {_TARGET} ms",
        ours.cpu <= _TARGET,
    )
    yield Result(
        "their delivery", f"{ours.p99:.0f} ms", f"99 of 100 in {_LATE:.0f} ms", ours.p99 <= _LATE
    )


def _service(place: Path) -> Service:
    it = Service(place)
    it.env |= _SETTINGS
    return it


_SETTINGS = {
    "ENABLE_PLUGIN_SYSTEM": "false",
    "MAX_DASHBOARD_CONNECTIONS": str(2 * _CLIENTS),
    "DASHBOARD_REFRESH": "1",
    # All of them come from one address, within a few seconds.
    "DASHBOARD_SECURITY__RATE_LIMIT": "false",
}


def _figures(pid: int, url: str, headers: Mapping[str, str], *, compresses: bool) -> Figures:
    alone = _watched(pid, url, headers, compresses, 1)
    all_of_them = _watched(pid, url, headers, compresses, _CLIENTS)
    delays = sorted(all_of_them["delays"])
    idle = alone["cpu"] / alone["wall"] * all_of_them["wall"]
    return Figures(
        cpu=(all_of_them["cpu"] - idle) / len(delays) * 1000,
        half=delays[len(delays) // 2] * 1000,
        p99=delays[len(delays) * 99 // 100] * 1000,
        size=all_of_them["size"],
    )


def _watched(
    pid: int, url: str, headers: Mapping[str, str], compresses: bool, clients: int
) -> dict[str, Any]:
    """What a process with so many clients saw; ``cpu`` of the server, seconds for each tick."""
    asked = {"url": url, "headers": dict(headers), "compresses": compresses, "clients": clients}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.live", "watch", json.dumps({**asked, "server": pid})],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# The clients, in a process of their own


class _Watcher:
    """A client: its connection, and what has come of a frame."""

    def __init__(self, url: str, headers: Mapping[str, str], compresses: bool) -> None:
        self.socket = _connected(url, headers, compresses)
        self._rest = b""

    def frames(self) -> list[bytes]:
        """The frames that have come; pings are answered, and left out."""
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("a client was let go")
        data, found, start = self._rest + data, [], 0
        while (end := _end_of_frame(data, start)) <= len(data):
            frame = data[start:end]
            if frame[0] == 0x89:  # its answer is masked with zeros
                self.socket.send(bytes((0x8A, 0x80 | frame[1], 0, 0, 0, 0)) + frame[2:])
            else:
                found.append(frame)
            start = end
        self._rest = data[start:]
        return found


def _end_of_frame(data: bytes, start: int) -> int:
    """Where a frame ends; behind all data where that is not known yet."""
    head = data[start : start + 4]
    if len(head) < 2:
        return len(data) + 1
    if head[1] < 126:
        return start + 2 + head[1]
    if len(head) < 4:
        return len(data) + 1
    return start + 4 + int.from_bytes(head[2:4], "big")


def _watch(
    url: str, headers: Mapping[str, str], compresses: bool, clients: int, server: int
) -> None:
    allow_open_files()
    os.sched_setaffinity(0, {1})
    poll = select.epoll()
    watchers: dict[int, _Watcher] = {}
    arrivals: list[tuple[float, bytes]] = []

    def look(seconds: float) -> None:
        for number, _ in poll.poll(seconds):
            now = time.time()
            arrivals.extend((now, frame) for frame in watchers[number].frames())

    for number in range(clients):
        watcher = _Watcher(url, headers, compresses)
        watchers[watcher.socket.fileno()] = watcher
        poll.register(watcher.socket, select.EPOLLIN)
        if number % 50 == 0:
            look(0)  # those that are there already want to be heard
    process = psutil.Process(server)
    arrivals.clear()
    while len(arrivals) < clients * _WARM:
        look(1)
    arrivals.clear()
    spent, begun = _seconds(process), time.time()
    while len(arrivals) < clients * _TICKS:
        look(1)
    spent, wall = _seconds(process) - spent, time.time() - begun
    print(json.dumps({**_seen(arrivals), "cpu": spent, "wall": wall}))


def _seen(arrivals: list[tuple[float, bytes]]) -> dict[str, Any]:
    sent: dict[bytes, float | None] = {}
    delays, sizes = [], []
    for at, frame in arrivals:
        if frame not in sent:
            sent[frame] = _written(frame)
        written = sent[frame]
        if written is not None:
            delays.append(at - written)
            sizes.append(len(frame))
    return {"delays": delays, "size": sum(sizes) // max(1, len(sizes))}


def _written(frame: bytes) -> float | None:
    """When a tick says that it was sent; None where it is another message."""
    body = frame[2:] if frame[1] < 126 else frame[4:]
    if frame[0] & 0x40:
        # By itself: our messages refer to nothing before them, those of the peer are asked not to.
        body = zlib.decompressobj(-15).decompress(body + b"\0\0\xff\xff")
    message = json.loads(body)
    return float(message["at"]) if message["type"] == "tick" else None


def _connected(url: str, headers: Mapping[str, str], compresses: bool) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), 60)
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
        *([f"Sec-WebSocket-Extensions: {_DEFLATE}"] if compresses else []),
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    if not answer.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(answer.decode())
    return connection


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# The peer, in a process of its own


def _serve(compresses: bool) -> None:
    import uvicorn
    import uvloop
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    from bot.operations.readings import READINGS

    clients: set[WebSocket] = set()

    async def watch(client: WebSocket) -> None:
        await client.accept()
        clients.add(client)
        with contextlib.suppress(WebSocketDisconnect):
            await client.receive_text()
        clients.discard(client)

    async def tick() -> None:
        seq = 0
        while True:
            await asyncio.sleep(1)
            seq += 1
            values = {reading.name: seq * 1234.5678 for reading in READINGS}
            message = {"type": "tick", "seq": seq, "at": time.time(), "metrics": values}
            for client in tuple(clients):
                with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                    await client.send_json(message)

    async def main() -> None:
        allow_open_files()
        app = Starlette(routes=[WebSocketRoute("/ws", watch)])
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
            config = uvicorn.Config(
                app,
                http="httptools",
                ws="websockets-sansio",
                ws_per_message_deflate=compresses,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
            print(f"http://127.0.0.1:{listening.getsockname()[1]}/ws", flush=True)
            ticking = asyncio.ensure_future(tick())
            await uvicorn.Server(config).serve(sockets=[listening])
            ticking.cancel()

    uvloop.run(main())


if __name__ == "__main__" and sys.argv[1:2] == ["serve"]:
    _serve(json.loads(sys.argv[2]))
elif __name__ == "__main__" and sys.argv[1:2] == ["watch"]:
    _watch(**json.loads(sys.argv[2]))

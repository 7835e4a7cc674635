"""The list of 100 tasks beside a plain FastAPI route that answers the same bytes' worth.

Rates as in ``graphql``: requests for each second of processor time of the server. The plain route
has its 100 dictionaries in memory, knows nobody, and encodes them with msgspec, which is as fast as
orjson.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.graphql import CONNECTIONS, fill, seconds_of, service, talk_all, token_of
from benchmarks.rig import Result, peer, scratch

_PATH = "/api/v3/tasks?limit=100"
_TARGET = 1.5


def measure() -> Iterator[Result]:
    """The figures."""
    with scratch() as place, service(place, {}) as it:
        fill(it)
        kept = place / "tasks.json"
        page = it.client.get("/tasks", limit=100)
        kept.write_text(json.dumps(page))
        pid = it.process_now.pid
        os.sched_setaffinity(pid, {0})
        ours = _rate(pid, f"{it.url}{_PATH}", {"Authorization": f"Bearer {token_of(it)}"})
        with peer("benchmarks.rest", str(kept)) as (other, url):
            plain = _rate(other, f"{url}{_PATH}", {})
    ratio = plain / ours
    yield Result("plain FastAPI route", f"{plain:,.0f} a second")
    yield Result(
        "REST list of 100 tasks",
        f"{ours:,.0f} a second, {ratio:.2f} times the processor time",
        f"at most {_TARGET:g} times",
        ratio <= _TARGET,
    )


def _rate(pid: int, url: str, headers: dict[str, str]) -> float:
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    assert host is not None
    assert port is not None
    head = [
        f"GET {parts.path}?{parts.query} HTTP/1.1",
        f"Host: {parts.netloc}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = "\r\n".join([*head, "", ""]).encode()

    def ask(count: int) -> None:
        uvloop.run(
            talk_all(parts.hostname or "", parts.port or 0, request, -(-count // CONNECTIONS))
        )

    ask(20)
    count = 50
    while True:
        before = seconds_of(pid)
        ask(count)
        spent = seconds_of(pid) - before
        if spent >= 1.0:
            return count / spent
        count = min(200_000, max(count * 2, int(count * 1.5 / max(spent, 0.05))))


def _serve(kept: Path) -> None:
    import msgspec
    import uvicorn
    from fastapi import FastAPI, Response

    app, page = FastAPI(), msgspec.json.decode(kept.read_bytes())

    @app.get("/api/v3/tasks")
    async def tasks(limit: int = 50) -> Any:
        found = {"status": "ok", "items": page["items"][:limit], "cursor": None}
        return Response(msgspec.json.encode(found), media_type="application/json")

    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, http="httptools", loop="uvloop", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))

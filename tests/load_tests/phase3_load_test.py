"""Load on the live metrics and on GraphQL, for a while, and what came of it:

    python tests/load_tests/phase3_load_test.py [--clients 50] [--seconds 10] [--url URL]

Without ``--url`` it starts a service of its own and ends it. With it, MLTB_TOKEN is a token of the
service there, whose limits hold. The exit status is 1 where something failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import websockets

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bot.lock import Doorplate
from tests.serving import Service

_QUERY = "query Load { tasks(first: 100) { nodes { id name state createdAt } } }"
_ASKING = 4  # connections that ask GraphQL
_MOST = 2000  # clients; more need more open files than a shell allows
_OPENING = 50  # connections that are opened at the same time


@dataclass
class Figures:
    """What came of it. Times in milliseconds."""

    connected: int = 0
    messages: int = 0
    late: list[float] = field(default_factory=list)
    answers: int = 0
    refused: int = 0
    failed: int = 0
    took: list[float] = field(default_factory=list)
    errors: set[str] = field(default_factory=set)


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--clients", type=int, default=50, help="clients of the live metrics")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long")
    parser.add_argument("--url", help="of a service that runs, such as http://127.0.0.1:8000")
    given = parser.parse_args()
    clients, seconds = min(max(given.clients, 1), _MOST), min(max(given.seconds, 1.0), 600.0)
    with _served(given.url) as (url, token):
        found = asyncio.run(_load(url, token, clients, seconds))
    _print(found, clients, seconds)
    return 1 if found.errors or not found.messages or not found.answers else 0


@contextmanager
def _served(url: str | None) -> Iterator[tuple[str, str]]:
    """Where the service is, and a token for it."""
    if url is not None:
        yield url.rstrip("/"), os.environ.get("MLTB_TOKEN", "")
        return
    with tempfile.TemporaryDirectory() as place:
        own = Service(
            Path(place),
            DASHBOARD_REFRESH="1",
            ENABLE_PLUGIN_SYSTEM="false",
            GRAPHQL_SECURITY__RATE_LIMIT_QUERIES="false",
            MAX_DASHBOARD_CONNECTIONS=str(_MOST),
        )
        with own as service:
            yield service.url, Doorplate(service.data).token or ""


async def _load(url: str, token: str, clients: int, seconds: float) -> Figures:
    found, opening = Figures(), asyncio.Semaphore(_OPENING)

    async def opened() -> websockets.ClientConnection:
        where = f"{url.replace('http', 'ws', 1)}/api/v3/ws/live-metrics"
        headers = {"Authorization": f"Bearer {token}"}
        async with opening:
            return await websockets.connect(where, additional_headers=headers, proxy=None)

    # All of them are there before the time begins, or have failed.
    outcomes = await asyncio.gather(*(opened() for _ in range(clients)), return_exceptions=True)
    sockets = [each for each in outcomes if not isinstance(each, BaseException)]
    found.connected = len(sockets)
    watching = [asyncio.create_task(_watch(each, found)) for each in sockets]
    until = time.monotonic() + seconds
    asking = [asyncio.to_thread(_ask, url, token, found, until) for _ in range(_ASKING)]
    await asyncio.gather(*asking)
    for task in watching:
        task.cancel()
    ends = await asyncio.gather(*watching, return_exceptions=True)
    await asyncio.gather(*(each.close() for each in sockets))
    for outcome in (*outcomes, *ends):
        if isinstance(outcome, Exception):
            found.errors.add(f"live: {type(outcome).__name__}: {outcome}")
    return found


async def _watch(socket: websockets.ClientConnection, found: Figures) -> None:
    """Follow the live metrics until this is cancelled."""
    async for text in socket:
        message = json.loads(text)
        found.messages += 1
        if "at" in message:
            found.late.append((time.time() - message["at"]) * 1000)
    raise ConnectionError("the service closed the connection")


def _ask(url: str, token: str, found: Figures, until: float) -> None:
    """Ask the same query over one connection, each time as soon as the answer is there."""
    body = json.dumps({"query": _QUERY})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        while time.monotonic() < until:
            begun = time.perf_counter()
            connection.request("POST", "/graphql", body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            found.took.append((time.perf_counter() - begun) * 1000)
            found.answers += 1
            if response.status == 429:
                found.refused += 1
                time.sleep(0.1)
            elif response.status != 200 or "errors" in answer:
                found.failed += 1
                found.errors.add(f"graphql: status {response.status}")
    except (OSError, HTTPException, ValueError) as error:
        found.errors.add(f"graphql: {type(error).__name__}: {error}")
    finally:
        connection.close()


def _print(found: Figures, clients: int, seconds: float) -> None:
    live = (
        f"live:    {found.connected} clients, {found.messages} messages in {seconds:g} s, "
        f"{_spread(found.late)} after they were made"
    )
    graphql = (
        f"graphql: {found.answers} answers, {found.failed} failed, {found.refused} over the limit, "
        f"{found.answers / seconds:.0f} a second, {_spread(found.took)} each"
    )
    lines = [live, graphql, *sorted(found.errors)]
    if found.connected < clients:
        lines.append(f"live: {clients - found.connected} clients could not connect")
    sys.stdout.write("\n".join(lines) + "\n")


def _spread(times: list[float]) -> str:
    if not times:
        return "none"
    ordered = sorted(times)
    half, most = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    return f"p50 {half:.1f} ms, p99 {most:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())

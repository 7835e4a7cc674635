"""Live metrics: a real service, real clients, and some that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bot.cli.client import Client, ServiceError
from bot.lock import Doorplate
from bot.services import Scope
from tests.servers.http import HttpServer
from tests.servers.routes import MIB
from tests.serving import PATIENCE, Service

Json = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("live")
    with Service(
        place,
        DASHBOARD_REFRESH="1",
        ENABLE_PLUGIN_SYSTEM="false",
        MAX_ACTIVE="2",
        MAX_DASHBOARD_CONNECTIONS="8",
    ) as it:
        yield it


def _address(it: Service) -> str:
    return it.url.replace("http", "ws") + "/api/v3/ws/live-metrics"


def _token(it: Service, scope: Scope = Scope.ADMIN, user: str = "admin") -> str:
    made = it.client.post("/tokens", {"name": "t", "scope": scope.name.lower(), "user": user})
    secret: str = made["secret"]
    return secret


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def _client(it: Service, token: str | None = None, **how: Any) -> AsyncIterator[Watcher]:
    headers = _bearer(token or _token(it)) | how.pop("headers", {})
    async with websockets.connect(_address(it), additional_headers=headers, **how) as socket:
        yield Watcher(socket)


class Watcher:
    """A client that keeps what it was told together, as a page does."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.tasks: dict[str, Json] = {}
        self.counts: Json = {}
        self.seq = -1
        self.missed = 0

    async def next(self, *kinds: str) -> Json:
        """The next message, of those kinds where some are named."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message: Json = json.loads(await self.socket.recv())
                self._take(message)
                if not kinds or message["type"] in kinds:
                    return message

    def _take(self, message: Json) -> None:
        if message["type"] == "snapshot":
            self.tasks = {each["id"]: each for each in message["tasks"]}
        elif message["type"] == "delta":
            if message["since"] != self.seq:
                self.missed += 1
                return
            for each in message.get("tasks", ()):
                self.tasks[each["id"]] = {**self.tasks.get(each["id"], {}), **each}
            for each in message.get("removed", ()):
                self.tasks.pop(each, None)
        else:
            return
        self.seq = message["seq"]
        self.counts = message.get("counts", self.counts)

    async def ended(self) -> int:
        """The code with which it ends; what comes before is passed over."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            return self.socket.close_code or 0

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))


_LATER = {"start_at": "2099-01-01T00:00:00Z"}


def _later(it: Service, number: int) -> Json:
    """A task that waits for long."""
    task: Json = it.client.post("/tasks", {**_LATER, "source": f"http://127.0.0.1:9/{number}"})
    return task


def _as(it: Service, token: str) -> Client:
    address = Doorplate(it.data).address()
    assert address is not None
    return Client(address.socket, token)


async def _ends(it: Service, said: str | bytes | None, query: str = "") -> int:
    """How a connection without a name ends that says this."""
    async with websockets.connect(_address(it) + query) as socket:
        if said is not None:
            await socket.send(said)
        return await Watcher(socket).ended()


def _connect(it: Service) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(it.url).netloc, timeout=PATIENCE)


def _get(it: Service, path: str, headers: dict[str, str]) -> tuple[int, str]:
    with contextlib.closing(_connect(it)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def _sse(it: Service, number: int, headers: dict[str, str]) -> tuple[int, str, list[Json]]:
    """So many messages of the stream of events, or as many as come."""
    found: list[Json] = []
    with contextlib.closing(_connect(it)) as connection:
        connection.request("GET", "/api/v3/sse/live-metrics?interval=1", headers=headers)
        response = connection.getresponse()
        while len(found) < number and (line := response.readline()):
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
        return response.status, response.getheader("Content-Type", ""), found


def _log_in(it: Service) -> tuple[str, str]:
    """The cookie of a session, and what its writes need."""
    with contextlib.closing(_connect(it)) as connection:
        body = json.dumps({"token": _token(it, Scope.VIEW, "eve")})
        connection.request("POST", "/api/v3/session", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        cookie = response.getheader("Set-Cookie", "").partition(";")[0]
        return cookie, json.loads(response.read())["csrf"]


def _log_out(it: Service, cookie: str, csrf: str) -> None:
    with contextlib.closing(_connect(it)) as connection:
        headers = {"Cookie": cookie, "X-CSRF-Token": csrf}
        connection.request("DELETE", "/api/v3/session", headers=headers)
        assert connection.getresponse().status == 204


def _handshake(it: Service, extensions: str | None) -> socket.socket:
    """A connection whose next bytes are frames."""
    host = urlsplit(it.url)
    raw = socket.create_connection((host.hostname or "", host.port or 0), PATIENCE)
    lines = [
        "GET /api/v3/ws/live-metrics HTTP/1.1",
        f"Host: {host.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Authorization: Bearer {_token(it)}",
        *([f"Sec-WebSocket-Extensions: {extensions}"] if extensions else []),
    ]
    raw.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += raw.recv(1)
    assert answer.startswith(b"HTTP/1.1 101")
    return raw


def _raw_frame(it: Service, extensions: str | None) -> tuple[int, bytes]:
    """The first byte of the first frame, and its payload."""
    with _handshake(it, extensions) as raw, raw.makefile("rb") as file:
        first, size = file.read(2)
        if size == 126:
            size = int.from_bytes(file.read(2), "big")
        elif size == 127:
            size = int.from_bytes(file.read(8), "big")
        return first, file.read(size)


def _mute(it: Service) -> socket.socket:
    """A client that asks, and reads nothing."""
    return _handshake(it, None)


async def test_first_a_snapshot_then_ticks(service: Service) -> None:
    async with _client(service) as client:
        first = await client.next()
        assert first["type"] == "snapshot"
        assert first["metrics"]["uptime_seconds"] > 0
        assert first["counts"]["queued"] >= 0
        tick = await client.next("tick")
        assert tick["metrics"]["websocket_clients"] == 1
        assert (await client.next("tick"))["seq"] == tick["seq"] + 1


async def test_a_task_comes_as_a_delta_and_goes_as_one(service: Service) -> None:
    async with _client(service) as client:
        await client.next("snapshot")
        task = await asyncio.to_thread(_later, service, 1)
        delta = await client.next("delta")
        assert delta["tasks"] == [client.tasks[task["id"]]]
        whole = client.tasks[task["id"]]
        assert whole["source"] == task["source"]
        assert client.counts["queued"] == 1

        await asyncio.to_thread(service.client.patch, f"/tasks/{task['id']}", {"priority": 7})
        delta = await client.next("delta")
        (part,) = delta["tasks"]
        assert part == {"id": task["id"], "priority": 7, "version": part["version"]}

        path = f"/tasks/{task['id']}"
        await asyncio.to_thread(service.client.post, f"{path}/cancel")
        await client.next("delta")
        assert client.tasks[task["id"]]["state"] == "cancelled"
        await asyncio.to_thread(service.client.delete, path)
        assert (await client.next("delta"))["removed"] == [task["id"]]
        assert task["id"] not in client.tasks
        assert client.missed == 0


async def test_progress_of_what_runs(service: Service) -> None:
    with HttpServer() as server:
        source = server.content("/slow.bin", 8 * MIB)
        task = await asyncio.to_thread(service.mirror, source, options={"limit": 300_000})
        async with _client(service) as client:
            seen: list[int] = []
            while len(set(seen)) < 3:
                await client.next("snapshot", "delta")
                progress = client.tasks.get(task["id"], {}).get("progress")
                seen += [progress["done"]] if progress else []
            assert seen == sorted(seen)
            assert client.tasks[task["id"]]["stage"]["kind"] == "fetch"
            await asyncio.to_thread(service.client.post, f"/tasks/{task['id']}/cancel")
            while client.tasks[task["id"]]["state"] != "cancelled":
                await client.next("delta")
            assert client.tasks[task["id"]]["progress"] is None


async def test_who_missed_a_delta_asks_for_a_snapshot(service: Service) -> None:
    async with _client(service) as client:
        first = await client.next("snapshot")
        client.seq -= 1  # as if one had not come
        task = await asyncio.to_thread(_later, service, 2)
        await client.next("delta")
        assert (client.missed, task["id"] in client.tasks) == (1, False)
        await client.say(type="snapshot")
        again = await client.next("snapshot")
        assert again["seq"] > first["seq"]
        assert client.tasks[task["id"]]["state"] == "queued"
        await asyncio.to_thread(service.client.patch, f"/tasks/{task['id']}", {"priority": 3})
        assert (await client.next("delta"))["since"] == again["seq"]
        assert (client.missed, client.tasks[task["id"]]["priority"]) == (1, 3)


async def test_everybody_sees_their_own_tasks_and_admins_all(service: Service) -> None:
    ben = _token(service, Scope.OPERATE, "ben")
    with contextlib.closing(_as(service, ben)) as his:
        async with _client(service) as admin, _client(service, ben) as client:
            await admin.next("snapshot")
            await client.next("snapshot")
            others = await asyncio.to_thread(_later, service, 3)
            own = await asyncio.to_thread(his.post, "/tasks", {**_LATER, "source": "http://x.y/3"})
            while own["id"] not in client.tasks or own["id"] not in admin.tasks:
                await client.next()
                await admin.next()
            assert set(client.tasks) == {own["id"]}
            assert {others["id"], own["id"]} <= set(admin.tasks)
            assert (client.counts["queued"], admin.counts["queued"] > 1) == (1, True)


async def test_only_whoever_is_known_and_comes_from_here(service: Service) -> None:
    here = service.url
    for origin in ("https://evil.example", here + ".evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            async with _client(service, headers={"Origin": origin}):
                pass
        assert refused.value.response.status_code == 403
    async with _client(service, headers={"Origin": here}) as client:
        assert (await client.next())["type"] == "snapshot"

    said = [
        (None, 4408),
        ('{"type":"snapshot"}', 4401),
        ('{"type":"auth","token":"mltb_no"}', 4401),
        ("nonsense", 4400),
        (b"\x00", 4400),
        ("x" * 5000, 4400),
    ]
    token = f"?token={_token(service)}"
    codes = await asyncio.gather(*(_ends(service, each, token) for each, _ in said))
    assert codes == [code for _, code in said]

    async with websockets.connect(_address(service)) as socket:
        client = Watcher(socket)
        await client.say(type="auth", token=_token(service, Scope.VIEW))
        assert (await client.next())["type"] == "snapshot"


async def test_a_client_may_say_little(service: Service) -> None:
    async with _client(service) as client:
        await client.next("snapshot")
        await client.say(type="ping")
        await client.next("pong")
        for wrong in ({"type": "what"}, {"type": "interval", "seconds": 0}):
            await client.say(**wrong)
            assert (await client.next("error"))["code"] == "invalid_input"
        await client.say(type="interval", seconds=2)
        assert (await client.next("interval"))["seconds"] == 2
        assert (await client.next("snapshot"))["interval"] == 2
        first = await client.next("tick")
        assert (await client.next("tick"))["seq"] == first["seq"] + 2
        for _ in range(20):
            await client.say(type="ping")
        assert await client.ended() == 4400


async def test_who_loses_the_right_loses_the_connection(service: Service) -> None:
    made = service.client.post("/tokens", {"name": "t", "scope": "view", "user": "ann"})
    cookie, csrf = await asyncio.to_thread(_log_in, service)
    async with (
        _client(service, made["secret"]) as by_token,
        websockets.connect(_address(service), additional_headers={"Cookie": cookie}) as socket,
    ):
        assert (await by_token.next())["type"] == "snapshot"
        assert (await Watcher(socket).next())["type"] == "snapshot"
        await asyncio.to_thread(service.client.delete, f"/tokens/{made['id']}")
        await asyncio.to_thread(_log_out, service, cookie, csrf)
        for each in (by_token.socket, socket):
            assert await Watcher(each).ended() == 4401


async def test_no_more_than_so_many(service: Service) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            client = await stack.enter_async_context(_client(service))
            await client.next("snapshot")
        async with _client(service) as one_more:
            assert await one_more.ended() == 1013
        status, _, _ = await asyncio.to_thread(_sse, service, 0, _bearer(_token(service)))
        assert status == 429
    async with _client(service) as client:
        await client.next("snapshot")


async def test_each_client_gets_what_it_can_read(service: Service) -> None:
    for offer, first_byte in (
        (None, 0x81),
        ("permessage-deflate", 0xC1),
        ("permessage-deflate; server_max_window_bits=9", 0xC1),
        ("permessage-deflate; server_max_window_bits=8", 0x81),
    ):
        found, body = await asyncio.to_thread(_raw_frame, service, offer)
        assert found == first_byte, offer
        if first_byte == 0xC1:
            bits = 9 if offer is not None and offer.endswith("=9") else 15
            body = zlib.decompressobj(-bits).decompress(body + b"\x00\x00\xff\xff")
        assert json.loads(body)["type"] == "snapshot"
    async with _client(service, compression=None) as client:
        await client.next("snapshot")
        await client.next("tick")


async def test_who_does_not_read_stops_nobody(service: Service) -> None:
    mute = await asyncio.to_thread(_mute, service)
    with mute:
        async with _client(service) as client:
            ticks = [await client.next("tick") for _ in range(3)]
        numbers = [each["seq"] for each in ticks]
        assert numbers == [*range(numbers[0], numbers[0] + 3)]


async def test_events_for_those_without_websockets(service: Service) -> None:
    status, _, _ = await asyncio.to_thread(_sse, service, 0, {})
    assert status == 401
    origin = {"Origin": "https://evil.example"}
    status, _, _ = await asyncio.to_thread(_sse, service, 0, _bearer(_token(service)) | origin)
    assert status == 403
    status, kind, found = await asyncio.to_thread(_sse, service, 3, _bearer(_token(service)))
    assert (status, kind) == (200, "text/event-stream; charset=utf-8")
    assert [each["type"] for each in found[:2]] == ["snapshot", "tick"]
    assert found[2]["seq"] > found[1]["seq"]


async def test_what_was_sent_is_counted(service: Service) -> None:
    async with _client(service) as client:
        await client.next("snapshot")
        await client.next("tick")
        await client.next("tick")
    _, text = await asyncio.to_thread(_get, service, "/metrics", _bearer(_token(service)))
    figures = dict(
        line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("mltb_live")
    )
    assert float(figures["mltb_live_messages_total"]) > 2
    assert float(figures["mltb_live_bytes_total"]) > 500
    assert float(figures['mltb_live_drops_total{reason="ended"}']) >= 2


async def test_a_stop_says_goodbye_and_the_switch_is_one(tmp_path: Path) -> None:
    with Service(tmp_path, ENABLE_PLUGIN_SYSTEM="false", DASHBOARD_REFRESH="1") as it:
        headers = _bearer(_token(it))
        async with _client(it) as client:
            await client.next("snapshot")
            stream = asyncio.ensure_future(asyncio.to_thread(_sse, it, 1000, headers))
            while (await client.next("tick"))["metrics"]["websocket_clients"] < 2:
                pass
            assert await asyncio.to_thread(it.terminate) == 0
            assert await client.ended() == 1001
            assert (await stream)[0] == 200

        it.env["ENABLE_LIVE_METRICS"] = "false"
        await asyncio.to_thread(it.start)
        assert (await asyncio.to_thread(_sse, it, 0, headers))[0] == 404
        with pytest.raises(InvalidStatus):
            async with _client(it):
                pass


async def test_bulk_and_order(service: Service) -> None:
    tasks = [await asyncio.to_thread(_later, service, number) for number in (11, 12, 13)]
    first, second, third = (each["id"] for each in tasks)
    post = service.client.post
    assert post(f"/tasks/{third}/move", {"before": first})["order"] < tasks[0]["order"]
    moved = post(f"/tasks/{first}/move", {"before": None})
    assert moved["order"] > tasks[2]["order"]
    assert service.journal(first)["order"] == moved["order"]
    service.client.patch(f"/tasks/{second}", {"priority": 5})
    moved = post(f"/tasks/{first}/move", {"before": second})
    assert (moved["priority"], moved["order"] < second) == (5, True)

    body = {"ids": [first, "nothere", second], "action": "cancel"}
    found = post("/tasks/bulk", body)
    assert (found["accepted"], found["refused"]) == (2, 1)
    assert [each["id"] for each in found["items"]] == body["ids"]
    assert found["items"][0]["task"]["state"] == "cancelled"
    assert found["items"][1]["error"]["code"] == "not_found"
    found = post("/tasks/bulk", {"ids": [first, third], "action": "delete"})
    assert found["items"][0] == {"id": first, "task": None, "error": None}
    assert found["items"][1]["error"]["code"] == "conflict"
    with pytest.raises(ServiceError, match="does not wait"):
        post(f"/tasks/{second}/move", {"before": third})

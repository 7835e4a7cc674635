"""What is followed: over WebSocket (graphql-transport-ws) and by server-sent events."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import websockets

from tests import plugging
from tests.graphs import Graph, Wire
from tests.servers.behaviours import Gate, Gated
from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Resource
from tests.serving import Service

_EVENTS = {"Accept": "text/event-stream"}
_METRICS = 'subscription { metrics(interval: 3600, names: ["uptime_seconds"]) { name } }'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(
        tmp_path_factory.mktemp("service"),
        GRAPHQL_SECURITY__RATE_LIMIT_QUERIES="false",
        GRAPHQL_SECURITY__MAX_SUBSCRIPTIONS="5",
        GRAPHQL_SECURITY__MAX_CONNECTIONS="3",
        BACKUP_INTERVAL="0",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def graph(service: Service) -> Graph:
    return Graph(service)


class Events:
    """A stream of server-sent events."""

    def __init__(self, graph: Graph, query: str, **variables: Any) -> None:
        self._connection = http.client.HTTPConnection(
            urlsplit(graph.service.url).netloc, timeout=60
        )
        path = f"/graphql?{urlencode({'query': query, 'variables': json.dumps(variables)})}"
        self._connection.request("GET", path, headers={**graph.headers, **_EVENTS})
        self.response = self._connection.getresponse()

    def next(self) -> tuple[str, Any]:
        """The next event, comments left out."""
        name = ""
        while line := self.response.readline().decode():
            if line.startswith("event: "):
                name = line[7:-1]
            elif line.startswith("data: "):
                return name, json.loads(line[6:]) if line[6:].strip() else None
        raise EOFError

    def close(self) -> None:
        self.response.close()
        self._connection.close()


# The protocol


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (["nonsense"], 4400),
        (["[]"], 4400),
        ([b"\x00"], 4400),
        (['{"type": "unheard"}'], 4400),
        (['{"type": "subscribe", "id": "a", "payload": {"query": "{ viewer { user } }"}}'], 4401),
        (['{"type": "connection_init"}', '{"type": "connection_init"}'], 4429),
        (['{"type": "connection_init"}', '{"type": "subscribe", "id": "a"}'], 4400),
        (['{"type": "connection_init"}', '{"type": "subscribe", "payload": {}}'], 4400),
        (
            [
                '{"type": "connection_init"}',
                '{"type": "subscribe", "id": "a", "payload": {"query": 1}}',
            ],
            4400,
        ),
        (
            [
                '{"type": "connection_init"}',
                '{"type": "subscribe", "id": "a", "payload": {"variables": ' + '{"a":' * 10_000,
            ],
            4400,
        ),
        (['{"type": "connection_init", "payload": {"Authorization": "Bearer no"}}'], 4403),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(
    graph: Graph, said: list[str | bytes], code: int
) -> None:
    async with graph.connect() as socket:
        for message in said:
            await socket.send(message)
        await socket.wait_closed()
        assert socket.close_code == code


async def test_a_message_over_the_limit_ends_the_connection(graph: Graph) -> None:
    async with graph.connect() as socket:
        await socket.send('{"type": "ping", "payload": {"a": "' + "a" * 300_000 + '"}}')
        await socket.wait_closed()
        assert socket.close_code in {1009, 4400}


async def test_other_protocols_are_not_spoken(graph: Graph) -> None:
    for protocol in (None, "graphql-ws"):
        async with graph.connect(protocol=protocol) as socket:
            await socket.wait_closed()
            assert socket.close_code == 4406


async def test_pages_of_other_sites_may_not_connect(graph: Graph) -> None:
    host = urlsplit(graph.service.url).netloc
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with graph.connect({**graph.headers, **headers}):
                pass
        assert refused.value.response.status_code == 403
    async with graph.connect({**graph.headers, "Origin": f"http://{host}"}) as socket:
        await Wire(socket).begin()


async def test_who_asks_is_in_the_payload_or_in_the_handshake(graph: Graph) -> None:
    async with graph.connect({}) as socket:
        wire = Wire(socket)
        await wire.begin(graph.headers)
        await wire.subscribe("a", "{ viewer { scope } }")
        assert await wire.next("a") == {"viewer": {"scope": "ADMIN"}}
    viewer = graph.as_("view")
    async with graph.connect() as socket:  # the payload counts, where both are there
        wire = Wire(socket)
        await wire.begin({"authorization": viewer.headers["Authorization"]})
        await wire.subscribe("a", "{ viewer { scope } }")
        assert await wire.next("a") == {"viewer": {"scope": "VIEW"}}
    async with graph.connect({}) as socket:
        await socket.send('{"type": "connection_init"}')
        await socket.wait_closed()
        assert socket.close_code == 4403


async def test_many_operations_at_a_time_and_each_may_be_completed(graph: Graph) -> None:
    async with graph.connect() as socket:
        wire = Wire(socket)
        await wire.begin()
        await wire.say("ping")
        assert await wire.hear() == {"type": "pong"}
        for name in "abcde":
            await wire.subscribe(name, _METRICS)
            assert await wire.next(name) == {"metrics": [{"name": "uptime_seconds"}]}
        for name in "abcd":
            await wire.say("complete", id=name)
        await wire.subscribe("a", "{ viewer { user } }")
        assert await wire.next("a") == {"viewer": {"user": "admin"}}
        assert await wire.hear() == {"id": "a", "type": "complete"}
        await wire.subscribe("a", "mutation { invalidateCache { __typename } }")
        assert (await wire.next("a"))["invalidateCache"] == {"__typename": "InvalidateCachePayload"}
        assert (await wire.hear())["type"] == "complete"
        await wire.subscribe("e", _METRICS)
        await socket.wait_closed()
        assert socket.close_code == 4409


async def test_more_operations_than_allowed_end_the_connection(graph: Graph) -> None:
    async with graph.connect() as socket:
        wire = Wire(socket)
        await wire.begin()
        for name in "abcdef":
            await wire.subscribe(name, "subscription { tasks { id } }")
        await socket.wait_closed()
        assert socket.close_code == 4429


async def test_what_can_not_begin_is_told(graph: Graph) -> None:
    viewer = graph.as_("view")
    async with graph.connect(viewer.headers) as socket:
        wire = Wire(socket)
        await wire.begin()
        for query, code in (
            ("{", "syntax"),
            ("subscription { nothing }", "invalid_query"),
            ("subscription { metrics(interval: 0) { name } }", "invalid_input"),
            ("subscription { logs { message } }", "forbidden"),
            ('subscription { taskProgress(id: "none") { id } }', "not_found"),
        ):
            await wire.subscribe("a", query)
            found = await wire.hear()
            assert (found["type"], found["id"]) == ("error", "a")
            assert [each["extensions"]["code"] for each in found["payload"]] == [code]
            with closing(Events(viewer, query)) as events:
                body = events.response.read().decode()
                assert f'"{code}"' in body
                assert events.response.status == 400 or body.endswith("event: complete\ndata: \n\n")


async def test_a_caller_has_so_many_connections(graph: Graph) -> None:
    viewer = graph.as_("view")
    async with AsyncExitStack() as stack:
        for _ in range(2):
            socket = await stack.enter_async_context(graph.connect(viewer.headers))
            await Wire(socket).begin()
        events = stack.enter_context(closing(Events(viewer, _METRICS)))
        assert events.next()[0] == "next"
        refused = viewer.get(_METRICS, headers=_EVENTS)
        assert (refused.status, refused.codes) == (429, ["too_many"])
        async with graph.connect(viewer.headers) as fourth:
            await fourth.send('{"type": "connection_init"}')
            await fourth.wait_closed()
            assert fourth.close_code == 4429
        async with graph.connect() as other:  # another caller has connections of their own
            await Wire(other).begin()


# What there is to follow


async def test_the_progress_of_a_download_to_its_end(graph: Graph, http_server: HttpServer) -> None:
    gate = Gate()
    http_server.add("/film.bin", Gated(Resource(Generated(3_000_000, 1)), gate, 1_000_000))
    task = graph.service.mirror(http_server.url("/film.bin"))
    query = """subscription($id: ID!) { taskProgress(id: $id) {
        state progress { done total } receipt { size } } }"""
    async with graph.connect() as socket:
        wire = Wire(socket)
        await wire.begin()
        await wire.subscribe("a", query, id=task["id"])
        states, done = [], [0]
        while (message := await wire.hear())["type"] == "next":
            seen = message["payload"]["data"]["taskProgress"]
            states.append(seen["state"])
            if seen["progress"] is not None:
                done.append(seen["progress"]["done"])
            if done[-1] >= 1_000_000:
                gate.open()
        assert message == {"id": "a", "type": "complete"}
    assert (states[-1], seen["receipt"]) == ("DONE", {"size": 3_000_000})
    assert max(done) >= 1_000_000
    # Who comes late hears how it ended, by events as well.
    with closing(Events(graph, query, id=task["id"])) as events:
        name, told = await asyncio.to_thread(events.next)
        assert (name, told["data"]["taskProgress"]["state"]) == ("next", "DONE")
        assert events.next() == ("complete", None)


async def test_alerts_logs_and_tasks_as_they_come(graph: Graph) -> None:
    async with graph.connect() as socket:
        wire = Wire(socket)
        await wire.begin()
        await wire.subscribe("alerts", "subscription { alerts(severity: HIGH) { title severity } }")
        await wire.subscribe("logs", 'subscription { logs(text: "followed") { message } }')
        await wire.subscribe("tasks", "subscription { tasks { kind task { state } } }")
        await wire.subscribe("ready", "{ viewer { user } }")
        heard: dict[str, list[Any]] = {"alerts": [], "logs": [], "tasks": [], "ready": []}

        async def until(name: str) -> None:
            while not heard[name]:
                message = await wire.hear()
                if message["type"] == "next":
                    heard[message["id"]].append(message["payload"]["data"])

        await until("ready")
        raised = """mutation($t: String!, $s: Severity!) {
            triggerAlert(input: {title: $t, severity: $s}) { __typename } }"""
        graph.data(raised, t="a small one", s="LOW")
        graph.data(raised, t="a bad one", s="CRITICAL")
        await until("alerts")
        assert heard["alerts"][0]["alerts"] == {"title": "a bad one", "severity": "CRITICAL"}
        graph.service.mirror("http://127.0.0.1:9/x", start_at="2099-01-01T00:00:00Z")
        await until("tasks")
        assert heard["tasks"][0]["tasks"]["kind"] == "SUBMITTED"
        graph.send("GET", "/api/v3/followed")
        await until("logs")
        assert "followed" in heard["logs"][0]["logs"]["message"]


async def test_others_do_not_hear_of_tasks_that_are_not_theirs(graph: Graph) -> None:
    bob, eve = graph.as_("operate", "bob"), graph.as_("operate", "eve")
    query = "subscription { tasks { task { user } } }"
    async with graph.connect(bob.headers) as one, graph.connect(eve.headers) as two:
        wires = [Wire(one), Wire(two)]
        for wire in wires:
            await wire.begin()
            await wire.subscribe("a", query)
            await wire.subscribe("ready", "{ viewer { user } }")
            await wire.next("ready")
            assert (await wire.hear())["type"] == "complete"
        submit = """mutation($s: String!) { submitTasks(input: [
            {source: $s, startAt: "2099-01-01T00:00:00Z"}]) { __typename } }"""
        eve.data(submit, s="http://127.0.0.1:9/eve")
        assert await wires[1].next("a") == {"tasks": {"task": {"user": "eve"}}}
        bob.data(submit, s="http://127.0.0.1:9/bob")
        assert await wires[0].next("a") == {"tasks": {"task": {"user": "bob"}}}


async def test_plugins_that_are_ended_are_told(graph: Graph) -> None:
    plugging.write(
        graph.service,
        "falls",
        """
        import os
        from bot.core.plugin_manager import BasePlugin

        class Falls(BasePlugin):
            async def execute(self):
                os._exit(3)
        """,
    )
    await asyncio.to_thread(plugging.until, graph.service, "falls")
    async with graph.connect() as socket:
        wire = Wire(socket)
        await wire.begin()
        await wire.subscribe("a", "subscription { pluginEvents { plugin kind } }")
        await wire.subscribe("b", 'mutation { executePlugin(name: "falls") { __typename } }')
        heard: dict[str, Any] = {}
        while len(heard) < 2:
            message = await wire.hear()
            if message["type"] == "next":
                heard[message["id"]] = message["payload"]["data"]
        assert heard["a"]["pluginEvents"] == {"plugin": "falls", "kind": "crashed"}


# The end


async def test_who_follows_is_told_that_the_service_stops(tmp_path: Path) -> None:
    with Service(tmp_path, ENABLE_PLUGIN_SYSTEM="false") as service:
        graph = Graph(service)
        with closing(Events(graph, "subscription { tasks { id } }")) as events:
            async with graph.connect() as socket:
                wire = Wire(socket)
                await wire.begin()
                await wire.subscribe("a", "subscription { alerts { id } }")
                await wire.subscribe("b", "{ viewer { user } }")
                await wire.next("b")
                assert await asyncio.to_thread(service.terminate) == 0
                await socket.wait_closed()
                assert socket.close_code in {1001, 1012}
            assert events.next() == ("complete", None)
        assert "Traceback" not in service.log
        assert "ERROR" not in service.log.upper().replace("ERRORS", "")

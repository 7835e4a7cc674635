"""How often a caller may ask: over HTTP and WebSocket, alone and together with other services."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bot.errors import TooMany
from bot.graphql.rates import Rates, Window
from bot.graphql.rates_redis import RedisCount
from bot.services import Scope
from tests.asking import asking
from tests.rig import ManualClock
from tests.servers.redis import RedisServer

ASKED = "{ viewer { user } }"
LIMITED = {"GRAPHQL_SECURITY__RATE_LIMIT_QUERIES": "true"}


async def test_a_hundred_a_minute_by_default(tmp_path: Path) -> None:
    async with asking(tmp_path, **LIMITED) as it:
        statuses = [(await it.ask(ASKED)).status for _ in range(101)]
        assert statuses == [200] * 100 + [429]
        it.clock.advance(20.5)
        refused = await it.ask(ASKED)
        error = refused.json["errors"][0]["extensions"]
        assert (error["code"], error["retry_after"]) == ("too_many", 40)
        assert refused.headers["retry-after"] == "40"
        # Of this caller alone: others, and who is nobody, count for themselves.
        other = await it.token("bob", Scope.VIEW)
        assert (await it.ask(ASKED, token=other)).status == 200
        it.clock.advance(40)
        assert (await it.ask(ASKED)).status == 200


async def test_a_wrong_token_costs_nobody_anything(tmp_path: Path) -> None:
    limits = LIMITED | {"GRAPHQL_SECURITY__MAX_QUERIES_PER_MINUTE": "3"}
    async with asking(tmp_path, **limits) as it:
        for _ in range(10):
            assert (await it.ask(ASKED, token="mltb_wrong")).status == 401
            assert (await it.ask(ASKED, token="")).status == 401
        assert [(await it.ask(ASKED)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_rate_limit_queries_turns_it_off(tmp_path: Path) -> None:
    limits = {"GRAPHQL_SECURITY__MAX_QUERIES_PER_MINUTE": "1"}
    async with asking(tmp_path, GRAPHQL_SECURITY__RATE_LIMIT_QUERIES="false", **limits) as it:
        assert {(await it.ask(ASKED)).status for _ in range(5)} == {200}


async def test_operations_of_a_websocket_count(tmp_path: Path) -> None:
    limits = LIMITED | {"GRAPHQL_SECURITY__MAX_QUERIES_PER_MINUTE": "2"}
    async with asking(tmp_path, **limits) as it:
        token = await it.token()
        said = [
            {"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}},
            *({"type": "subscribe", "id": str(n), "payload": {"query": ASKED}} for n in range(3)),
        ]
        waiting = [{"type": "websocket.connect"}]
        waiting += [{"type": "websocket.receive", "text": json.dumps(each)} for each in said]
        told: list[dict[str, Any]] = []
        ended = 0

        async def receive() -> dict[str, Any]:
            if not waiting:
                await over.wait()
                return {"type": "websocket.disconnect", "code": 1000}
            return waiting.pop(0)

        async def send(message: dict[str, Any]) -> None:
            nonlocal ended
            if message["type"] == "websocket.send":
                told.append(json.loads(str(message["text"])))
                ended += told[-1]["type"] in {"complete", "error"}
                if ended == 3:
                    over.set()

        over = asyncio.Event()
        scope = {
            "type": "websocket",
            "path": "/graphql",
            "headers": [],
            "subprotocols": ["graphql-transport-ws"],
        }
        async with asyncio.timeout(20):
            await it.web(scope, receive, send)
        kinds = [each["type"] for each in told]
        assert kinds.count("complete") == 2
        (error,) = [each for each in told if each["type"] == "error"]
        assert error["payload"][0]["extensions"]["code"] == "too_many"
        assert (await it.ask(ASKED)).status == 429  # they are of one caller


def test_a_window_remembers_only_who_asked_in_the_last_minute() -> None:
    window = Window(2)
    for number in range(5000):
        assert window.hit(f"caller {number}", number * 0.1) == 0
    assert len(window) < 2000
    assert [window.hit("a", 600.0) for _ in range(2)] == [0, 0]
    assert window.hit("a", 601.0) == pytest.approx(59)
    assert window.hit("a", 660.0) == 0
    assert len(window._times["a"]) <= 2


async def test_services_with_one_redis_count_together(redis_server: RedisServer) -> None:
    clock = ManualClock()
    counts = [RedisCount(5, redis_server.url, "together") for _ in range(2)]
    one, two = (Rates(5, clock, each) for each in counts)
    try:
        for rates in (one, two, one, two, one):
            await rates.count("ann")
        with pytest.raises(TooMany) as refused:
            await two.count("ann")
        assert refused.value.details["retry_after"] in range(1, 61)
        await two.count("bob")
    finally:
        await one.close()
        await two.close()


async def test_each_counts_alone_while_redis_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    with RedisServer() as server:
        rates = Rates(3, clock, RedisCount(3, server.url, "alone"))
        await rates.count("ann")
    try:
        for _ in range(2):
            await rates.count("ann")
        with pytest.raises(TooMany):
            await rates.count("ann")
        assert len(caplog.records) == 1  # it is not asked again for each
        clock.advance(3)
        with pytest.raises(TooMany):
            await rates.count("ann")
    finally:
        await rates.close()

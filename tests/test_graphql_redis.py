"""Kept answers in Redis, shared by several services; and what happens when it is gone."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

from redis.asyncio import Redis

from tests.asking import asking
from tests.servers.redis import RedisServer

RULES = "{ alertRules { name } }"
COUNTS = "{ taskCounts { state count } }"


def settings(url: str, prefix: str = "mine_") -> dict[str, str]:
    return {"QUERY_CACHE_BACKEND": "redis", "REDIS_URL": url, "CACHE_KEY_PREFIX": prefix}


async def keys(url: str) -> set[str]:
    async with Redis.from_url(url, decode_responses=True) as client:
        found = {str(key) for key in await client.keys()}
        await client.connection_pool.disconnect()
    return found


async def test_answers_are_in_redis_under_the_prefix(redis_url: str, tmp_path: Path) -> None:
    async with asking(tmp_path, **settings(redis_url)) as it:
        for _ in range(4):
            await it.data(RULES)
        assert it.made == 1
        found = await keys(redis_url)
        assert found
        assert {key[:5] for key in found} == {"mine_"}
        stats = (await it.data("{ cacheStats { backend hits entries } }"))["cacheStats"]
        assert stats == {"backend": "redis", "hits": 3, "entries": None}


async def test_services_share_what_is_kept_and_what_is_dropped(
    redis_url: str, tmp_path: Path
) -> None:
    places = [tmp_path / name for name in ("one", "two", "three")]
    for each in places:
        each.mkdir()
    async with (
        asking(places[0], **settings(redis_url)) as a,
        asking(places[1], **settings(redis_url)) as b,
        asking(places[2], **settings(redis_url, "other_")) as c,
    ):
        first = await a.data(COUNTS)
        assert await b.data(COUNTS) == first
        assert (a.made, b.made) == (1, 0)
        await c.data(COUNTS)  # under another prefix
        assert c.made == 1
        await a.rig.until(await a.rig.submit())
        fresh = await a.data(COUNTS)
        assert fresh != first
        async with asyncio.timeout(20):
            # Nothing is kept before Redis has dropped the old one.
            made = 0
            while made != a.made:
                made = a.made
                await a.data(COUNTS)
        assert await b.data(COUNTS) == fresh
        assert b.made == 0  # the new one is kept for both
        await c.data(COUNTS)
        assert c.made == 1


async def test_it_goes_on_without_redis(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        async with asking(tmp_path, **settings(server.url)) as it:
            await it.data(COUNTS)
            await it.data(COUNTS)
            assert it.made == 1
            stack.close()
            await it.rig.until(await it.rig.submit())
            found = (await it.data(COUNTS))["taskCounts"]
            assert {"state": "DONE", "count": 1} in found
            before = it.made
            await it.data(COUNTS)
            assert it.made == before + 1  # nothing is kept now


async def test_a_request_with_a_key_is_done_once_by_two_services(
    redis_url: str, tmp_path: Path
) -> None:
    async with asking(tmp_path, **settings(redis_url)) as it:
        body = {"query": 'mutation { triggerAlert(input: {title: "once"}) { __typename } }'}
        headers = {"idempotency-key": "k1"}
        for _ in range(3):
            found = await it.call("POST", "/graphql", body, headers=headers)
            assert found.json["data"] == {"triggerAlert": {"__typename": "Alert"}}
        assert it.count("graphql.mutation") == 1

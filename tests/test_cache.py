"""Both caches keep the same promises; a Redis that is gone is a cache without entries."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from bot.cache import Cache, open_cache
from bot.errors import ConfigError
from tests.servers.redis import RedisServer


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    url = None
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    opened = await open_cache(url, prefix=f"{request.node.name}_", max_bytes=100_000)
    yield opened
    await opened.close()


async def test_what_is_set_is_there_until_it_is_deleted(cache: Cache) -> None:
    assert await cache.get("a") is None
    await cache.set("a", b"\x00one\xff", ttl=60)
    await cache.set("b", b"two", ttl=60)
    assert await cache.get("a") == b"\x00one\xff"
    await cache.set("a", b"", ttl=60)
    assert await cache.get("a") == b""
    await cache.delete(["a", "never"])
    assert await cache.get("a") is None
    assert await cache.get("b") == b"two"
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (3, 2)


async def test_dropping_a_tag_forgets_its_entries_alone(cache: Cache) -> None:
    await cache.set("task:1", b"1", ttl=60, tags=["tasks", "task-1"])
    await cache.set("task:2", b"2", ttl=60, tags=["tasks", "task-2"])
    await cache.set("plain", b"3", ttl=60)
    await cache.drop(["task-1", "nobody has this"])
    assert await cache.get("task:1") is None
    assert await cache.get("task:2") == b"2"
    await cache.set("task:1", b"again", ttl=60, tags=["tasks", "task-1"])
    assert await cache.get("task:1") == b"again"
    await cache.drop(["tasks"])
    assert [await cache.get(key) for key in ("task:1", "task:2", "plain")] == [None, None, b"3"]


async def test_clear_forgets_everything_and_goes_on(cache: Cache) -> None:
    await cache.set("a", b"1", ttl=60, tags=["t"])
    await cache.set("b", b"2", ttl=60)
    await cache.clear()
    assert [await cache.get("a"), await cache.get("b")] == [None, None]
    await cache.set("b", b"3", ttl=60)
    assert await cache.get("b") == b"3"


async def test_no_time_to_live_and_too_large_are_not_kept(cache: Cache) -> None:
    await cache.set("a", b"1", ttl=0)
    await cache.set("b", b"1", ttl=-5)
    await cache.set("c", bytes(100_001), ttl=60)
    assert [await cache.get(key) for key in "abc"] == [None, None, None]


async def test_a_value_is_made_once_for_all_who_wait(cache: Cache) -> None:
    calls = 0
    started, release = asyncio.Event(), asyncio.Event()

    async def make() -> bytes:
        nonlocal calls
        calls += 1
        started.set()
        await release.wait()
        return b"made"

    waiters = [
        asyncio.ensure_future(cache.single_flight("k", ttl=60, make=make)) for _ in range(20)
    ]
    await started.wait()
    release.set()
    assert await asyncio.gather(*waiters) == [b"made"] * 20
    assert await cache.single_flight("k", ttl=60, make=make) == b"made"
    assert calls == 1


async def test_what_making_raises_reaches_all_and_is_not_kept(cache: Cache) -> None:
    calls = 0

    async def make() -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise LookupError("no")
        return b"second"

    both = await asyncio.gather(
        *(cache.single_flight("k", ttl=60, make=make) for _ in range(2)), return_exceptions=True
    )
    assert [type(result) for result in both] == [LookupError, LookupError]
    assert await cache.single_flight("k", ttl=60, make=make) == b"second"


@pytest.mark.parametrize("how", ["drop", "delete", "clear"])
async def test_a_value_that_is_outdated_while_it_is_made_is_not_kept(
    cache: Cache, how: str
) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def old() -> bytes:
        started.set()
        await release.wait()
        return b"old"

    async def new() -> bytes:
        return b"new"

    early = asyncio.ensure_future(cache.single_flight("k", ttl=60, make=old, tags=["t"]))
    await started.wait()
    if how == "drop":
        await cache.drop(["t"])
    elif how == "delete":
        await cache.delete(["k"])
    else:
        await cache.clear()
    # Whoever asks after the change must not get what was made from the state before it.
    assert await cache.single_flight("k", ttl=60, make=new, tags=["t"]) == b"new"
    release.set()
    assert await early == b"old"
    assert await cache.get("k") == b"new"


async def test_a_caller_that_gives_up_does_not_take_the_others_with_it(cache: Cache) -> None:
    started, release = asyncio.Event(), asyncio.Event()
    cancelled = False

    async def make() -> bytes:
        nonlocal cancelled
        started.set()
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled = True
            raise
        return b"made"

    first, second = (
        asyncio.ensure_future(cache.single_flight("k", ttl=60, make=make)) for _ in range(2)
    )
    await started.wait()
    first.cancel()
    await asyncio.wait([first])
    release.set()
    assert await second == b"made"
    assert not cancelled

    started.clear()
    release.clear()
    only = asyncio.ensure_future(cache.single_flight("other", ttl=60, make=make))
    await started.wait()
    only.cancel()
    await asyncio.wait([only])
    for _ in range(10):
        await asyncio.sleep(0)
    assert cancelled, "nobody waits for it any more"


async def test_memory_keeps_what_was_used_last_within_its_bytes() -> None:
    cache = await open_cache(None, prefix="", max_bytes=10_000)
    for number in range(20):
        await cache.set(f"{number}", bytes(700), ttl=60, tags=[f"t{number}"])
        await cache.get("0")
    stats = cache.stats()
    assert stats.bytes is not None
    assert stats.bytes <= 10_000
    assert stats.entries == 20 - stats.evictions
    assert await cache.get("0") is not None, "it was used all the time"
    assert await cache.get("1") is None
    assert await cache.get("19") is not None
    await cache.clear()
    assert (cache.stats().bytes, cache.stats().entries) == (0, 0)


async def test_memory_entries_end_with_their_time() -> None:
    clock = Clock()
    cache = await open_cache(None, prefix="", max_bytes=10_000, clock=clock)
    await cache.set("a", b"1", ttl=10, tags=["t"])
    clock.now += 9.9
    assert await cache.get("a") == b"1"
    clock.now += 0.2
    assert await cache.get("a") is None
    assert cache.stats().entries == 0


async def test_a_url_that_is_none_of_redis_is_refused() -> None:
    with pytest.raises(ConfigError, match="REDIS_URL"):
        await open_cache("http://127.0.0.1/", prefix="", max_bytes=1)


async def test_redis_entries_end_with_their_time(redis_url: str) -> None:
    from redis.asyncio import Redis

    cache = await open_cache(redis_url, prefix="ttl_", max_bytes=1000)
    await cache.set("a", b"1", ttl=30, tags=["t"])
    await cache.drop(["t"])
    async with Redis.from_url(redis_url) as client:
        keys = [key async for key in client.scan_iter("ttl_*")]
        lives = [await client.pttl(key) for key in keys]
    await cache.close()
    assert len(keys) == 2
    assert all(life > 0 for life in lives), "nothing stays in Redis for good"
    assert min(lives) <= 30_000


async def test_caches_of_one_prefix_share_and_others_do_not(redis_url: str) -> None:
    one, two, other = [
        await open_cache(redis_url, prefix=prefix, max_bytes=1000)
        for prefix in ("shared_", "shared_", "other_")
    ]
    await one.set("k", b"1", ttl=60, tags=["t"])
    assert await two.get("k") == b"1"
    assert await other.get("k") is None
    await other.drop(["t"])
    await other.clear()
    assert await two.get("k") == b"1"
    await two.drop(["t"])
    assert await one.get("k") is None
    for cache in (one, two, other):
        await cache.close()


async def test_a_drop_by_another_process_outdates_what_is_being_made(redis_url: str) -> None:
    one, two = [await open_cache(redis_url, prefix="race_", max_bytes=1000) for _ in range(2)]
    started, release = asyncio.Event(), asyncio.Event()

    async def old() -> bytes:
        started.set()
        await release.wait()
        return b"old"

    early = asyncio.ensure_future(one.single_flight("k", ttl=60, make=old, tags=["t"]))
    await started.wait()
    await two.drop(["t"])
    release.set()
    assert await early == b"old"
    assert await one.get("k") is None
    await one.close()
    await two.close()


@pytest.mark.usefixtures("redis_server")  # It skips where there is none.
async def test_redis_that_goes_away_means_misses_and_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()

    async def make() -> bytes:
        return b"made"

    with caplog.at_level(logging.INFO, "bot.cache"), RedisServer() as server:
        cache = await open_cache(server.url, prefix="x_", max_bytes=1000, clock=clock)
        await cache.set("k", b"1", ttl=60, tags=["t"])
        await cache.set("other", b"2", ttl=60)
        await _break(server)
        assert await cache.get("k") is None
        await cache.set("k", b"2", ttl=60)
        assert await cache.single_flight("k", ttl=60, make=make) == b"made"
        await cache.drop(["t"])
        await cache.delete(["other"])
        clock.now += 10
        assert await cache.get("k") is None
        assert len(caplog.records) == 1
        assert caplog.records[0].levelno == logging.WARNING
        await _mend(server)
        clock.now += 60
        # What was dropped meanwhile must not come back with the server.
        assert await cache.get("k") is None
        assert await cache.get("other") is None
        assert caplog.records[-1].message == "cache: Redis answers again"
        await cache.set("k", b"3", ttl=60, tags=["t"])
        assert await cache.get("k") == b"3"
        await cache.close()


async def _admin(server: RedisServer, *command: str) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(server.unix_url) as client:
        await client.execute_command(*command)


async def _break(server: RedisServer) -> None:
    """Cut the connections over TCP and take no more; the data stays."""
    await _admin(server, "CONFIG", "SET", "port", "0")
    await _admin(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def _mend(server: RedisServer) -> None:
    await _admin(server, "CONFIG", "SET", "port", str(server.port))


@pytest.mark.usefixtures("redis_server")
async def test_redis_that_refuses_writes_is_not_believed_before_it_forgets() -> None:
    with RedisServer() as server:
        cache = await open_cache(server.url, prefix="x_", max_bytes=1000)
        await cache.set("k", b"1", ttl=60, tags=["t"])
        await _admin(server, "CONFIG", "SET", "min-replicas-to-write", "1")
        await cache.drop(["t"])
        assert await cache.get("k") is None
        await _admin(server, "CONFIG", "SET", "min-replicas-to-write", "0")
        assert await cache.get("k") is None
        await cache.close()


async def test_many_commands_at_once_use_one_connection(redis_url: str) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(redis_url) as client:
        before = (await client.info("stats"))["total_connections_received"]
        cache = await open_cache(redis_url, prefix="many_", max_bytes=1000)
        await asyncio.gather(*(cache.set(f"{n}", b"%d" % n, ttl=60) for n in range(200)))
        found = await asyncio.gather(*(cache.get(f"{n}") for n in range(200)))
        after = (await client.info("stats"))["total_connections_received"]
        await cache.close()
    assert found == [b"%d" % n for n in range(200)]
    assert after - before == 1

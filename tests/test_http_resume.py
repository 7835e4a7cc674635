"""Interrupted fetches: drops, kills, losses of power, changed files; and fetches in parts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bot.engines.http_ranges import Ranges
from bot.engines.http_sidecar import Sidecar
from bot.engines.http_sidecar import read as read_positions
from bot.errors import Corrupt, InvalidInput, NetworkFailed, NoSpace, Refused
from tests.fetching import Fetcher, fetcher, safe_point, start_child
from tests.servers.behaviours import (
    AtMost,
    DropAfter,
    Gate,
    Gated,
    NoRanges,
    Sequence,
    Switch,
    Throttled,
    WrongRange,
)
from tests.servers.headers import WithHeaders
from tests.servers.http import HttpServer
from tests.servers.routes import KIB, MIB, Generated, Resource, Status

FILE = Generated(2 * MIB, 1)
BIG = Generated(24 * MIB, 2)


async def interrupted(mine: Fetcher, url: str, **options: Any) -> None:
    """Fetch until the connection drops, then wait for nothing else: there is a checkpoint."""
    with pytest.raises(NetworkFailed):
        await mine.fetch(url, **options)


def dropped(entity: Generated, after: int = MIB) -> Throttled:
    """Drops once, slowly enough for a checkpoint to be made before."""
    return Throttled(DropAfter(Resource(entity), after, times=1), rate=4 * MIB)


async def test_a_drop_is_resumed_where_it_was(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", dropped(FILE))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        assert mine.token is not None
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
        assert mine.files() == ["f"]
    assert http_server.seen.ranges() == [f"bytes={MIB}-"]
    assert http_server.seen.requests()[1].header("If-Range") == FILE.etag
    assert http_server.seen.repeated("/f") == 0


async def test_without_a_tag_the_date_is_the_condition(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", WithHeaders(dropped(FILE), {"ETag": None}))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
    assert "GMT" in (http_server.seen.requests()[1].header("If-Range") or "")
    assert http_server.seen.repeated("/f") == 0


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
async def test_without_a_validator_it_starts_over(
    etag: str | None, http_server: HttpServer, tmp_path: Path
) -> None:
    bare = WithHeaders(dropped(FILE), {"ETag": etag, "Last-Modified": None})
    url = http_server.add("/f", bare)
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
    assert http_server.seen.ranges() == []


async def test_a_changed_file_starts_over(http_server: HttpServer, tmp_path: Path) -> None:
    other = Generated(3 * MIB, "other")
    url = http_server.add("/f", Sequence(dropped(FILE), Resource(other)))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        fetched = await mine.fetch(url)
        assert (fetched.files[0].size, fetched.files[0].sha256) == (other.size, other.sha256)
        assert mine.files() == ["f"]


async def test_a_file_that_changed_under_a_server_without_if_range_starts_over(
    http_server: HttpServer, tmp_path: Path
) -> None:
    other = Generated(FILE.size, "other")

    def ignorant(request: Any) -> Any:
        return Resource(other)(request.without("If-Range"))

    url = http_server.add("/f", Sequence(dropped(FILE), ignorant))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        assert (await mine.fetch(url)).files[0].sha256 == other.sha256


async def test_a_file_that_became_shorter_starts_over(
    http_server: HttpServer, tmp_path: Path
) -> None:
    other = Generated(100 * KIB, "other")

    def ignorant(request: Any) -> Any:
        return Resource(other)(request.without("If-Range"))  # 416: there is no such part

    url = http_server.add("/f", Sequence(dropped(FILE), ignorant))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        assert (await mine.fetch(url)).files[0].sha256 == other.sha256


async def test_a_file_that_never_rests_is_refused(http_server: HttpServer, tmp_path: Path) -> None:
    class Restless:
        """A new version with every request; each drops."""

        def __init__(self) -> None:
            self.count = 0

        def __call__(self, request: Any) -> Any:
            self.count += 1
            return dropped(Generated(FILE.size, self.count))(request.without("If-Range"))

    url = http_server.add("/f", Restless())
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        with pytest.raises((Refused, NetworkFailed)):
            await mine.fetch(url)


@pytest.mark.parametrize("advertise", [False, True])
async def test_a_server_without_ranges_starts_over(
    advertise: bool, http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", NoRanges(dropped(FILE), advertise=advertise))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256


async def test_the_hash_covers_what_an_earlier_attempt_left(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", dropped(FILE))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        part = tmp_path / "job" / "f.part"
        part.write_bytes(b"X" + part.read_bytes()[1:])
        with pytest.raises(Corrupt):
            await mine.fetch(url, checksum=f"sha256:{FILE.sha256}")
        assert mine.files() == []
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256


async def test_a_finished_file_is_not_fetched_again(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Throttled(Resource(FILE), rate=8 * MIB))
    async with fetcher(tmp_path / "job") as mine:
        first = await mine.fetch(url)
        assert mine.token is not None
        assert await mine.fetch(url) == first
    assert http_server.seen.count() == 1


async def test_after_a_loss_of_power_only_durable_bytes_count(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", dropped(FILE))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        assert mine.token is not None
        mine.token |= {"boot": "another", "ranges": [[0, 300_000]]}
        part = tmp_path / "job" / "f.part"
        part.write_bytes(part.read_bytes()[:300_000] + b"\0" * 500_000)
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
    assert http_server.seen.ranges() == ["bytes=300000-"]


@pytest.mark.parametrize(
    "token",
    [
        {},
        {"v": 2, "name": "f"},
        {"v": 1, "name": "../f"},
        {"v": 1, "name": "f", "ranges": [[5, 1]]},
        {"v": 1, "name": "f", "size": "x"},
        {"v": 1, "name": "f", "size": FILE.size, "etag": FILE.etag, "ranges": [[0, 100]]},
    ],
)
async def test_a_token_that_fits_nothing_is_no_obstacle(
    token: dict[str, Any], http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Resource(FILE))
    async with fetcher(tmp_path / "job") as mine:
        (tmp_path / "job" / "old.part").write_bytes(b"of an attempt without a token")
        mine.token = token
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
        assert mine.files() == ["f"]


# Kills.


async def killed(
    server: HttpServer, url: str, tmp_path: Path, sent: int, **options: Any
) -> dict[str, Any]:
    """Kill a process that fetches ``url`` once the server has sent so much; its last token."""
    token_file = tmp_path / "token.json"
    path = "/" + url.rpartition("/")[2]
    child = start_child(url, tmp_path / "job", token_file, options=options)
    try:
        await safe_point(token_file, child)
        await server.seen.until(lambda seen: seen.bytes_sent(path) >= sent, 30)
    finally:
        child.kill()
        await asyncio.to_thread(child.communicate)
    await server.seen.until(lambda seen: seen.open_connections == 0)
    token: dict[str, Any] = json.loads(token_file.read_text())
    return token


async def test_after_a_kill_every_written_byte_counts(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Throttled(Resource(FILE), rate=MIB))
    token = await killed(http_server, url, tmp_path, MIB)
    there = (tmp_path / "job" / "f.part").stat().st_size
    assert there > 256 * KIB
    http_server.add("/f", Resource(FILE))
    async with fetcher(tmp_path / "job") as mine:
        mine.token = token
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
        assert mine.files() == ["f"]
    assert http_server.seen.ranges() == [f"bytes={there}-"]


async def test_after_a_kill_in_parts_every_written_byte_counts(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Throttled(Resource(BIG), rate=2 * MIB))
    token = await killed(http_server, url, tmp_path, 12 * MIB, segments=4)
    ranges = read_positions(tmp_path / "job" / "f.part.pos")
    assert ranges is not None
    assert len(ranges) > 1
    before = len(http_server.seen.requests())
    http_server.add("/f", Resource(BIG))
    async with fetcher(tmp_path / "job") as mine:
        mine.token = token
        assert (await mine.fetch(url, segments=1)).files[0].sha256 == BIG.sha256
        assert mine.files() == ["f"]
    after = http_server.seen.requests()[before:]
    assert sum(seen.sent for seen in after) == BIG.size - ranges.size


async def test_positions_survive_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "f.part.pos"
    beside = Sidecar(path)
    beside.write(Ranges([(0, 10), (20, 30)]))
    beside.write(Ranges([(0, 15), (20, 30)]))
    beside.close()
    data = bytearray(path.read_bytes())
    assert list(read_positions(path) or []) == [(0, 15), (20, 30)]
    data[30] ^= 0xFF
    path.write_bytes(bytes(data))
    assert list(read_positions(path) or []) == [(0, 10), (20, 30)]
    beside = Sidecar(path)
    beside.write(Ranges([(0, 30)]))
    beside.close()
    assert list(read_positions(path) or []) == [(0, 30)]
    path.write_bytes(b"nonsense" * 2000)
    assert read_positions(path) is None


async def test_a_full_disk_says_so_and_keeps_the_bytes(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Throttled(Resource(FILE), rate=8 * MIB))
    token_file = tmp_path / "token.json"
    child = start_child(url, tmp_path / "job", token_file, file_limit=MIB)
    said, _ = await asyncio.to_thread(child.communicate)
    assert said.startswith(b"NoSpace f does not fit into")
    assert b"bytes are free" in said
    assert (tmp_path / "job" / "f.part").stat().st_size == MIB
    async with fetcher(tmp_path / "job") as mine:
        mine.token = json.loads(token_file.read_text())
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
    assert http_server.seen.ranges() == [f"bytes={MIB}-"]
    assert not NoSpace.retryable


# Parts.


async def test_parts_are_fetched_side_by_side(http_server: HttpServer, tmp_path: Path) -> None:
    gate = Gate()
    url = http_server.add("/f", Gated(Resource(BIG), gate, after=64 * KIB))
    async with fetcher(tmp_path / "job") as mine:
        task = asyncio.create_task(mine.fetch(url, segments=4))
        await http_server.seen.until(lambda seen: seen.max_active >= 4)
        assert mine.engine.snapshot()["task"].connections == 4
        gate.open()
        assert (await task).files[0].sha256 == BIG.sha256
        assert mine.files() == ["f"]
    assert all(seen.status == 206 for seen in http_server.seen.requests()[1:])


async def test_a_slow_server_gets_more_connections(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", Throttled(Resource(BIG), rate=2 * MIB))
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.fetch(url)).files[0].sha256 == BIG.sha256
    assert http_server.seen.max_active >= 4


async def test_a_fast_server_gets_one_connection(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", Resource(BIG))
    async with fetcher(tmp_path / "job") as mine:
        await mine.fetch(url)
    assert http_server.seen.count() == 1


async def test_a_server_that_shares_its_speed_does_not_get_all_connections(
    http_server: HttpServer, tmp_path: Path
) -> None:
    class Shared:
        """All responses together are as fast as one alone."""

        def __call__(self, request: Any) -> Any:
            response = Resource(BIG)(request)
            response.body = self._slow(request, response.body)
            return response

        def _slow(self, request: Any, body: Any) -> Any:
            for block in body:
                for low in range(0, len(block), 32 * KIB):
                    yield block[low : low + 32 * KIB]
                    request.pause(max(1, http_server.seen._active) * 32 * KIB / (8 * MIB))

    url = http_server.add("/f", Shared())
    most = []
    # A busy machine can make one more connection look like a gain, but not every time.
    for attempt in range(3):
        http_server.seen.max_active = 0
        async with fetcher(tmp_path / f"job{attempt}") as mine:
            assert (await mine.fetch(url)).files[0].sha256 == BIG.sha256
        most.append(http_server.seen.max_active)
        if most[-1] <= 4:
            break
    assert min(most) <= 4


async def test_a_server_without_ranges_gets_one_connection(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", NoRanges(Throttled(Resource(FILE), rate=2 * MIB)))
    async with fetcher(tmp_path / "job") as mine:
        await mine.fetch(url, segments=8)
    assert http_server.seen.max_active == 1


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_host_that_limits_connections_is_taken_as_it_is(
    limit: int, http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", AtMost(Throttled(Resource(BIG), rate=8 * MIB), limit))
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.fetch(url, segments=8)).files[0].sha256 == BIG.sha256


@pytest.mark.parametrize("liar", [WrongRange, lambda inner: NoRanges(inner, advertise=True)])
async def test_a_server_that_lies_about_ranges_costs_no_byte(
    liar: Any, http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", liar(Throttled(Resource(BIG), rate=16 * MIB)))
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.fetch(url, segments=4)).files[0].sha256 == BIG.sha256


async def test_a_part_that_drops_is_fetched_by_another(
    http_server: HttpServer, tmp_path: Path
) -> None:
    class DropsOnePart:
        def __init__(self) -> None:
            self.done = False

        def __call__(self, request: Any) -> Any:
            inner = Throttled(Resource(BIG), rate=8 * MIB)
            if request.header("Range") is None or self.done:
                return inner(request)
            self.done = True
            return DropAfter(inner, 256 * KIB)(request)

    url = http_server.add("/f", DropsOnePart())
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.fetch(url, segments=4)).files[0].sha256 == BIG.sha256


async def test_a_file_that_changes_between_parts_starts_over(
    http_server: HttpServer, tmp_path: Path
) -> None:
    other = Generated(BIG.size, "other")
    slow = Throttled(Resource(BIG), rate=4 * MIB)
    route = Switch(slow, Resource(other))
    url = http_server.add("/f", route)
    async with fetcher(tmp_path / "job") as mine:
        task = asyncio.create_task(mine.fetch(url, segments=2))
        await http_server.seen.until(lambda seen: seen.bytes_sent("/f") > MIB)
        route.turn()
        http_server.cut()
        for _ in range(3):
            try:
                fetched = await task
                break
            except NetworkFailed:
                task = asyncio.create_task(mine.fetch(url, segments=2))
        assert fetched.files[0].sha256 == other.sha256


async def test_parts_of_an_interrupted_fetch_are_resumed(
    http_server: HttpServer, tmp_path: Path
) -> None:
    route = Switch(Throttled(Resource(BIG), rate=4 * MIB), Resource(BIG))
    url = http_server.add("/f", route)
    async with fetcher(tmp_path / "job") as mine:
        task = asyncio.create_task(mine.fetch(url, segments=4))
        await http_server.seen.until(lambda seen: seen.bytes_sent("/f") > 8 * MIB)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ranges = read_positions(tmp_path / "job" / "f.part.pos")
        assert ranges is not None
        await http_server.seen.until(lambda seen: seen.open_connections == 0)
        route.turn()
        before = len(http_server.seen.requests())
        assert (await mine.fetch(url, segments=4)).files[0].sha256 == BIG.sha256
    after = http_server.seen.requests()[before:]
    assert sum(seen.sent for seen in after) >= BIG.size - ranges.size


async def test_segments_that_are_not_possible_are_invalid(
    http_server: HttpServer, tmp_path: Path
) -> None:
    async with fetcher(tmp_path / "job") as mine:
        for segments in (0, -1, 65):
            with pytest.raises(InvalidInput):
                await mine.fetch(http_server.url("/f"), segments=segments)


async def test_a_source_that_is_gone_fails_and_keeps_the_bytes(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Sequence(dropped(FILE), Status(503), Resource(FILE)))
    async with fetcher(tmp_path / "job") as mine:
        await interrupted(mine, url)
        with pytest.raises(Refused):
            await mine.fetch(url)
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
    assert http_server.seen.ranges() == [f"bytes={MIB}-"] * 2

"""The rclone engine against real remotes: S3, WebDAV and SFTP servers, directories, crypt."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bot.domain.task import FileEntry, TaskOptions
from bot.engines.rclone import RcloneEngine
from bot.errors import (
    Corrupt,
    NetworkFailed,
    PolicyRefused,
    SourceNotFound,
    TransferError,
)
from tests.remotes import (
    KINDS,
    MIB,
    World,
    engine_of,
    folder_on,
    hashes_of,
    make_world,
)
from tests.servers.content import content, sha256_of
from tests.servers.rclone import Serve


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture(params=KINDS)
def remote(request: pytest.FixtureRequest, world: World) -> Iterator[str]:
    with folder_on(request.param, world) as folder:
        yield folder


@pytest.fixture
async def engine(world: World) -> AsyncIterator[RcloneEngine]:
    async with engine_of(world) as made:
        yield made


async def test_a_file_goes_there_is_verified_and_comes_back(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    entry = world.make("film.mkv", 3 * MIB + 17)
    job = world.deliver_job([entry], f"{remote}/in")
    delivered = await engine.deliver(job)
    assert delivered.path == f"{remote}/in/film.mkv"
    assert [f.path for f in delivered.files] == ["film.mkv"]
    assert await engine.verify(job, delivered) in {"remote-hash", "read-back"}
    assert await hashes_of(world, engine, delivered) == [entry.sha256]
    plan = await engine.plan(delivered.path, TaskOptions())
    assert (plan.name, plan.size, len(plan.files)) == ("film.mkv", entry.size, 1)
    await engine.discard(job, delivered)
    with pytest.raises(SourceNotFound):
        await engine.plan(delivered.path, TaskOptions())


async def test_a_folder_goes_there_and_comes_back(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    entries = [world.make(f"{n}/part {n}.bin", 1000 + n, str(n)) for n in range(12)]
    job = world.deliver_job(entries, remote, name="Season 1")
    delivered = await engine.deliver(job)
    assert delivered.path == f"{remote}/Season 1"
    assert await engine.verify(job, delivered) in {"remote-hash", "read-back"}
    plan = await engine.plan(delivered.path, TaskOptions())
    assert (plan.name, plan.size) == ("Season 1", sum(e.size for e in entries))
    assert await hashes_of(world, engine, delivered) == sorted_hashes(entries)
    assert not [name for name in world.names() if ".mltb-" in name]
    await engine.discard(job, delivered)
    with pytest.raises(SourceNotFound):
        await engine.plan(delivered.path, TaskOptions())


def sorted_hashes(entries: list[FileEntry]) -> list[str | None]:
    return [entry.sha256 for entry in sorted(entries, key=lambda e: e.path)]


# Names at the destination


async def test_a_taken_name_is_not_overwritten(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    first, second = world.make("a.tar.gz", 2000, "1"), world.make("b.tar.gz", 2000, "2")
    world.path.joinpath("fetched/b.tar.gz").rename(world.path / "fetched/a.tar.gz.2")
    before = await engine.deliver(world.deliver_job([first], remote))
    world.path.joinpath("fetched/a.tar.gz.2").rename(world.path / "fetched/a.tar.gz")
    second = FileEntry("a.tar.gz", second.size, second.sha256)
    after = await engine.deliver(world.deliver_job([second], remote, job="task2"))
    assert (before.path, after.path) == (f"{remote}/a.tar.gz", f"{remote}/a (1).tar.gz")
    with pytest.raises(PolicyRefused, match="exists already"):
        await engine.deliver(world.deliver_job([second], remote, job="task3", overwrite="refuse"))
    again = world.deliver_job([second], remote, job="task4", overwrite="replace")
    replaced = await engine.deliver(again)
    assert replaced.path == before.path
    await engine.verify(again, replaced)
    assert await hashes_of(world, engine, replaced) == [second.sha256]


async def test_a_taken_folder_is_not_overwritten(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    entries = [world.make("x/1.bin", 100, "1"), world.make("x/2.bin", 100, "2")]
    before = await engine.deliver(world.deliver_job(entries, remote, name="set"))
    after = await engine.deliver(world.deliver_job(entries, remote, name="set", job="task2"))
    assert (before.path, after.path) == (f"{remote}/set", f"{remote}/set (1)")
    third = world.deliver_job(entries[:1], remote, name="set", job="task3", overwrite="replace")
    replaced = await engine.deliver(third)
    assert replaced.path == f"{remote}/set"
    await engine.verify(third, replaced)
    await engine.discard(third, replaced)
    plan = await engine.plan(f"{remote}/set", TaskOptions())
    assert [f.path for f in plan.files] == ["x/2.bin"]


async def test_two_deliveries_at_once_get_two_names(world: World, engine: RcloneEngine) -> None:
    entry = world.make("a.bin", MIB)
    jobs = [world.deliver_job([entry], "disk:box", job=f"task{n}") for n in range(4)]
    delivered = await asyncio.gather(*(engine.deliver(job) for job in jobs))
    assert len({each.path for each in delivered}) == 4
    assert len(world.names("box")) == 4


async def test_hostile_names_go_there_and_come_back(world: World, engine: RcloneEngine) -> None:
    names = ["a\nb.bin", " lead", "trail ", "ünïcode ✓.bin", "x" * 250, "semi;colon:`$(x)`", "-rf"]
    entries = [world.make(f"in/{name}", 100 + n, name) for n, name in enumerate(names)]
    job = world.deliver_job(entries, "disk:box", name="odd")
    delivered = await engine.deliver(job)
    assert await engine.verify(job, delivered) == "remote-hash"
    hashes = await hashes_of(world, engine, delivered)
    assert sorted(hashes) == sorted(str(entry.sha256) for entry in entries)


# Verification


async def test_a_changed_destination_is_noticed(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    entry = world.make("a.bin", 3000, "good")
    job = world.deliver_job([entry], remote)
    delivered = await engine.deliver(job)
    other = FileEntry("a.bin", 3000, sha256_of("evil", 3000))
    job.files = [other]
    world.path.joinpath("fetched/a.bin").write_bytes(content("evil", 3000))
    with pytest.raises(Corrupt, match="not what was sent"):
        await engine.verify(job, delivered)
    await engine.discard(job, delivered)
    with pytest.raises(Corrupt, match="missing"):
        await engine.verify(job, delivered)


async def test_a_file_that_changed_here_is_noticed(world: World, engine: RcloneEngine) -> None:
    world.store.joinpath("box").mkdir()
    entry = world.make("a.bin", 3000, "good")
    with Serve("s3", world.store) as server:
        server.write_config(world.config, "net")
        world.path.joinpath("fetched/a.bin").write_bytes(content("rotten", 3000))
        job = world.deliver_job([entry], "net:box")
        delivered = await engine.deliver(job)
        with pytest.raises(Corrupt, match="changed on this machine"):
            await engine.verify(job, delivered)


async def test_remotes_without_hashes_are_read_back(world: World, engine: RcloneEngine) -> None:
    entry = world.make("a.bin", 3000)
    job = world.deliver_job([entry], "vault:")
    delivered = await engine.deliver(job)
    assert await engine.verify(job, delivered) == "read-back"
    (stored,) = (world.store / "vault").iterdir()
    raw = bytearray(stored.read_bytes())
    raw[-1] ^= 1
    stored.write_bytes(raw)
    with pytest.raises((Corrupt, TransferError)):
        await engine.verify(job, delivered)


# Remote to remote, and streams


@pytest.mark.parametrize("way", ["same", "into", "out of"])
async def test_remote_to_remote(world: World, engine: RcloneEngine, remote: str, way: str) -> None:
    entries = [world.make("a.bin", 5000, "a"), world.make("b/c.bin", 6000, "b")]
    source, target = {
        "same": (remote, f"{remote}/copy"),
        "into": ("disk:from", remote),
        "out of": (remote, "disk:to"),
    }[way]
    first = await engine.deliver(world.deliver_job(entries, source, name="set", job="task0"))
    (world.path / "fetched").rename(world.path / "gone")
    job = world.deliver_job([], target, name="set")
    delivered = await engine.transfer(world.fetch_job(first.path), job)
    assert delivered.path == f"{target}/set"
    job.files = delivered.files
    assert await engine.verify(job, delivered) in {"remote-hash", "read-back"}
    assert await hashes_of(world, engine, delivered) == [e.sha256 for e in entries]
    single = world.deliver_job([], target, name="other.bin", job="task2")
    moved = await engine.transfer(world.fetch_job(f"{first.path}/a.bin"), single)
    assert moved.path == f"{target}/other.bin"
    single.files = moved.files
    await engine.verify(single, moved)


async def chunks_of(seed: str, size: int, *, stop: int | None = None) -> AsyncIterator[bytes]:
    data = content(seed, size)
    for start in range(0, size, 100_000):
        if stop is not None and start >= stop:
            raise NetworkFailed("the source broke")
        yield data[start : start + 100_000]


@pytest.mark.parametrize("known", [True, False])
async def test_a_stream_is_delivered_and_verified(
    world: World, engine: RcloneEngine, remote: str, known: bool
) -> None:
    size = 3 * MIB + 5
    job = world.deliver_job([], remote)
    delivered = await engine.deliver_stream(
        job, "clip.mp4", size if known else None, chunks_of("s", size)
    )
    assert delivered.path == f"{remote}/clip.mp4"
    assert delivered.files == [FileEntry("clip.mp4", size, sha256_of("s", size))]
    job.files = delivered.files
    assert await engine.verify(job, delivered) in {"remote-hash", "read-back"}
    assert await hashes_of(world, engine, delivered) == [sha256_of("s", size)]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("at", [50_000, 2 * MIB])
async def test_a_broken_stream_leaves_nothing(
    world: World, engine: RcloneEngine, remote: str, known: bool, at: int
) -> None:
    size = 3 * MIB
    job = world.deliver_job([], remote)
    with pytest.raises(NetworkFailed, match="the source broke"):
        await engine.deliver_stream(
            job, "clip.mp4", size if known else None, chunks_of("s", size, stop=at)
        )
    with pytest.raises(SourceNotFound):
        await engine.plan(remote, TaskOptions())
    assert not [name for name in world.names() if "clip" in name]


async def test_a_stream_that_ends_early_is_no_file(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    with pytest.raises(NetworkFailed, match="had promised"):
        await engine.deliver_stream(
            world.deliver_job([], remote), "clip.mp4", 5000, chunks_of("s", 4000)
        )
    with pytest.raises(SourceNotFound):
        await engine.plan(remote, TaskOptions())

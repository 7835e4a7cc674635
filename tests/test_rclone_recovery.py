"""The rclone engine after a kill, a cancel, a limit; and its daemon."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from bot.domain.task import Progress, TaskOptions
from bot.engines.rclone import RcloneEngine
from bot.engines.rclone_remote import parse
from bot.engines.rclone_upload import pending_uploads
from bot.errors import (
    NetworkFailed,
    SourceNotFound,
)
from tests.remotes import (
    KINDS,
    MIB,
    World,
    engine_of,
    folder_on,
    is_rcd,
    make_world,
    moving,
    until,
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


# Going on


async def test_finished_files_are_not_fetched_again(world: World, engine: RcloneEngine) -> None:
    for n in range(3):
        world.put(f"box/{n}.bin", 4000, str(n))
    job = world.fetch_job("disk:box", token={"size": 12000})
    (job.directory / "0.bin").write_bytes(content("mine", 4000))
    half = job.directory / "1.bin.0123abcd.partial"
    half.write_bytes(b"half")
    fetched = await engine.fetch(job)
    assert [f.sha256 for f in fetched.files] == [
        sha256_of("mine", 4000),
        sha256_of("1", 4000),
        sha256_of("2", 4000),
    ]
    assert not half.exists()


async def test_a_killed_daemon_fails_the_job_which_goes_on(
    world: World, engine: RcloneEngine
) -> None:
    entries = [world.make("a/small.bin", 100, "s"), world.make("b/big.bin", 64 * MIB, "b")]
    job = world.deliver_job(entries, "disk:box", name="set", limit=2 * MIB)
    task = asyncio.ensure_future(engine.deliver(job))
    staged = world.store / "box/.mltb-task1/a/small.bin"
    await until(lambda: staged.exists() and moving(engine))
    kept = staged.stat().st_ino
    killed = [child for child in psutil.Process().children(recursive=True) if is_rcd(child)]
    assert len(killed) == 1
    killed[0].kill()
    with pytest.raises(NetworkFailed, match="rclone") as caught:
        await task
    assert caught.value.retryable
    again = world.deliver_job(entries, "disk:box", name="set", token=world.journal.tokens[-1])
    delivered = await engine.deliver(again)
    assert await engine.verify(again, delivered) == "remote-hash"
    assert (world.store / "box/set/a/small.bin").stat().st_ino == kept
    assert world.names() == ["box/set/a/small.bin", "box/set/b/big.bin"]


async def test_a_delivery_goes_on_from_each_of_its_tokens(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    entry = world.make("a.bin", 5000)
    job = world.deliver_job([entry], remote)
    first = await engine.deliver(job)
    job.token = world.journal.tokens[-1]  # killed at the end, before that was known
    second = await engine.deliver(job)
    assert second == first
    await engine.discard(job, second)
    job.token = world.journal.tokens[0]  # killed at the beginning
    third = await engine.deliver(job)
    assert third.path == first.path
    await engine.verify(job, third)
    await engine.discard(job, third)
    with pytest.raises(SourceNotFound):
        await engine.plan(remote, TaskOptions())


async def test_a_cancelled_delivery_leaves_nothing(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    kept = await engine.deliver(world.deliver_job([world.make("keep", 10)], remote, job="other"))
    entry = world.make("big.bin", 32 * MIB)
    job = world.deliver_job([entry], remote, limit=MIB)
    task = asyncio.ensure_future(engine.deliver(job))
    await until(lambda: moving(engine))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.snapshot() == {}
    job = world.deliver_job([entry], remote, token=world.journal.tokens[-1])
    await engine.discard(job, None)
    plan = await engine.plan(remote, TaskOptions())
    assert [f.path for f in plan.files] == [kept.path.rpartition("/")[2]]


async def test_a_cancelled_fetch_lets_go_of_the_directory(
    world: World, engine: RcloneEngine
) -> None:
    world.put("box/big.bin", 32 * MIB)
    job = world.fetch_job("disk:box/big.bin", limit=MIB)
    task = asyncio.ensure_future(engine.fetch(job))
    await until(lambda: moving(engine))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [p for p in job.directory.iterdir() if not p.name.endswith(".partial")]


async def test_a_cancelled_job_ends_inside_of_rclone(world: World, engine: RcloneEngine) -> None:
    world.put("box/big.bin", 32 * MIB)
    engine.set_limit(MIB)
    task = asyncio.ensure_future(engine.fetch(world.fetch_job("disk:box/big.bin")))
    await until(lambda: moving(engine))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The question itself is the only job that is left.
    assert len((await engine._shared.call("job/list"))["runningIds"]) == 1


async def test_half_multipart_uploads_are_aborted(world: World, engine: RcloneEngine) -> None:
    world.store.joinpath("box").mkdir()
    options = {"s3_chunk_size": "5M", "s3_upload_cutoff": "5M"}
    entry = world.make("big.bin", 24 * MIB)
    with Serve("s3", world.store) as server:
        server.write_config(world.config, "net")
        job = world.deliver_job([entry], "net:box", limit=4 * MIB, engine_options=options)
        for attempt in range(2):
            task = asyncio.ensure_future(engine.deliver(job))
            await until(lambda: moving(engine, 6 * MIB))
            for child in psutil.Process().children(recursive=True):
                if is_rcd(child) and child.pid != engine.pid:
                    child.kill()
            with pytest.raises(NetworkFailed):
                await task
            assert len(await pending(engine, "net:box")) == 1, attempt
            job.token = world.journal.tokens[-1]
        # The sweep knows the bucket from the ledger, although nobody asked for the job again.
        assert await engine.cleanup(3600) == 0
        assert await engine.cleanup(0) == 1
        assert await pending(engine, "net:box") == []
        job.limit = None
        delivered = await engine.deliver(job)
        assert await engine.verify(job, delivered) == "remote-hash"
        assert await pending(engine, "net:box") == []


async def pending(engine: RcloneEngine, place: str) -> list[str]:
    files = engine._files(engine._shared, "test", TaskOptions())
    return await pending_uploads(files, parse(place))


# The engine


async def test_limits_can_be_lifted(world: World, engine: RcloneEngine) -> None:
    """At these limits the two jobs would take longer than the test may."""
    size = 64 * MIB
    world.put("box/a.bin", size)
    world.put("box/b.bin", size)
    engine.set_limit(256 * 1024)
    one, two = world.fetch_job("disk:box/a.bin"), world.fetch_job("disk:box/b.bin", limit=1024)
    two.id, two.directory = "task2", world.path / "two"
    two.directory.mkdir()
    tasks = [asyncio.ensure_future(engine.fetch(job)) for job in (one, two)]
    await until(lambda: engine.snapshot().get("task1", Progress()).done > 0)
    await until(lambda: engine.snapshot().get("task2", Progress()).total == size)
    assert all(progress.done < size for progress in engine.snapshot().values())
    engine.set_limit(None)
    assert (await tasks[0]).files[0].size == size
    assert not tasks[1].done()
    engine.set_limit(None, "task2")
    assert (await tasks[1]).files[0].sha256 == sha256_of("x", size)


async def test_it_ends_its_daemon_when_idle(world: World) -> None:
    async with engine_of(world, idle=0.05) as engine:
        await engine.list_remotes()
        first = engine.pid
        assert first is not None
        await until(lambda: not psutil.pid_exists(first))
        assert await engine.list_remotes() == ["disk", "vault"]
        assert engine.pid != first


async def test_the_socket_is_ours_alone(world: World, engine: RcloneEngine) -> None:
    await engine.list_remotes()
    (socket,) = (path for path in (world.path / "state").rglob("*.sock"))
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    (child,) = (c for c in psutil.Process().children() if is_rcd(c))
    assert not [c for c in child.net_connections() if c.family.name.startswith("AF_INET")]


async def test_a_deep_state_directory(world: World) -> None:
    deep = World(world.path / ("d" * 60) / ("e" * 60), world.config)
    async with engine_of(deep) as engine:
        assert await engine.list_remotes() == ["disk", "vault"]


_ORPHAN = """
import asyncio, sys
from pathlib import Path
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.engines.rclone import RcloneEngine

async def main():
    engine = RcloneEngine(CurlLoop(EgressPolicy()), Path(sys.argv[1]), config=Path(sys.argv[2]))
    await engine.list_remotes()
    print(engine.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_no_orphan_survives_a_killed_service(world: World) -> None:
    service = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _ORPHAN,
        str(world.path / "state"),
        str(world.config),
        stdout=asyncio.subprocess.PIPE,
    )
    assert service.stdout is not None
    daemon = psutil.Process(int(await service.stdout.readline()))
    assert is_rcd(daemon)
    os.kill(service.pid, signal.SIGKILL)
    await service.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, [daemon], timeout=20)
    assert gone
    assert not alive

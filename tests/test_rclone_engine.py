"""The rclone engine against real remotes: S3, WebDAV and SFTP servers, directories, crypt."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from bot.domain.ports import Delivered, DeliverJob, FetchJob
from bot.domain.task import FileEntry, Progress, TaskOptions
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.engines.rclone import RcloneEngine
from bot.engines.rclone_remote import parse
from bot.engines.rclone_upload import pending_uploads
from bot.errors import (
    Corrupt,
    InvalidInput,
    NetworkFailed,
    PolicyRefused,
    SourceNotFound,
    TransferError,
    Unauthorised,
    Unsupported,
)
from tests.servers.content import content, sha256_of
from tests.servers.rclone import Serve, obscure, write_config

MIB = 1024 * 1024
SECRET = "not-a-secret-key"
# Without a directory cache, `rclone serve` takes seconds for each new folder.
CACHED = ("--dir-cache-time", "5m")


@dataclass
class Journal:
    tokens: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, token: dict[str, Any]) -> None:
        self.tokens.append(token)


@dataclass
class World:
    """An rclone.conf with remotes of every kind, and a place for their files."""

    path: Path
    config: Path
    journal: Journal = field(default_factory=Journal)

    @property
    def store(self) -> Path:
        return self.path / "store"

    def put(self, name: str, size: int, seed: str = "x") -> FileEntry:
        """A file at the remote."""
        path = self.store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(seed, size))
        return FileEntry(name, size, sha256_of(seed, size))

    def make(self, name: str, size: int, seed: str = "x") -> FileEntry:
        """A file that was fetched."""
        path = self.path / "fetched" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(seed, size))
        return FileEntry(name, size, sha256_of(seed, size))

    def fetch_job(self, source: str, token: dict[str, Any] | None = None, **more: Any) -> FetchJob:
        directory = self.path / "work"
        directory.mkdir(exist_ok=True)
        options, limit = TaskOptions(**more), more.get("limit")
        return FetchJob("task1", source, directory, options, token, self.journal, limit)

    def deliver_job(
        self,
        files: list[FileEntry],
        to: str,
        *,
        name: str | None = None,
        token: dict[str, Any] | None = None,
        overwrite: str = "rename",
        job: str = "task1",
        **more: Any,
    ) -> DeliverJob:
        return DeliverJob(
            id=job,
            directory=self.path / "fetched",
            files=files,
            destination=to,
            name=name,
            token=token,
            checkpoint=self.journal,
            overwrite=overwrite,
            limit=more.get("limit"),
            options=TaskOptions(**more),
        )

    def read(self, name: str) -> bytes:
        return (self.store / name).read_bytes()

    def names(self, below: str = "") -> list[str]:
        base = self.store / below
        return sorted(str(p.relative_to(base)) for p in base.rglob("*") if p.is_file())


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "store").mkdir()
    config = write_config(
        tmp_path / "rclone.conf",
        {
            "disk": {"type": "alias", "remote": str(tmp_path / "store")},
            "vault": {
                "type": "crypt",
                "remote": f"{tmp_path / 'store'}/vault",
                "password": obscure(SECRET),
            },
        },
    )
    return World(tmp_path, config)


@pytest.fixture(params=["s3", "webdav", "sftp", "disk", "vault"])
def remote(request: pytest.FixtureRequest, world: World) -> Iterator[str]:
    """A folder of a remote of each kind; what it holds is below ``store/box`` where it is plain."""
    kind = request.param
    if kind in {"disk", "vault"}:
        yield f"{kind}:box"
        return
    (world.store / "box").mkdir()
    with Serve(kind, world.store, arguments=CACHED) as server:
        server.write_config(world.config, "net")
        yield "net:box"


@asynccontextmanager
async def engine_of(world: World, **more: Any) -> AsyncIterator[RcloneEngine]:
    loop = CurlLoop(EgressPolicy())
    engine = RcloneEngine(loop, world.path / "state", config=world.config, **more)
    try:
        yield engine
    finally:
        await engine.close()
        await loop.close()


@pytest.fixture
async def engine(world: World) -> AsyncIterator[RcloneEngine]:
    async with engine_of(world) as made:
        yield made


async def there_and_back(world: World, engine: RcloneEngine, delivered: Delivered) -> list[str]:
    """The hashes of what a delivery left, fetched again."""
    job = world.fetch_job(delivered.path)
    job.directory = world.path / "again"
    job.directory.mkdir()
    return [entry.sha256 or "" for entry in (await engine.fetch(job)).files]


async def test_a_file_goes_there_is_verified_and_comes_back(
    world: World, engine: RcloneEngine, remote: str
) -> None:
    entry = world.make("film.mkv", 3 * MIB + 17)
    job = world.deliver_job([entry], f"{remote}/in")
    delivered = await engine.deliver(job)
    assert delivered.path == f"{remote}/in/film.mkv"
    assert [f.path for f in delivered.files] == ["film.mkv"]
    assert await engine.verify(job, delivered) in {"remote-hash", "read-back"}
    assert await there_and_back(world, engine, delivered) == [entry.sha256]
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
    assert await there_and_back(world, engine, delivered) == sorted_hashes(entries)
    assert not [name for name in world.names() if ".mltb-" in name]
    await engine.discard(job, delivered)
    with pytest.raises(SourceNotFound):
        await engine.plan(delivered.path, TaskOptions())


def sorted_hashes(entries: list[FileEntry]) -> list[str | None]:
    return [entry.sha256 for entry in sorted(entries, key=lambda e: e.path)]


async def until(condition: Any) -> None:
    """Wait until ``condition()`` holds; the timeout of the test bounds it."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


def moving(engine: RcloneEngine, least: int = 0) -> bool:
    return engine.snapshot().get("task1", Progress()).done > least


# What is refused, and how it is said


@pytest.mark.parametrize(
    ("source", "score"),
    [
        ("backup:videos/a.mkv", True),
        ("backup:", True),
        ("my remote:a b", True),
        (":s3:bucket/key", True),
        ("s3,access_key_id=x:bucket", True),
        ("http://host/file", False),
        ("https://host:80/a:b", False),
        ("magnet:?xt=urn:btih:00", False),
        ("sftp://host/file", False),
        ("sftp:dir/file", True),
        ("file:/etc/passwd", False),
        ("/srv/files", False),
        ("./a:b", False),
        ("plain", False),
        (":", False),
        ("", False),
    ],
)
async def test_what_it_accepts(engine: RcloneEngine, source: str, score: bool) -> None:
    assert (engine.accepts(source) > 0) is score
    assert engine.delivers_to(source) is score


@pytest.mark.parametrize(
    "source",
    [
        ":s3:bucket/key",
        ":http,url='http://169.254.169.254':latest",
        ":local:/etc/passwd",
        "disk,remote=/etc:passwd",
        "disk:../../etc/passwd",
        "disk:a/../../b",
        "disk:a\nb",
        "disk:a\x00b",
    ],
)
async def test_refused_shapes_say_why_and_start_nothing(
    world: World, engine: RcloneEngine, source: str
) -> None:
    entry = world.make("a", 10)
    with pytest.raises(PolicyRefused):
        await engine.plan(source, TaskOptions())
    with pytest.raises(PolicyRefused):
        await engine.fetch(world.fetch_job(source))
    with pytest.raises(PolicyRefused):
        await engine.deliver(world.deliver_job([entry], source))
    with pytest.raises(PolicyRefused):
        await engine.transfer(world.fetch_job("disk:a"), world.deliver_job([], source))
    assert engine.pid is None


async def test_an_unknown_remote_names_those_there_are(world: World, engine: RcloneEngine) -> None:
    with pytest.raises(InvalidInput, match="no remote 'nope'") as caught:
        await engine.plan("nope:a", TaskOptions())
    assert "disk, vault" in str(caught.value)
    assert await engine.list_remotes() == ["disk", "vault"]


async def test_nothing_there(world: World, engine: RcloneEngine, remote: str) -> None:
    with pytest.raises(SourceNotFound, match="nothing at"):
        await engine.plan(f"{remote}/missing", TaskOptions())
    with pytest.raises(SourceNotFound):
        await engine.fetch(world.fetch_job(f"{remote}/missing/file.bin"))


async def test_wrong_credentials_are_unauthorised_and_stay_secret(
    world: World, engine: RcloneEngine
) -> None:
    with Serve("s3", world.store) as server:
        section = server.section() | {"secret_access_key": "wrong-and-very-secret"}
        write_config(world.config, {"net": section})
        with pytest.raises(Unauthorised) as caught:
            await engine.plan("net:box/a", TaskOptions())
    assert "wrong-and-very-secret" not in str(caught.value)
    assert not caught.value.retryable


async def test_a_remote_that_is_down_is_tried_again(world: World) -> None:
    with Serve("webdav", world.store) as server:
        section = server.section()
    write_config(world.config, {"net": section})
    async with engine_of(world) as engine:
        with pytest.raises(NetworkFailed, match="refused") as caught:
            await engine.plan("net:a", TaskOptions())
    assert caught.value.retryable
    assert SECRET not in str(caught.value)


async def test_a_bucket_must_be_named(world: World, engine: RcloneEngine) -> None:
    entry = world.make("a", 10)
    with Serve("s3", world.store) as server:
        server.write_config(world.config, "net")
        with pytest.raises(InvalidInput, match="names no bucket"):
            await engine.deliver(world.deliver_job([entry], "net:"))


async def test_a_missing_program_says_how_to_get_it(world: World) -> None:
    async with engine_of(world, binary=world.path / "nowhere") as engine:
        with pytest.raises(Unsupported, match="no program"):
            await engine.list_remotes()


async def test_a_broken_configuration_is_quoted(world: World) -> None:
    world.config.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nxxxx\n")
    async with engine_of(world) as engine:
        with pytest.raises(TransferError) as caught:
            await engine.list_remotes()
        assert "config" in str(caught.value).lower()


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"config": "/etc/rclone.conf"},
        {"transfers": 1000},
        {"transfers": True},
        {"s3_chunk_size": "1K"},
        {"metadata": "yes"},
        {"include": [1]},
        {"backup_dir": "disk:x"},
        {"bwlimit": "1M"},
    ],
)
async def test_options_outside_of_the_list(
    world: World, engine: RcloneEngine, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        await engine.plan("disk:a", TaskOptions(engine_options=options))
    assert engine.pid is None


async def test_options_of_another_kind_of_remote(world: World, engine: RcloneEngine) -> None:
    job = world.deliver_job([world.make("a", 10)], "disk:", engine_options={"s3_chunk_size": "64M"})
    with pytest.raises(InvalidInput, match="of kind alias"):
        await engine.deliver(job)


async def test_options_reach_rclone(world: World, engine: RcloneEngine) -> None:
    world.store.joinpath("box").mkdir()
    options = {"s3_chunk_size": "5M", "s3_upload_cutoff": "5M", "transfers": 2, "quality": "best"}
    entry = world.make("big.bin", 11 * MIB)
    with Serve("s3", world.store) as server:
        server.write_config(world.config, "net")
        job = world.deliver_job([entry], "net:box", engine_options=options)
        delivered = await engine.deliver(job)
        assert await engine.verify(job, delivered) == "remote-hash"
    assert world.read("box/big.bin") == content("x", entry.size)


async def test_filters_and_selection(world: World, engine: RcloneEngine) -> None:
    for name in ("a.mkv", "b.txt", "c.mkv", "d/e.mkv"):
        world.put(f"box/{name}", 100, name)
    wanted = {"exclude": ["*.txt"]}
    plan = await engine.plan("disk:box", TaskOptions(engine_options=wanted))
    assert [f.path for f in plan.files] == ["a.mkv", "c.mkv", "d/e.mkv"]
    job = world.fetch_job("disk:box", engine_options=wanted, select=[0, 2])
    fetched = await engine.fetch(job)
    assert [(f.path, f.sha256) for f in fetched.files] == [
        ("a.mkv", sha256_of("a.mkv", 100)),
        ("d/e.mkv", sha256_of("d/e.mkv", 100)),
    ]
    assert fetched.name == "box"
    with pytest.raises(InvalidInput, match="does not fit"):
        await engine.fetch(world.fetch_job("disk:box", select=[9]))


async def test_a_given_name_and_checksum(world: World, engine: RcloneEngine) -> None:
    entry = world.put("box/a.bin", 5000)
    good = world.fetch_job("disk:box/a.bin", name="../b.bin", checksum=f"sha256:{entry.sha256}")
    assert [f.path for f in (await engine.fetch(good)).files] == [".._b.bin"]
    bad = world.fetch_job("disk:box/a.bin", checksum="md5:" + "0" * 32)
    with pytest.raises(Corrupt, match="md5"):
        await engine.fetch(bad)


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
    assert await there_and_back(world, engine, replaced) == [second.sha256]


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
    hashes = await there_and_back(world, engine, delivered)
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


def is_rcd(process: psutil.Process) -> bool:
    try:
        return "rcd" in process.cmdline()
    except psutil.Error:
        return False


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
    assert await there_and_back(world, engine, delivered) == [e.sha256 for e in entries]
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
    assert await there_and_back(world, engine, delivered) == [sha256_of("s", size)]


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
        assert engine.pid is None
        await engine.list_remotes()
        first = engine.pid or 0
        assert first > 0
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

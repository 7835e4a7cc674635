"""The rclone engine against real remotes: S3, WebDAV and SFTP servers, directories, crypt."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.domain.ports import Delivered, DeliverJob, FetchJob
from bot.domain.task import FileEntry, TaskOptions
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.engines.rclone import RcloneEngine
from bot.errors import (
    SourceNotFound,
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

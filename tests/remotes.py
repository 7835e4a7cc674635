"""An rclone.conf with remotes of every kind, and an engine that reads it, for the rclone tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil

from bot.domain.ports import Delivered, DeliverJob, FetchJob
from bot.domain.task import FileEntry, Progress, TaskOptions
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.engines.rclone import RcloneEngine
from tests.servers.content import content, sha256_of
from tests.servers.rclone import Kind, Serve, obscure, write_config

KINDS = ("s3", "webdav", "sftp", "disk", "vault")
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


def make_world(path: Path) -> World:
    """`disk:` is a directory, `vault:` an encrypted one below it."""
    (path / "store").mkdir()
    store = str(path / "store")
    vault = {"type": "crypt", "remote": f"{store}/vault", "password": obscure(SECRET)}
    disk = {"type": "alias", "remote": store}
    return World(path, write_config(path / "rclone.conf", {"disk": disk, "vault": vault}))


@contextmanager
def folder_on(kind: str, world: World) -> Iterator[str]:
    """A folder of a remote of that kind; what it holds is below `store/box` where it is plain."""
    if kind in {"disk", "vault"}:
        yield f"{kind}:box"
        return
    (world.store / "box").mkdir()
    with Serve(cast("Kind", kind), world.store, arguments=CACHED) as server:
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


async def hashes_of(world: World, engine: RcloneEngine, delivered: Delivered) -> list[str]:
    """The hashes of what a delivery left, fetched again."""
    job = world.fetch_job(delivered.path)
    job.directory = world.path / "again"
    job.directory.mkdir()
    return [entry.sha256 or "" for entry in (await engine.fetch(job)).files]


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition()`` holds; the timeout of the test bounds it."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


def moving(engine: RcloneEngine, least: int = 0) -> bool:
    return engine.snapshot().get("task1", Progress()).done > least


def is_rcd(process: psutil.Process) -> bool:
    try:
        return "rcd" in process.cmdline()
    except psutil.Error:
        return False

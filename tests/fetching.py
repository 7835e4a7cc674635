"""What the tests of the HTTP engine need: an engine, jobs, and a child to kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bot.domain.ports import Fetched, FetchJob
from bot.domain.task import TaskOptions
from bot.engines.curl import CurlLoop, Resolve
from bot.engines.egress import EgressPolicy
from bot.engines.http import HttpEngine
from bot.errors import MltbError


class Fetcher:
    """An engine and a directory that the jobs of one task share; ``token`` is its last."""

    def __init__(self, engine: HttpEngine, loop: CurlLoop, directory: Path) -> None:
        self.engine = engine
        self.loop = loop
        self.directory = directory
        self.token: dict[str, Any] | None = None
        self.tokens: list[dict[str, Any]] = []

    def job(self, url: str, *, limit: int | None = None, **options: Any) -> FetchJob:
        async def checkpoint(token: dict[str, Any]) -> None:
            self.token = json.loads(json.dumps(token))
            self.tokens.append(token)

        return FetchJob(
            id="task",
            source=url,
            directory=self.directory,
            options=TaskOptions(**options),
            token=self.token,
            checkpoint=checkpoint,
            limit=limit,
        )

    async def fetch(self, url: str, *, limit: int | None = None, **options: Any) -> Fetched:
        return await self.engine.fetch(self.job(url, limit=limit, **options))

    async def plan(self, url: str, **options: Any) -> Any:
        return await self.engine.plan(url, TaskOptions(**options))

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@contextlib.asynccontextmanager
async def fetcher(
    directory: Path,
    *,
    allow: tuple[str, ...] = ("127.0.0.1",),
    resolve: Resolve | None = None,
    ca_file: Path | None = None,
    **settings: Any,
) -> AsyncIterator[Fetcher]:
    """An engine that may reach 127.0.0.1 and nothing else."""
    directory.mkdir(exist_ok=True)
    policy = EgressPolicy(allow)
    loop = CurlLoop(policy, ca_file=ca_file, resolve=resolve)
    engine = HttpEngine(loop, policy, **settings)
    try:
        yield Fetcher(engine, loop, directory)
    finally:
        await engine.close()
        await loop.close()


async def safe_point(token_file: Path, child: subprocess.Popen[bytes]) -> None:
    """Wait until the child has made a checkpoint."""
    for _ in range(2000):
        if token_file.exists():
            return
        if child.poll() is not None:
            raise AssertionError(f"the child ended with {child.returncode}")
        await asyncio.sleep(0.005)
    raise AssertionError("the child makes no checkpoint")


def start_child(url: str, directory: Path, token_file: Path, **options: Any) -> Any:
    """A process that fetches ``url``; its last token is in ``token_file``."""
    directory.mkdir(exist_ok=True)
    arguments = json.dumps(
        {"url": url, "directory": str(directory), "token": str(token_file), **options}
    )
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fetching", arguments],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
    )


async def _child(given: dict[str, Any]) -> None:
    token_file = Path(given["token"])
    directory = Path(given["directory"])
    if given.get("file_limit"):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (given["file_limit"], given["file_limit"]))

    async def checkpoint(token: dict[str, Any]) -> None:
        fresh = token_file.with_suffix(".new")
        fresh.write_text(json.dumps(token))
        fresh.replace(token_file)

    async with fetcher(directory) as mine:
        job = mine.job(given["url"], **given.get("options", {}))
        job.checkpoint = checkpoint
        job.token = json.loads(token_file.read_text()) if token_file.exists() else None
        try:
            said = repr(await mine.engine.fetch(job))
        except MltbError as error:
            said = f"{type(error).__name__} {error}"
    sys.stdout.write(said)


if __name__ == "__main__":
    asyncio.run(_child(json.loads(sys.argv[1])))

"""The command line's ways to the backups: through the running service, or by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from bot.app.operations_backups import offline_backups
from bot.app.parts import SystemClock
from bot.cli.client import Client, ServiceError
from bot.config import Settings
from bot.operations.backup_jobs import Job
from bot.operations.backup_seal import Keys
from bot.operations.backups import Backups
from bot.services import OWNER
from bot.services import Backups as Service
from bot.web import render_backups as render

Json = dict[str, Any]
#: Says which step is under way, and how much of it is done.
Show = Callable[[str, int, int], None]

_LOOK = 0.2  # seconds between two looks at what is under way


class Door(Protocol):
    """What the commands need; answers are those of REST."""

    def list(self, *, remotes: bool) -> Json:
        """Every backup."""

    def create(self, show: Show) -> Json:
        """Make one."""

    def verify(self, name: str, keys: Json, show: Show) -> Json:
        """Restore one into a scratch place and open it."""

    def delete(self, name: str) -> None:
        """Remove one."""


class ServiceDoor:
    """Through the running service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, remotes: bool) -> Json:
        """See Door."""
        found: Json = self._client.get("/backups/list", remotes=str(remotes).lower())
        return found

    def create(self, show: Show) -> Json:
        """See Door."""
        return self._settled(self._client.post("/backups/create", {"wait": _LOOK}), show)

    def verify(self, name: str, keys: Json, show: Show) -> Json:
        """See Door."""
        body = {"wait": _LOOK, **keys}
        return self._settled(self._client.post(f"/backups/{name}/verify", body), show)

    def delete(self, name: str) -> None:
        """See Door."""
        self._client.delete(f"/backups/{name}")

    def _settled(self, answer: Json, show: Show) -> Json:
        """The backup, once the job that the answer tells of is over."""
        name, started = answer["name"], answer.get("started_at")
        while answer.get("state") == "running":
            show(answer["step"], answer["done"], answer["total"])
            stats = self._client.get("/backups/stats")
            answer, failed = stats["running"] or {}, stats["last_failure"]
            if answer.get("name") != name or answer.get("started_at") != started:
                if failed is not None and failed["name"] == name and failed["at"] >= started:
                    raise ServiceError({"code": failed["code"], "detail": failed["message"]})
                break
        return answer if "created_at" in answer else self._client.get(f"/backups/{name}")


class OfflineDoor:
    """By itself, where no service runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list(self, *, remotes: bool) -> Json:
        """See Door."""
        return self._do(
            lambda maker: _listed(maker, remotes=remotes),
        )

    def create(self, show: Show) -> Json:
        """See Door."""
        return self._do(lambda maker: _watched(maker.create(), show))

    def verify(self, name: str, keys: Json, show: Show) -> Json:
        """See Door."""
        given = Keys(keys.get("identity"), keys.get("passphrase")) or None
        return self._do(lambda maker: _watched(maker.verify(name, given), show))

    def delete(self, name: str) -> None:
        """See Door."""
        self._do(lambda maker: _deleted(maker, name))

    def _do(self, work: Callable[[Backups], Awaitable[Json]]) -> Json:
        async def locked() -> Json:
            async with offline_backups(self._settings, SystemClock()) as maker:
                return await work(maker)

        return asyncio.run(locked())


async def _listed(maker: Backups, *, remotes: bool) -> Json:
    return render.backups(await Service(maker).list(OWNER, remotes=remotes))


async def _deleted(maker: Backups, name: str) -> Json:
    await Service(maker).delete(OWNER, name)
    return {}


async def _watched(job: Job, show: Show) -> Json:
    while True:
        try:
            return render.backup(await job.result(_LOOK))
        except TimeoutError:
            show(job.step, job.done, job.total)


def with_backups(settings: Settings, work: Callable[[Door], int]) -> int:
    """The result of ``work`` with the running service, or without one."""
    from bot.cli.host import running_service

    service: AbstractContextManager[Client] | None = running_service(settings)
    if service is None:
        return work(OfflineDoor(settings))
    with service as client:
        return work(ServiceDoor(client))

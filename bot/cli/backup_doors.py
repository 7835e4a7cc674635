"""The command line's ways to the backups: through the running service, or by itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from bot.app import started
from bot.app.operations_backups import offline_backups
from bot.app.parts import SystemClock
from bot.cli.client import Client, ServiceError
from bot.cli.host import running_service
from bot.config import Settings
from bot.errors import Unauthenticated, Unavailable
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

    def restore(self, name: str, keys: Json, *, config: bool, show: Show) -> Json:
        """Put one in the place of the state; how that ended."""


class ServiceDoor:
    """Through the running service."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings = settings
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

    def restore(self, name: str, keys: Json, *, config: bool, show: Show) -> Json:
        """See Door."""
        show("checking the backup", 0, 0)
        body = {"name": name, "confirm": name, "config": config, **keys}
        wanted = self._client.post("/backups/restore", body)["id"]
        while True:
            show("waiting for the service", 0, 0)
            # It comes back with other tokens, and in between it does not answer.
            with contextlib.suppress(Unavailable, Unauthenticated, ServiceError):
                service = running_service(self._settings)
                if service is None:
                    break
                with service as client:
                    found: Json = client.get("/backups/restore")
                if found["id"] == wanted:
                    return found
            time.sleep(_LOOK)
        raise Unavailable("the service is gone", hint="mltb serve goes on with the restore")

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

    def restore(self, name: str, keys: Json, *, config: bool, show: Show) -> Json:
        """See Door."""
        given = Keys(keys.get("identity"), keys.get("passphrase")) or None
        return self._do(
            lambda maker: _restored(self._settings, maker, name, given, config=config, show=show)
        )

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
    return render.backup(await _result(job, show))


async def _result(job: Job, show: Show) -> Any:
    while True:
        try:
            return await job.result(_LOOK)
        except TimeoutError:
            show(job.step, job.done, job.total)


async def _restored(
    settings: Settings, maker: Backups, name: str, keys: Keys | None, *, config: bool, show: Show
) -> Json:
    _, job = maker.restore(name, keys, config=config)
    await maker.restorer.swap(await _result(job, show), lambda step: show(step, 0, 0))
    show("starting a service with it", 0, 0)
    async with started(settings, restore=False) as app:
        return render.restore(app.services.backups.last_restore(OWNER))


def with_backups(settings: Settings, work: Callable[[Door], int]) -> int:
    """The result of ``work`` with the running service, or without one."""
    service = running_service(settings)
    if service is None:
        return work(OfflineDoor(settings))
    with service as client:
        return work(ServiceDoor(settings, client))

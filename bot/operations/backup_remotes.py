"""Copies of backups at remotes, by the engine that delivers tasks there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from bot.domain.ports import Delivered, DeliverJob, Engine, FetchJob
from bot.domain.task import FileEntry, TaskOptions
from bot.errors import NotFound, SourceNotFound, TransferError
from bot.operations import backup_names as names
from bot.operations.backup_catalog import Catalog, Copy, Record


class RemoteEngine(Engine, Protocol):
    """An engine that can also remove a file."""

    async def remove(self, place: str) -> None:
        """Remove the file ``remote:path``; nothing where it is gone. Raises a TransferError."""


class Remotes:
    """The destinations (``remote:path``) that get a copy of each backup."""

    def __init__(self, engine: RemoteEngine | None, destinations: Sequence[str]) -> None:
        self._engine = engine
        self.destinations = tuple(destinations) if engine is not None else ()

    @property
    def _remote(self) -> RemoteEngine:
        assert self._engine is not None  # There are no destinations without it.
        return self._engine

    async def names(self, destination: str) -> dict[str, int | None]:
        """The backups there, with their sizes in bytes. Raises a TransferError."""
        try:
            plan = await self._remote.plan(destination, TaskOptions())
        except SourceNotFound:
            return {}
        return {file.path: file.size for file in plan.files if names.is_name(file.path)}

    async def put(self, record: Record, catalog: Catalog, destination: str) -> None:
        """Deliver the archive of a record and verify it there. Raises a TransferError.

        The catalog keeps what an interrupted upload goes on from.
        """
        copy = record.copies.setdefault(destination, Copy())

        async def checkpoint(token: dict[str, Any]) -> None:
            copy.token = token
            catalog.note(record)

        job = DeliverJob(
            id=f"backup-{record.name[5:30].lower()}",
            directory=catalog.directory,
            files=[FileEntry(record.name, record.size or 0, record.sha256)],
            destination=destination,
            name=None,
            token=copy.token,
            checkpoint=checkpoint,
            overwrite="replace",
            keep=True,
        )
        delivered: Delivered | None = None
        try:
            delivered = await self._remote.deliver(job)
            await self._remote.verify(job, delivered)
        except TransferError as error:
            copy.error = error.message
            if not error.retryable:
                copy.token = None
                await self._remote.discard(job, delivered)
            catalog.note(record)
            raise
        copy.done, copy.error, copy.token = True, None, None

    async def fetch(self, name: str, directory: Path) -> Path:
        """Bring the archive of that name into the empty ``directory``. NotFound, TransferError."""
        for destination in self.destinations:
            try:
                return await self._fetch(_at(destination, name), name, directory)
            except SourceNotFound:
                continue
        raise NotFound(
            f"there is no backup {name} in BACKUP_DIR"
            + (f" and none at {', '.join(self.destinations)}" if self.destinations else ""),
            hint="mltb backup list --remotes shows all there are",
        )

    async def _fetch(self, place: str, name: str, directory: Path) -> Path:
        job = FetchJob(
            id=f"backup-fetch-{name[5:30].lower()}",
            source=place,
            directory=directory,
            options=TaskOptions(),
            token=None,
            checkpoint=_forgotten,
        )
        fetched = await self._remote.fetch(job)
        return directory / fetched.files[0].path

    async def remove(self, name: str, destination: str) -> None:
        """Remove the archive there; nothing where it is gone. Raises a TransferError."""
        await self._remote.remove(_at(destination, names.checked(name)))


def _at(destination: str, name: str) -> str:
    return f"{destination}{'' if destination.endswith((':', '/')) else '/'}{name}"


async def _forgotten(_: dict[str, Any]) -> None:
    """A fetch that is interrupted starts over."""

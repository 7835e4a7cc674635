"""Which buckets may hold half uploads of ours: a small file that survives ``kill -9``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """An upload that began and did not end under our eyes; ``at`` is UNIX time in seconds."""

    job: str
    bucket: str
    at: float


class Ledger:
    """The entries of the uploads under way. The file appears with the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] | None = None
        self._lock = asyncio.Lock()

    async def begin(self, job: str, bucket: str) -> None:
        """``job`` uploads to ``bucket`` (``remote:bucket``)."""
        async with self._lock:
            entries = self._load()
            entries[job] = Entry(job, bucket, time.time())
            self._store(entries)

    async def end(self, job: str) -> None:
        """Nothing of ``job`` is under way any more."""
        async with self._lock:
            entries = self._load()
            if entries.pop(job, None) is not None:
                self._store(entries)

    async def older_than(self, seconds: float, *, busy: Container[str]) -> list[Entry]:
        """The entries of that age whose jobs are not ``busy``."""
        async with self._lock:
            limit = time.time() - seconds
            return [e for e in self._load().values() if e.at <= limit and e.job not in busy]

    def _load(self) -> dict[str, Entry]:
        if self._entries is None:
            try:
                found = msgspec.json.decode(self._path.read_bytes(), type=list[Entry])
            except (FileNotFoundError, msgspec.DecodeError):
                found = []
            self._entries = {entry.job: entry for entry in found}
        return self._entries

    def _store(self, entries: dict[str, Entry]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(list(entries.values())))
        fresh.replace(self._path)

"""One fetch from a remote into a directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re

from bot.domain.ports import Fetched, FetchJob
from bot.domain.task import FileEntry
from bot.engines.local_names import numbered
from bot.engines.rclone_files import Item, Pair, RemoteFiles, RemoteInfo, local_root
from bot.engines.rclone_hashes import digest_file
from bot.engines.rclone_remote import Remote, safe_path, spelt
from bot.errors import Corrupt, InvalidInput, SourceNotFound

#: What rclone calls a file that is not whole yet, and leaves when it is killed.
_PARTIAL = re.compile(r".*\.[0-9a-f]{8}\.partial")


async def find(files: RemoteFiles, remote: Remote) -> tuple[RemoteInfo, list[Item], bool]:
    """What the remote is, the files there, and whether they are in a folder.

    SourceNotFound where there is nothing.
    """
    info = await files.info(remote)
    is_bucket = info.bucket_based and "/" not in remote.key
    item = None if is_bucket else await files.stat(remote)
    if item is not None:
        return info, [item], False
    try:
        items = await files.listing(remote, filtered=True)
    except SourceNotFound:
        items = []
    if not items:
        raise SourceNotFound(f"there is nothing at {remote}", hint="names are case-sensitive")
    return info, items, True


class Download:
    """The fetch of ``remote`` for ``job``; ``prepare`` first, then its figures are known."""

    def __init__(self, files: RemoteFiles, remote: Remote, job: FetchJob) -> None:
        self._files = files
        self._remote = remote
        self._job = job
        self._items: list[Item] = []
        self._targets: list[str] = []
        self._info: RemoteInfo | None = None
        self.folder = False
        self.name = ""
        self.total = 0
        self.kept = 0

    async def prepare(self) -> None:
        """List what is to be fetched, and tell the journal how much that is."""
        self._info, items, self.folder = await find(self._files, self._remote)
        self._items = self._selected(items)
        self.total = sum(item.size or 0 for item in self._items)
        own = safe_path(self._remote.leaf or self._remote.name)
        self.name = safe_path((self._job.options.name or own).replace("/", "_"))
        self._targets = _distinct([i.path for i in self._items]) if self.folder else [self.name]
        self.kept = sum(i.size or 0 for i, t in self._pairs() if self._finished(i, t))
        if self._job.token is None:
            await self._job.checkpoint({"size": self.total, "files": len(self._items)})

    def _selected(self, items: list[Item]) -> list[Item]:
        wanted = self._job.options.select
        if wanted is None:
            return items
        if not wanted or not set(wanted) <= set(range(len(items))):
            raise InvalidInput(
                f"the selection {sorted(set(wanted))[:20]} does not fit",
                hint=f"the source has the files 0 to {len(items) - 1}",
            )
        return [items[index] for index in sorted(set(wanted))]

    def _pairs(self) -> list[tuple[Item, str]]:
        return list(zip(self._items, self._targets, strict=True))

    def _finished(self, item: Item, target: str) -> bool:
        """Whether an earlier attempt brought it: rclone gives a file its name when it is whole."""
        path = self._job.directory / target
        return self._job.token is not None and path.is_file() and path.stat().st_size == item.size

    async def run(self) -> Fetched:
        """Fetch what is not there yet, and hash it all."""
        assert self._info is not None
        await asyncio.to_thread(self._remove_partials)
        root = self._remote.root_with(self._files.check_backend(self._info))
        pairs = [
            Pair(root, self._key(item), local_root(self._job.directory), spelt(target))
            for item, target in self._pairs()
            if not self._finished(item, target)
        ]
        if pairs:
            await self._files.copy(pairs, what=f"fetching {self._remote}")
        entries = [await self._entry(item, target) for item, target in self._pairs()]
        await self._check(entries)
        return Fetched(self.name, entries)

    def _key(self, item: Item) -> str:
        return self._remote.join(item.path).key if self.folder else self._remote.key

    async def _entry(self, item: Item, target: str) -> FileEntry:
        path = self._job.directory / target
        digest = await asyncio.to_thread(digest_file, path, ("sha256",))
        size = path.stat().st_size
        if item.size is not None and size != item.size:
            raise Corrupt(f"{target} has {size} bytes, and the remote said {item.size}")
        return FileEntry(target, size, digest["sha256"])

    async def _check(self, entries: list[FileEntry]) -> None:
        """Compare with the checksum that the submission gave."""
        wanted = self._job.options.checksum
        if not wanted or len(entries) != 1:
            return
        kind, _, value = wanted.partition(":")
        if kind not in hashlib.algorithms_available:
            raise InvalidInput(f"{kind!r} is no checksum", hint="sha256, sha512, sha1 or md5")
        path = self._job.directory / entries[0].path
        found = (await asyncio.to_thread(digest_file, path, (kind,)))[kind]
        if found != value.lower():
            raise Corrupt(
                f"the {kind} of {entries[0].path} is {found}, not {value}",
                expected=value,
                found=found,
            )

    def _remove_partials(self) -> None:
        ours = {self._job.directory / target for target in self._targets}
        for path in sorted(self._job.directory.rglob("*.partial")):
            if path not in ours and _PARTIAL.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    async def source_hashes(
        self, destination: RemoteInfo
    ) -> tuple[list[FileEntry], list[dict[str, str]]]:
        """The files as entries, with the hashes to compare the destination with: one that both
        remotes keep, else the SHA-256 of the bytes, read for that."""
        assert self._info is not None
        places = [
            self._remote.join(item.path) if self.folder else self._remote for item in self._items
        ]
        best = destination.best_hash
        kinds = [best] if best in self._info.hashes and best else []
        found = await self._files.stat_all(places, *kinds) if kinds else [None] * len(places)
        hashes = [dict(item.hashes) if item else {} for item in found]
        unknown = [n for n, each in enumerate(hashes) if not each]
        read = await self._files.read_back([places[n] for n in unknown]) if unknown else []
        for n, digest in zip(unknown, read, strict=True):
            hashes[n] = {"sha256": digest}
        entries = [
            FileEntry(safe_path(item.path), item.size or 0, hashes[n].get("sha256"))
            for n, item in enumerate(self._items)
        ]
        return entries, hashes


def _distinct(paths: list[str]) -> list[str]:
    """Safe local paths, all of them different."""
    found: dict[str, None] = {}
    for path in paths:
        target, number = safe_path(path), 0
        while target in found:
            number += 1
            head, slash, leaf = safe_path(path).rpartition("/")
            target = head + slash + numbered(leaf, number, folder=False)
        found[target] = None
    return list(found)

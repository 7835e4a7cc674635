"""Hashes: of local files, and of what lies on a remote compared with what should."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from bot.domain.ports import Delivered
from bot.domain.task import FileEntry
from bot.engines.rclone_files import RemoteFiles, RemoteInfo
from bot.engines.rclone_remote import Remote
from bot.errors import Corrupt

_CHUNK = 1024 * 1024
#: Types that we compute ourselves, with SHA-256 in the same pass; rclone computes the others.
OURS = ("sha256", "sha512", "sha1", "md5")


def digest_file(path: Path, kinds: Sequence[str]) -> dict[str, str]:
    """The hashes of a local file in hex, in one pass. Blocks: for a thread. OSError."""
    digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            for digest in digests.values():
                digest.update(view[:count])
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


async def hash_files(
    files: RemoteFiles, directory: Path, entries: Sequence[FileEntry], kind: str
) -> list[str]:
    """The hashes of local files. Corrupt where one is no longer what was fetched."""
    if kind not in OURS:
        return await files.local_hashes(directory, [entry.path for entry in entries], kind)
    found = []
    for entry in entries:
        digests = await asyncio.to_thread(
            digest_file, directory / entry.path, sorted({kind, "sha256"})
        )
        if entry.sha256 and digests["sha256"] != entry.sha256:
            raise Corrupt(
                f"{entry.path} changed on this machine before it was verified",
                expected=entry.sha256,
                found=digests["sha256"],
            )
        found.append(digests[kind])
    return found


class Verification:
    """Compares ``wanted`` (in the order of ``delivered.files``) with what lies at the remote.

    A hash that the remote keeps is compared with ours; where it has none the bytes are read back.
    S3 keeps the MD5 of an object of several parts as metadata: rclone compared the ETag, which the
    server made of the parts, when the upload ended.
    """

    def __init__(
        self,
        files: RemoteFiles,
        info: RemoteInfo,
        delivered: Delivered,
        wanted: Sequence[FileEntry],
        directory: Path,
    ) -> None:
        self._files = files
        self._info = info
        self._wanted = list(wanted)
        self._directory = directory
        self._kept: dict[str, dict[str, str]] = delivered.detail.get("hashes") or {}
        target = Remote(str(delivered.detail["remote"]), str(delivered.detail["path"]))
        folder = bool(delivered.detail.get("folder"))
        self._names = [entry.path for entry in delivered.files]
        self._places = [target.join(name) if folder else target for name in self._names]

    async def run(self) -> str:
        """The method of the receipt. Raises Corrupt."""
        kind = self._info.best_hash
        items = await self._files.stat_all(self._places, *([kind] if kind else []))
        unread: list[int] = []
        ours = await self._expected(kind) if kind else {}
        for index, (wanted, item) in enumerate(zip(self._wanted, items, strict=True)):
            place = self._places[index]
            if item is None:
                raise Corrupt(f"{place} is missing after the upload")
            if item.size is not None and item.size != wanted.size:
                raise Corrupt(f"{place} has {item.size} bytes, and {wanted.size} were sent")
            there = item.hashes.get(kind) if kind else None
            if there is None or index not in ours:
                unread.append(index)
            elif there != ours[index]:
                raise Corrupt(
                    f"{place} is not what was sent: its {kind} is {there}, not {ours[index]}",
                    expected=ours[index],
                    found=there,
                )
        if unread:
            await self._read_back(unread)
        return "read-back" if len(unread) == len(items) else "remote-hash"

    async def _expected(self, kind: str) -> dict[int, str]:
        """Our hashes, by index; those that can't be had are left out."""
        known: dict[int, str] = {}
        missing: list[int] = []
        for index, entry in enumerate(self._wanted):
            kept = self._kept.get(self._names[index], {}).get(kind)
            if kind == "sha256" and entry.sha256:
                known[index] = entry.sha256
            elif kept:
                known[index] = kept
            elif (self._directory / entry.path).is_file():
                missing.append(index)
        hashes = (
            await hash_files(self._files, self._directory, [self._wanted[i] for i in missing], kind)
            if missing
            else []
        )
        return known | dict(zip(missing, hashes, strict=True))

    async def _read_back(self, indexes: Sequence[int]) -> None:
        hashes = await self._files.read_back([self._places[index] for index in indexes])
        for index, there in zip(indexes, hashes, strict=True):
            wanted = self._wanted[index].sha256
            if wanted is None:
                path = self._directory / self._wanted[index].path
                wanted = (await asyncio.to_thread(digest_file, path, ("sha256",)))["sha256"]
            if there != wanted:
                raise Corrupt(
                    f"{self._places[index]} is not what was sent: its SHA-256 is {there}, not "
                    f"{wanted}",
                    expected=wanted,
                    found=there,
                )

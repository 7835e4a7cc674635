"""One delivery to a remote: a name is claimed and made durable, then the bytes go up.

Where the remote can rename and a half file could be seen, everything goes under a temporary name
next to its place and is renamed when it is whole. Where it keeps objects in buckets they appear
whole by themselves, so they go straight to their names. What the token says is enough to go on
after ``kill -9``, or to throw everything away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.domain.ports import Delivered, DeliverJob
from bot.domain.task import FileEntry
from bot.engines.local_names import numbered
from bot.engines.rclone_files import Pair, RemoteFiles, RemoteInfo, local_root
from bot.engines.rclone_hashes import hash_files
from bot.engines.rclone_remote import Remote, parse, shorten, spelt
from bot.errors import InvalidInput, PolicyRefused, Refused, SourceNotFound, TransferError

_TRIES = 10_000
_UPLOADING, _UPLOADED = "uploading", "uploaded"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the files of a delivery are: below ``prefix`` of an rclone ``fs``; ``directory`` where
    that is on this machine."""

    root: str
    prefix: str = ""
    directory: Path | None = None

    @classmethod
    def local(cls, directory: Path) -> Source:
        """Files of this machine."""
        return cls(local_root(directory), directory=directory)

    def key(self, path: str) -> str:
        """The path below ``root``."""
        if self.directory is not None:
            return spelt(path)
        return f"{self.prefix}/{path}" if self.prefix else path


@dataclass(slots=True)
class Claims:
    """Names that deliveries of this process have chosen and that may not exist yet."""

    taken: dict[str, str] = field(default_factory=dict)

    def take(self, target: Remote, job: str) -> bool:
        """Whether ``target`` is now for ``job``."""
        return self.taken.setdefault(str(target), job) == job

    def release(self, job: str) -> None:
        """The job needs its names no more."""
        self.taken = {target: owner for target, owner in self.taken.items() if owner != job}


class Upload:
    """The delivery of ``entries`` (as in ``job.files``) from ``source``."""

    def __init__(
        self,
        files: RemoteFiles,
        info: RemoteInfo,
        job: DeliverJob,
        entries: Sequence[FileEntry],
        source: Source,
        claims: Claims,
    ) -> None:
        self._files = files
        self._info = info
        self._job = job
        self._entries = list(entries)
        self._source = source
        self._claims = claims
        self._folder = job.name is not None and not _single(entries)
        self._place = parse(job.destination)
        self._again = job.token is not None
        self._phase = str((job.token or {}).get("phase", _UPLOADING))
        self._target = target_of(job.token)
        self._way = target_of(job.token, "way")
        self._root_to = self._place.root_with(files.check_backend(info))
        #: Of a stream that has gone up, by kind.
        self.hashes: dict[str, str] = {}

    @property
    def target(self) -> Remote:
        """The file or folder that the delivery makes; known once it is claimed."""
        assert self._target is not None
        return self._target

    async def run(self) -> Delivered:
        """Do what is not done yet."""
        await self.claim()
        if self._folder:
            await self._put_folder()
        else:
            await self._put_file()
        return self.delivered(self._entries)

    def delivered(self, entries: Sequence[FileEntry]) -> Delivered:
        """The result."""
        place = self._token()
        if self._folder:
            return Delivered(str(self.target), str(self.target), list(entries), place)
        entry = entries[0]
        named = FileEntry(self.target.leaf, entry.size, entry.sha256)
        return Delivered(str(self.target.parent), str(self.target), [named], place)

    async def claim(self) -> Remote:
        """Choose the name, and make it durable before anything is written."""
        if self._target is None:
            if self._info.bucket_based and not self._place.key:
                raise InvalidInput(
                    f"{self._job.destination!r} names no bucket",
                    hint=f"such as {self._place.name}:bucket/folder",
                )
            self._target = await self._choose()
            stages = self._info.stages
            self._way = self._staged_name() if stages else self._target
            await self.checkpoint(_UPLOADING)
        return self.target

    def _staged_name(self) -> Remote:
        """A temporary name next to the target."""
        mark = f".mltb-{self._job.id}"
        # Some services guess the kind of a file from its name, and just once: the extension stays.
        name = mark if self._folder else shorten(f"{mark}-{self.target.leaf}")
        return self.target.parent.join(name)

    async def checkpoint(self, phase: str) -> None:
        """Make durable how far it is."""
        self._phase = phase
        await self._job.checkpoint(self._token())

    def _token(self) -> dict[str, Any]:
        return {
            "remote": self.target.name,
            "path": self.target.path,
            "way": self.way.path,
            "phase": self._phase,
            "folder": self._folder,
            **({"size": self.entry.size, "hashes": self.hashes} if self.hashes else {}),
        }

    async def undo(self) -> None:
        """Remove what is half there, as far as the remote lets us."""
        with contextlib.suppress(TransferError):
            await discard(self._files, self._info, self._job, self._token(), None)

    async def _choose(self) -> Remote:
        wanted = self._job.name or self._entries[0].path.rpartition("/")[2]
        wanted = shorten(wanted.replace("/", "_")) or "file"
        for number in range(_TRIES):
            target = self._place.join(numbered(wanted, number, folder=self._folder))
            if self._job.overwrite == "replace":
                return target
            free = self._claims.take(target, self._job.id) and not await self._is_there(target)
            if free:
                return target
            if self._job.overwrite == "refuse":
                raise PolicyRefused(
                    f"{target} exists already, and the task must not overwrite it",
                    hint="overwrite 'rename' chooses a free name, 'replace' replaces it",
                )
        raise PolicyRefused(f"{self._place} holds {_TRIES} things named {wanted!r} already")

    async def _is_there(self, target: Remote) -> bool:
        if self._folder:
            return await self._files.exists(target, bucket=self._info.bucket_based)
        return await self._files.stat(target) is not None

    # One file

    async def _put_file(self) -> None:
        entry = self._entries[0]
        if self._phase == _UPLOADED and await self._finish_file(entry):
            return
        await self._upload_again()
        way = self.way
        if self._again:
            await abort_half(self._files, self._info, way, folder=False)
            if not self._info.stages and await self._is_ours(entry, self.target):
                return
        pair = Pair(self._source.root, self._source.key(entry.path), self._root_to, way.key)
        await self._copy([pair], inplace=self._info.stages)
        await self.finish_file(entry)

    @property
    def way(self) -> Remote:
        """The name under which the bytes go up; the target itself where nothing is renamed."""
        assert self._way is not None
        return self._way

    async def _upload_again(self) -> None:
        """What had gone up is gone: say so, before half of it is there under the same name."""
        if self._phase == _UPLOADED:
            self.hashes = {}
            await self.checkpoint(_UPLOADING)

    async def finish_stream(self, size: int, hashes: dict[str, str]) -> None:
        """Give a stream that has gone up its name; a crash meanwhile leaves word of ``hashes``."""
        self._know_stream(size, hashes)
        await self.finish_file(self.entry)

    async def finish_earlier(self) -> bool:
        """Whether a stream went up whole before a crash, and now has its name; else it has to go up
        again."""
        token = self._job.token or {}
        if self._phase == _UPLOADED and token.get("hashes"):
            self._know_stream(int(token["size"]), token["hashes"])
            if await self._finish_file(self.entry):
                return True
        await self._upload_again()
        return False

    def _know_stream(self, size: int, hashes: dict[str, str]) -> None:
        self._entries = [FileEntry(self.entry.path, size, hashes["sha256"])]
        self.hashes = dict(hashes)

    @property
    def entry(self) -> FileEntry:
        """The single file."""
        return self._entries[0]

    async def finish_file(self, entry: FileEntry) -> None:
        """Give a file that has gone up its name."""
        if self._info.stages:
            await self.checkpoint(_UPLOADED)
            await self._finish_file(entry)

    async def _finish_file(self, entry: FileEntry) -> bool:
        """Rename; False where there is nothing to rename and the target is not ours."""
        way = self.way
        if await self._files.stat(way) is None:
            return await self._is_ours(entry, self.target)
        if self._job.overwrite == "rename" and await self._files.stat(self.target) is not None:
            self._target = await self._choose()  # somebody took the name meanwhile
            await self.checkpoint(_UPLOADED)
        pair = Pair(way.root, way.key, self.target.root, self.target.key)
        await self._files.copy([pair], what=f"renaming to {self.target}", move=True)
        return True

    async def _copy(self, pairs: Sequence[Pair], *, inplace: bool = False) -> None:
        try:
            await self._files.copy(pairs, what=f"copying to {self.target}", inplace=inplace)
        except SourceNotFound as error:
            if self._source.directory is None or "bucket" in error.message.lower():
                raise
            # Our file is there: the remote lost sight of what it had just taken.
            raise Refused(error.message) from None

    async def _is_ours(self, entry: FileEntry, place: Remote) -> bool:
        """Whether the file there is the one that we deliver, by size and, if it has one, hash."""
        kind = self._info.best_hash
        item = await self._files.stat(place, *([kind] if kind else []))
        if item is None or item.size != entry.size:
            return False
        there = item.hashes.get(kind) if kind else None
        if kind is None or there is None:
            return True
        if kind == "sha256" and entry.sha256:
            return there == entry.sha256
        if kind in self.hashes:
            return there == self.hashes[kind]
        if self._source.directory is None:
            return True
        return [there] == await hash_files(self._files, self._source.directory, [entry], kind)

    # A folder

    async def _put_folder(self) -> None:
        base = self.way
        done: set[str] = set()
        if self._again:
            await abort_half(self._files, self._info, self.target, folder=True)
            done = await self._finished(base)
            if self._phase == _UPLOADED and base != self.target:
                done |= await self._finished(self.target)
        pairs = [
            Pair(self._source.root, self._source.key(e.path), self._root_to, base.join(e.path).key)
            for e in self._entries
            if e.path not in done
        ]
        if pairs:
            await self._copy(pairs)
        if base != self.target:
            await self._finish_folder(base)

    async def _finished(self, base: Remote) -> set[str]:
        """The files that are there already; what is there and none of ours is a half file."""
        try:
            items = {item.path: item for item in await self._files.listing(base)}
        except SourceNotFound:
            return set()
        if base != self.target:
            ours = {entry.path for entry in self._entries}
            for path in items.keys() - ours:
                await self._files.delete(base.join(path))
        return {e.path for e in self._entries if e.path in items and items[e.path].size == e.size}

    async def _finish_folder(self, base: Remote) -> None:
        await self.checkpoint(_UPLOADED)
        with contextlib.suppress(SourceNotFound):
            await self._files.move_folder(base, self.target)
            await self._files.remove_empty(base)


async def abort_half(files: RemoteFiles, info: RemoteInfo, way: Remote, *, folder: bool) -> None:
    """Abort the multipart upload that a killed attempt left; S3 alone can name it by its key."""
    if info.kind != "s3" or "/" not in way.key:
        return
    prefix = way.key.partition("/")[2]
    try:
        keys = await pending_uploads(files, way)
        if keys and all(_below(key, prefix, folder=folder) for key in keys):
            await backend_cleanup(files, way, older_than=0)
    except TransferError:
        # Not every S3 lets us list them; the sweep by age comes later.
        return


async def pending_uploads(files: RemoteFiles, place: Remote) -> list[str]:
    """The keys of the multipart uploads under way at ``place`` and below, in its bucket."""
    answer = await files.daemon.call(
        "backend/command", {"command": "list-multipart-uploads", "fs": str(place)}
    )
    uploads = (answer.get("result") or {}).values()
    return [str(each.get("Key", "")) for group in uploads for each in group or ()]


async def backend_cleanup(files: RemoteFiles, place: Remote, *, older_than: float) -> None:
    """Abort the multipart uploads at ``place`` and below that are older than that (seconds)."""
    await files.daemon.call(
        "backend/command",
        {
            "command": "cleanup",
            "fs": str(place),
            "opt": {"max-age": f"{max(0, int(older_than))}s"},
        },
        what=f"cleaning {place}",
        timeout=300.0,
    )


async def discard(
    files: RemoteFiles,
    info: RemoteInfo,
    job: DeliverJob,
    token: dict[str, Any] | None,
    delivered: Delivered | None,
) -> None:
    """Remove what a delivery left, whole or half (see ``token``); never what was there before."""
    token = delivered.detail if delivered is not None else token
    target = target_of(token)
    if target is None or token is None:
        return
    folder = bool(token.get("folder"))
    staged = target_of(token, "way") or target
    await abort_half(files, info, target, folder=folder)
    if staged != target:
        await (files.purge(staged) if folder else files.delete(staged))
    # A file that was replaced is gone; one that was to be replaced is still the old one.
    ours = delivered is not None or token.get("phase") == _UPLOADED or not info.stages
    if job.overwrite == "replace" and delivered is None:
        ours = False
    if not ours:
        return
    if not folder:
        await files.delete(target)
    elif job.overwrite == "replace" and delivered is not None:
        for entry in delivered.files:
            await files.delete(target.join(entry.path))
        await files.remove_empty(target)
    else:
        await files.purge(target)


def target_of(token: dict[str, Any] | None, part: str = "path") -> Remote | None:
    """The file or folder that a token or the detail of a Delivered names."""
    if token is None or part not in token:
        return None
    return Remote(str(token["remote"]), str(token[part]))


def _single(entries: Sequence[FileEntry]) -> bool:
    return len(entries) == 1 and "/" not in entries[0].path


def _below(key: str, prefix: str, *, folder: bool) -> bool:
    return key.startswith(f"{prefix}/") if folder else key == prefix

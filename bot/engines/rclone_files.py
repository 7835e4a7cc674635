"""Files on remotes, through the daemon: what is there, its hashes, copies, moves, removals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bot.engines.rclone_options import Options
from bot.engines.rclone_rc import Daemon, Params
from bot.engines.rclone_remote import Remote, spelt
from bot.errors import InvalidInput, SourceNotFound

#: Hashes that we can compare, the best first; rclone knows how to make each of a local file.
_HASHES = (
    "sha256",
    "blake3",
    "sha512",
    "sha1",
    "md5",
    "whirlpool",
    "quickxor",
    "dropbox",
    "mailru",
    "xxh128",
    "xxh3",
    "crc32",
)
_SENSITIVE = ("pass", "secret", "token", "key", "auth", "credential", "bearer", "sas", "cookie")
_SHORTEST_SECRET = 6


class Item(msgspec.Struct, frozen=True):
    """A file on a remote. ``path`` is relative to what was listed; ``size`` in bytes, None where
    the remote can't say; ``hashes`` in hex by rclone's name of the type."""

    path: str
    size: int | None
    hashes: dict[str, str] = {}


class RemoteInfo(msgspec.Struct, frozen=True):
    """What a configured remote is: the kind of its backend and what that can do."""

    kind: str
    features: dict[str, bool]
    hashes: tuple[str, ...]

    @property
    def bucket_based(self) -> bool:
        """Objects in buckets: they appear whole, at the end of an upload."""
        return self.features.get("BucketBased", False)

    @property
    def stages(self) -> bool:
        """Whether a file is better uploaded under another name first: renaming is cheap, and a
        half file could be seen."""
        return self.features.get("Move", False) and not self.bucket_based

    @property
    def best_hash(self) -> str | None:
        """The best type of hash that the remote itself computes."""
        return next((name for name in _HASHES if name in self.hashes), None)


@dataclass(frozen=True, slots=True)
class Pair:
    """One copy: a file below ``source`` to a file below ``target`` (each an rclone ``fs``)."""

    source: str
    source_path: str
    target: str
    target_path: str


@dataclass(slots=True)
class RemoteFiles:
    """The operations of one job; ``group`` names it to rclone."""

    daemon: Daemon
    group: str
    transfers: int
    options: Options = field(default_factory=Options)

    async def info(self, remote: Remote) -> RemoteInfo:
        """What the remote is. InvalidInput where rclone.conf has none of that name."""
        section = await self.daemon.call("config/get", {"name": remote.name})
        kind = section.get("type")
        if not kind:
            known = (await self.daemon.call("config/listremotes")).get("remotes") or []
            raise InvalidInput(
                f"rclone.conf has no remote {remote.name!r}",
                hint=f"it has {', '.join(sorted(known)) or 'none: make one with rclone config'}",
            )
        self._remember_secrets(section)
        found = await self.daemon.call(
            "operations/fsinfo", {"fs": remote.root}, what=f"opening {remote.name}:"
        )
        features = {k: v for k, v in (found.get("Features") or {}).items() if isinstance(v, bool)}
        return RemoteInfo(str(kind), features, tuple(found.get("Hashes") or ()))

    def _remember_secrets(self, section: Mapping[str, Any]) -> None:
        """So that no error repeats them."""
        for key, value in section.items():
            sensitive = any(word in key.lower() for word in _SENSITIVE)
            if sensitive and isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
                self.daemon.secrets.add(value)

    def check_backend(self, info: RemoteInfo) -> dict[str, str]:
        """The backend parameters of the options. InvalidInput where they are of another kind."""
        for kind in self.options.backend:
            if kind != info.kind:
                raise InvalidInput(
                    f"the options of {kind} are for a remote of that kind",
                    hint=f"this one is of kind {info.kind}",
                )
        return self.options.backend.get(info.kind, {})

    async def stat(self, remote: Remote, *hashes: str) -> Item | None:
        """The file there, with its ``hashes``; None where there is no file."""
        if not remote.key:
            return None
        answer = await self.daemon.call(
            "operations/stat", _stat(remote, hashes, files_only=True), what=f"looking at {remote}"
        )
        return _item(answer.get("item"), remote.leaf)

    async def stat_all(self, remotes: Sequence[Remote], *hashes: str) -> list[Item | None]:
        """``stat`` of many, in one call; hashing is part of the job's work."""
        inputs = [
            {"_path": "operations/stat", **_stat(remote, hashes, files_only=True)}
            for remote in remotes
        ]
        results = await self.daemon.batch(inputs, what="looking at", group=self.group, width=8)
        return [
            _item(result.get("item"), remote.leaf)
            for remote, result in zip(remotes, results, strict=True)
        ]

    async def exists(self, remote: Remote, *, bucket: bool) -> bool:
        """Whether there is a file or a folder of that name."""
        if not remote.key:
            return True
        if bucket and "/" not in remote.key:
            return True
        try:
            answer = await self.daemon.call(
                "operations/stat", _stat(remote, (), files_only=False), what=f"looking at {remote}"
            )
        except SourceNotFound:
            return False
        return answer.get("item") is not None

    async def listing(self, remote: Remote, *hashes: str, filtered: bool = False) -> list[Item]:
        """Every file below a folder, in the order of their paths. SourceNotFound where there is no
        folder; a bucket's empty folder is an empty list."""
        opt: Params = {"recurse": True, "filesOnly": True, "noMimeType": True, "noModTime": True}
        if hashes:
            opt |= {"showHash": True, "hashTypes": list(hashes)}
        params: Params = {"fs": remote.root, "remote": remote.key, "opt": opt}
        if filtered and self.options.filter:
            params["_filter"] = self.options.filter
        output = await self.daemon.run(
            "operations/list", params, what=f"listing {remote}", group=self.group
        )
        skip = len(remote.key) + 1 if remote.key else 0
        items = [_item(entry, str(entry.get("Path", ""))[skip:]) for entry in output["list"] or ()]
        return sorted((item for item in items if item), key=lambda item: item.path)

    async def copy(
        self, pairs: Sequence[Pair], *, what: str, inplace: bool = False, move: bool = False
    ) -> None:
        """Copy (or move) files, each over what may be there. Server-side where rclone can."""
        # IgnoreTimes: whether a file is there already was decided by its hash, not by its time.
        config = {**self.options.config, "IgnoreTimes": True, "Inplace": inplace}
        path = "operations/movefile" if move else "operations/copyfile"
        inputs = [
            {
                "srcFs": p.source,
                "srcRemote": p.source_path,
                "dstFs": p.target,
                "dstRemote": p.target_path,
            }
            for p in pairs
        ]
        if len(inputs) == 1:
            await self.daemon.run(
                path, {**inputs[0], "_config": config}, what=what, group=self.group
            )
            return
        await self.daemon.batch(
            [{"_path": path, **each} for each in inputs],
            what=what,
            group=self.group,
            config=config,
            width=int(self.options.config.get("Transfers", self.transfers)),
        )

    async def move_folder(self, source: Remote, target: Remote) -> None:
        """Rename a folder, or move its files one by one where the target exists."""
        await self.daemon.run(
            "sync/move",
            {
                "srcFs": str(source),
                "dstFs": str(target),
                "deleteEmptySrcDirs": True,
                "_config": {"IgnoreTimes": True},
            },
            what=f"moving to {target}",
            group=self.group,
        )

    async def delete(self, remote: Remote) -> None:
        """Remove a file; nothing happens where there is none."""
        await self._remove("operations/deletefile", remote)

    async def purge(self, remote: Remote) -> None:
        """Remove a folder and all that is in it."""
        await self._remove("operations/purge", remote)

    async def remove_empty(self, remote: Remote) -> None:
        """Remove the empty folders below, and the folder itself where it is empty then."""
        await self._remove("operations/rmdirs", remote)

    async def _remove(self, path: str, remote: Remote) -> None:
        try:
            await self.daemon.run(
                path,
                {"fs": remote.root, "remote": remote.key},
                what=f"removing {remote}",
                group=self.group,
            )
        except SourceNotFound:
            return

    async def read_back(
        self, remotes: Sequence[Remote], kind: str = "sha256", *, rate: int | None = None
    ) -> list[str]:
        """The hashes of the bytes at the remote, read again; each at ``rate`` bytes a second."""
        inputs = [
            {
                "_path": "operations/hashsumfile",
                "fs": remote.root,
                "remote": remote.key,
                "hashType": kind,
                "download": True,
            }
            for remote in remotes
        ]
        results = await self.daemon.batch(
            inputs,
            what="reading back",
            group=self.group,
            config={} if rate is None else {"BwLimitFile": f"{rate}B"},
            width=self.transfers,
        )
        return [str(result.get("hash", "")).lower() for result in results]

    async def local_hashes(self, directory: Path, paths: Sequence[str], kind: str) -> list[str]:
        """The hashes of local files, of any type that rclone knows."""
        inputs = [
            {
                "_path": "operations/hashsumfile",
                "fs": local_root(directory),
                "remote": spelt(path),
                "hashType": kind,
            }
            for path in paths
        ]
        results = await self.daemon.batch(inputs, what="hashing", group=self.group, width=2)
        return [str(result.get("hash", "")).lower() for result in results]


def local_root(directory: Path) -> str:
    """A local directory as rclone's ``fs``. An absolute path is never taken for a remote."""
    return str(directory.absolute())


def _stat(remote: Remote, hashes: Sequence[str], *, files_only: bool) -> Params:
    opt: Params = {"filesOnly": files_only, "noMimeType": True, "noModTime": True}
    if hashes:
        opt |= {"showHash": True, "hashTypes": list(hashes)}
    return {"fs": remote.root, "remote": remote.key, "opt": opt}


def _item(entry: Mapping[str, Any] | None, path: str) -> Item | None:
    if entry is None or entry.get("IsDir"):
        return None
    size = entry.get("Size")
    hashes = {k: str(v).lower() for k, v in (entry.get("Hashes") or {}).items() if v}
    return Item(path, size if isinstance(size, int) and size >= 0 else None, hashes)

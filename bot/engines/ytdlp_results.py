"""What a download left: files under yt-dlp's names, which get safe ones, and their hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from functools import partial
from pathlib import Path
from typing import Any

from bot.domain.ports import Fetched, FetchJob
from bot.domain.task import FileEntry
from bot.engines.filenames import safe_name
from bot.engines.local_copy import digest
from bot.engines.local_disk import boot
from bot.engines.local_flow import Flow, in_thread
from bot.errors import Corrupt, InternalFailure, InvalidInput

_WORK = ".ytdlp"
_BOOT = "boot"


class Results:
    """The directories of ``job``: yt-dlp works in one of its own inside, and what is done moves up.

    The token holds the names once they are chosen, so that a crash while they are given costs
    nothing.
    """

    def __init__(self, job: FetchJob) -> None:
        self._job = job
        self._work = job.directory / _WORK
        self._token: dict[str, Any] = dict(job.token or {})
        if self.known and not all(map(self._there, self._token["files"])):
            self._token.pop("files")

    @property
    def known(self) -> bool:
        """Whether everything was downloaded already."""
        return bool(self._token.get("files"))

    def _there(self, move: list[str]) -> bool:
        return (self._work / move[0]).is_file() or (self._job.directory / move[1]).is_file()

    def prepare(self) -> Path:
        """The directory for yt-dlp. After a new start of the machine half files are no good: what
        was not synced may be anything."""
        self._work.mkdir(mode=0o700, exist_ok=True)
        known = self._work / _BOOT
        if not known.is_file() or known.read_text() != boot():
            for path in self._work.iterdir():
                if path.suffix in {".part", ".ytdl"} or ".part-Frag" in path.name:
                    path.unlink()
            known.write_text(boot())
        return self._work

    async def name(self, answer: dict[str, Any]) -> None:
        """Choose the names, and make the choice durable."""
        several = bool(answer["playlist"])
        moves: list[list[str]] = []
        taken: set[str] = set()
        for item in answer["items"]:
            for name in (item["main"], *item["others"]):
                wanted = self._final(item, name, several)
                while wanted.lower() in taken:
                    wanted = safe_name(f"_{wanted}")
                taken.add(wanted.lower())
                moves.append([_plain(name), wanted])
        self._token["files"] = moves
        title = safe_name(self._job.options.name or str(answer["title"]), fallback="videos")
        self._token["name"] = title if several or len(moves) > 1 else moves[0][1]
        self._token["skipped"] = [failure["message"] for failure in answer["skipped"]][:50]
        await self._job.checkpoint(self._token)

    def _final(self, item: dict[str, Any], name: str, several: bool) -> str:
        """The name for people: the title, and what yt-dlp put behind its own name."""
        tail = name.removeprefix(item["base"])
        if several:
            title = f"{int(item['index']):03d} - {item['title']}"
        else:
            title = self._job.options.name or str(item["title"])
            if title.lower().endswith(tail.lower()):
                title = title[: len(title) - len(tail)]
        stem = safe_name(title, fallback="video", room=min(100, len(tail.encode())))
        return safe_name(stem + tail, fallback="video")

    async def collect(self) -> Fetched:
        """Give the names; the files with their hashes. Corrupt where a checksum is not met."""
        flow = Flow(0, lambda: None)
        files = await in_thread(flow, None, partial(self._collect, flow))
        detail = {"skipped": self._token["skipped"]} if self._token.get("skipped") else {}
        return Fetched(str(self._token["name"]), files, detail)

    def _collect(self, flow: Flow) -> list[FileEntry]:
        entries: list[FileEntry] = []
        for source, target in self._token["files"]:
            final = self._job.directory / target
            if (self._work / source).exists():
                (self._work / source).replace(final)
            descriptor = os.open(final, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise InternalFailure(f"{target!r} is not a regular file")
                entries.append(FileEntry(target, found.st_size, digest(descriptor, flow)))
            finally:
                os.close(descriptor)
        self._check(entries)
        shutil.rmtree(self._work, ignore_errors=True)
        return entries

    def _check(self, entries: list[FileEntry]) -> None:
        """The checksum that the submission gave, of a download of one file."""
        if self._job.options.checksum is None:
            return
        kind, _, wanted = self._job.options.checksum.partition(":")
        if len(entries) != 1 or kind not in {"sha256", "sha512", "sha1", "md5"}:
            raise InvalidInput(
                "a checksum is for a download of one file",
                hint="write sha256:, sha512:, sha1: or md5: and the hash",
            )
        with (self._job.directory / entries[0].path).open("rb") as file:
            found = hashlib.file_digest(
                file, partial(hashlib.new, kind, usedforsecurity=False)
            ).hexdigest()
        if found != wanted.lower():
            raise Corrupt(f"the {kind} is {found}, and {wanted} was expected")


def _plain(name: str) -> str:
    """A name in yt-dlp's directory; InternalFailure where it is more than that."""
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise InternalFailure(f"yt-dlp named a file {name[:80]!r}")
    return name

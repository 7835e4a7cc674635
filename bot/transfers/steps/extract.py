"""Unpacks archives, all of which are taken for hostile."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bot.domain.ports import StepJob
from bot.domain.task import FileEntry, Progress
from bot.errors import Corrupt, InvalidInput, Unauthorised, Unsupported
from bot.transfers.confined.budget import Budget
from bot.transfers.confined.streams import HOW_TO_GET_7ZIP
from bot.transfers.steps.files import (
    Output,
    Stop,
    discard,
    in_thread,
    need_room,
    settle,
    source_path,
    walk,
)
from bot.transfers.steps.formats import STREAMS, Archive, archives_in, has_suffix
from bot.transfers.steps.params import Params
from bot.transfers.steps.programs import confined
from bot.transfers.steps.sevenzip import SevenZip

log = logging.getLogger(__name__)

_GUESS = 3  # how many times its size an archive takes, until its listing tells
_OPENABLE = "zip, 7z, rar, tar (gz, bz2, xz, zst), gz, bz2, xz, zst, iso, cab, arj and lzh"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bytes and files that may be unpacked, the ratio, and how deep archives may lie in others."""

    max_size: int
    max_files: int
    max_ratio: float
    max_depth: int


class Extract:
    """The step ``extract``.

    Parameters: ``password`` (or a list, tried in order), ``recursive`` (also archives within
    archives). An archive alone is unpacked to the top, several each to a folder of its own; other
    files are handed on. Links and devices are left out and named by ``report``.
    """

    name = "extract"

    def __init__(
        self, sevenzip: Path | None, limits: ArchiveLimits, report: Callable[[str], None]
    ) -> None:
        self._sevenzip = SevenZip(sevenzip) if sevenzip is not None else None
        self._limits = limits
        self._report = report

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self.name, params, ("password", "recursive"))
        passwords = given.texts("password", "a password or a list of them, without line breaks")
        if len(passwords) > 50:
            raise InvalidInput("extract: there are more than 50 passwords", hint="give 50 at most")
        canonical: dict[str, Any] = {"recursive": given.flag("recursive", False)}
        if passwords:
            canonical["password"] = passwords
        return canonical

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """A guess, in bytes; the listing of the archive is held against the free room."""
        return min(size * _GUESS, self._limits.max_size)

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Unpack. Raises Unsupported, Corrupt, Unauthorised, PolicyRefused or NoSpace."""
        found, others = await in_thread(lambda _: archives_in(job.directory, job.files))
        if not found:
            raise Unsupported("none of the files is an archive", hint=f"extract opens {_OPENABLE}")
        limits = self._limits
        budget = Budget.of(
            packed=sum(archive.size for archive in found),
            max_size=limits.max_size,
            max_files=limits.max_files,
            max_ratio=limits.max_ratio,
        )
        work = _Work(job, budget, self._sevenzip, self._report)
        return await work.run(found, others, limits.max_depth)


@dataclass(frozen=True, slots=True)
class _Turn:
    """An archive to unpack: below ``directory``, into ``folder`` of the output; ``depth`` is 1 for
    those of the input. ``inner`` is its file in the output, removed once it is unpacked."""

    archive: Archive
    directory: Path
    folder: str
    depth: int
    inner: Path | None = None


class _Work:
    """One run of the step."""

    def __init__(
        self,
        job: StepJob,
        budget: Budget,
        sevenzip: SevenZip | None,
        report: Callable[[str], None],
    ) -> None:
        self._job = job
        self._budget = budget
        self._sevenzip = sevenzip
        self._report = report
        self._output = Output(job.output)
        self._passwords: list[str] = list(job.params.get("password", []))
        self._done = 0

    async def run(
        self, found: list[Archive], others: list[FileEntry], max_depth: int
    ) -> list[FileEntry]:
        job, output = self._job, self._output

        def pass_on(stop: Stop) -> None:
            for entry in others:
                output.pass_on(job.directory, entry, stop)

        await in_thread(pass_on)
        alone = len(found) == 1 and not others
        turns = deque(
            _Turn(each, job.directory, "" if alone else _below(each.folder, each.stem), 1)
            for each in found
        )
        recursive = bool(job.params.get("recursive"))
        while turns:
            turn = turns.popleft()
            files = await self._unpack(turn)
            if recursive and turn.depth < max_depth:
                turns.extend(await in_thread(lambda _, t=turn, f=files: self._inner(t, f)))  # type: ignore[misc]
        return await in_thread(output.entries)

    def _inner(self, turn: _Turn, files: list[Path]) -> list[_Turn]:
        """The turns for the archives that were unpacked just now."""
        root = self._output.root
        entries = [
            FileEntry(self._output.relative(path), path.lstat().st_size)
            for path in files
            if has_suffix(path.name)
        ]
        turns = []
        for entry in entries:
            found, _ = archives_in(root, [entry])
            turns += [
                _Turn(each, root, _below(each.folder, each.stem), turn.depth + 1, root / entry.path)
                for each in found
            ]
        return turns

    async def _unpack(self, turn: _Turn) -> list[Path]:
        """Unpack one; where its files are. An inner one that does not open stays as it is."""
        try:
            files = await self._open(turn)
        except (Corrupt, Unauthorised, Unsupported) as error:
            if turn.inner is None:
                raise
            self._report(f"{self._job.id}: {turn.archive.first.path} stays packed: {error}")
            return []
        if turn.inner is not None:
            self._output.forget(turn.inner)
        return files

    async def _open(self, turn: _Turn) -> list[Path]:
        # Nobody can guess the name, so no entry of an archive can lie there already.
        place = self._job.output / f".{secrets.token_hex(16)}"
        await in_thread(lambda _: place.mkdir(mode=0o700))
        try:
            return await self._into(place, turn)
        finally:
            await in_thread(lambda _: discard(place))

    async def _into(self, place: Path, turn: _Turn) -> list[Path]:
        """Unpack into ``place``, and move the files from there to their folder."""
        archive, folder = turn.archive, turn.folder
        if archive.kind in STREAMS or (archive.kind == "zip" and self._sevenzip is None):
            known, single = await self._by_child(turn, place)
        elif self._sevenzip is None:
            raise Unsupported(
                f"{archive.first.path!r} ({archive.kind.lower()}) needs 7-Zip", hint=HOW_TO_GET_7ZIP
            )
        else:
            known, single = {}, False
            place = await self._by_program(turn, place, self._sevenzip)
        if single and folder:
            folder = archive.folder
        elif folder:
            folder = self._output.names.free(folder)
        return await in_thread(lambda _: settle(place, self._output, folder, known))

    async def _by_child(self, turn: _Turn, place: Path) -> tuple[dict[str, str], bool]:
        archive = turn.archive
        if archive.kind == "zip" and len(archive.volumes) > 1:
            raise Unsupported(
                f"{archive.first.path!r} in several volumes needs 7-Zip",
                hint=HOW_TO_GET_7ZIP,
            )
        request = {
            "do": "unpack",
            "kind": archive.kind,
            "name": archive.stem,
            "paths": [str(source_path(turn.directory, each)) for each in archive.volumes],
            "output": str(place),
            "passwords": self._passwords,
            "sevenzip": str(self._sevenzip.program) if self._sevenzip else None,
            "budget": asdict(self._budget),
        }
        before = self._done
        answer = await confined(
            request,
            cwd=place,
            file_size=self._budget.size + 1,
            on_done=lambda done: self._tell(before + done, None),
        )
        self._left_out(turn, answer["skipped"])
        self._done += self._budget.size - answer["budget"]["size"]
        self._budget = Budget(**answer["budget"])
        return {path: digest for path, _, digest in answer["files"]}, answer["single"]

    async def _by_program(self, turn: _Turn, place: Path, sevenzip: SevenZip) -> Path:
        """Unpack with the first password that fits; the directory below ``place`` with the files.

        What a wrong password leaves is garbage that looks like files: it is in a directory of its
        own, and goes with ``place``.
        """
        candidates: list[str | None] = [*self._passwords] or [None]
        for number, password in enumerate(candidates):
            target = place / str(number)
            try:
                await self._attempt(turn, sevenzip, password, target)
            except Unauthorised:
                await in_thread(lambda _, each=target: discard(each))  # type: ignore[misc]
                if number == len(candidates) - 1:
                    raise
                continue
            break
        return target

    async def _attempt(
        self, turn: _Turn, sevenzip: SevenZip, password: str | None, target: Path
    ) -> None:
        """Unpack with one password into ``target``, which is made here."""
        archive = turn.archive
        path = source_path(turn.directory, archive.first)
        kind = f"{archive.kind}.split" if archive.split else archive.kind
        budget = replace(self._budget)
        listing = await sevenzip.listing(path, kind, password, budget)
        self._left_out(turn, listing.skipped)
        if listing.encrypted and password is None:
            raise Unauthorised(
                f"{path.name!r} needs a password",
                hint="give it as the parameter password of the step",
            )
        await in_thread(lambda _: _ready(target, listing.size))
        before = self._done
        await sevenzip.unpack(
            path,
            kind,
            password,
            target,
            budget,
            lambda done: self._tell(before + done, before + listing.size),
        )
        size, files = await in_thread(lambda _: _counted(target))
        budget.spend(size, listing.entries)
        if files != listing.files:
            raise Corrupt(
                f"{path.name!r} lists {listing.files} files, and {files} came out of it",
                hint="the archive is damaged, or made to deceive",
            )
        self._budget = budget
        self._done += size

    def _left_out(self, turn: _Turn, names: list[str]) -> None:
        if names:
            self._report(
                f"{self._job.id}: left out of {turn.archive.first.path}: {', '.join(names)}"
            )

    def _tell(self, done: int, total: int | None) -> None:
        self._job.report(Progress(done=done, total=total))


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _ready(target: Path, size: int) -> None:
    need_room(target.parent, size)
    target.mkdir(mode=0o700)


def _counted(target: Path) -> tuple[int, int]:
    """Bytes and regular files below ``target``."""
    files = walk(target)
    return sum(path.lstat().st_size for path in files), len(files)

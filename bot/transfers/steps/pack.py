"""Packs files into one archive, cuts files into parts, puts parts together."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.domain.ports import StepJob
from bot.domain.task import FileEntry, Progress
from bot.errors import Corrupt, Unsupported
from bot.transfers.confined.budget import Budget
from bot.transfers.confined.names import clean
from bot.transfers.confined.streams import HOW_TO_GET_7ZIP
from bot.transfers.steps.files import (
    Output,
    Stop,
    discard,
    hand_on,
    in_thread,
    need_room,
    source_path,
)
from bot.transfers.steps.params import Params
from bot.transfers.steps.programs import confined
from bot.transfers.steps.sevenzip import SevenZip

_CHUNK = 1024 * 1024
_LEAST_PART = 1024
_MOST = 1 << 62
_MOST_PARTS = 9999
_OVERHEAD = 1024  # bytes that an archive adds to each file, more than enough
#: What 7-Zip accepts: the format does not say how other letters are encoded.
_ZIP_PASSWORD = re.compile(r"[ -~]{1,99}")
_NUMBERED = re.compile(r"(?P<stem>.+)\.(?P<number>\d{3,5})")
_PART = re.compile(r"(?i)(?P<stem>.+)\.part[._-]?(?P<number>\d{1,5})(?:of(?P<of>\d{1,5}))?")


class Zip:
    """The step ``zip``: all files in one archive.

    Parameters: ``name``, ``format`` (zip or 7z), ``level`` (0 stores, to 9), ``password`` (AES-256;
    in 7z the names are encrypted too), ``split`` (bytes of a volume: name.001, name.002, ...).
    """

    name = "zip"

    def __init__(self, sevenzip: Path | None) -> None:
        self._sevenzip = SevenZip(sevenzip) if sevenzip is not None else None

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self.name, params, ("name", "format", "level", "password", "split"))
        canonical: dict[str, Any] = {
            "format": given.choice("format", "zip", ("zip", "7z")),
            "level": given.number("level", 0, 0, 9),
        }
        name = given.text("name", "a file name")
        password = given.text("password", "a text without line breaks")
        if name is not None:
            canonical["name"] = clean(name)
        if password is not None:
            if canonical["format"] == "zip" and not _ZIP_PASSWORD.fullmatch(password):
                raise given.wrong("password", "in a zip 1 to 99 ASCII characters; 7z takes others")
            canonical["password"] = password
        if params.get("split") is not None:
            canonical["split"] = given.number("split", None, _LEAST_PART, _MOST)
        return canonical

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """The size of the files: most of what is mirrored does not shrink. Without 7-Zip the
        volumes are cut from the whole, and lie beside it."""
        return size * 2 if params.get("split") and self._sevenzip is None else size

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Pack, and read the archive back. Raises Unsupported, Corrupt or NoSpace."""
        params = job.params
        size = sum(file.size for file in job.files)
        need_room(job.output, size + _OVERHEAD * len(job.files))
        suffix = f".{params['format']}"
        name = params.get("name") or _common_name(job.files)
        archive = job.output / clean(name if name.lower().endswith(suffix) else name + suffix)
        # Nobody can guess the name, so nothing that is packed can have it.
        staging = job.output / f".{secrets.token_hex(16)}"

        def stage(stop: Stop) -> None:
            for file in job.files:
                target = staging / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                hand_on(source_path(job.directory, file), target, stop)

        try:
            await in_thread(stage)
            if self._sevenzip is not None:
                await self._by_program(job, self._sevenzip, staging, archive)
            else:
                await self._by_child(job, staging, archive)
        finally:
            await in_thread(lambda _: discard(staging))
        return await in_thread(Output(job.output).entries)

    async def _by_program(
        self, job: StepJob, sevenzip: SevenZip, staging: Path, archive: Path
    ) -> None:
        params, kind = job.params, job.params["format"]
        password = params.get("password")
        size = sum(file.size for file in job.files)
        options = [f"-t{kind}", f"-mx={params['level']}"]
        if password is not None:
            options.append("-mem=AES256" if kind == "zip" else "-mhe=on")
        if "split" in params:
            options.append(f"-v{params['split']}b")
        already = size  # the staged links are counted as well

        def tell(done: int) -> None:
            job.report(Progress(done=min(max(0, done - already), size), total=size))

        await sevenzip.pack(staging, archive, options, password, tell)
        first = archive
        if "split" in params:
            first, kind = archive.with_name(archive.name + ".001"), f"{kind}.split"
        await sevenzip.test(first, kind, password)
        whole = Budget(_MOST, _MOST, 0)
        listing = await sevenzip.listing(first, kind, password, whole)
        if (listing.files, listing.size) != (len(job.files), size):
            raise Corrupt(
                f"the new archive holds {listing.files} files of {listing.size} bytes instead of "
                f"{len(job.files)} of {size}"
            )

    async def _by_child(self, job: StepJob, staging: Path, archive: Path) -> None:
        params = job.params
        if params["format"] != "zip" or "password" in params:
            raise Unsupported(
                "without 7-Zip there are only zip archives without a password",
                hint=HOW_TO_GET_7ZIP,
            )
        request = {
            "do": "pack",
            "staging": str(staging),
            "target": str(archive),
            "level": params["level"],
        }
        await confined(request, cwd=staging, file_size=None, on_done=lambda _: None)
        if "split" in params:
            output = Output(job.output)
            await in_thread(lambda stop: _cut(archive, archive.name, params["split"], output, stop))
            archive.unlink()


def _common_name(files: Sequence[FileEntry]) -> str:
    """A name for the whole: that of the only file, or of the folder that holds all."""
    if len(files) == 1:
        return files[0].path.rpartition("/")[2]
    tops = {file.path.partition("/")[0] for file in files if "/" in file.path}
    return tops.pop() if len(tops) == 1 and all("/" in file.path for file in files) else "archive"


class Split:
    """The step ``split``: every file larger than ``size`` bytes in parts name.001, name.002, ..."""

    name = "split"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self.name, params, ("size",))
        return {"size": given.number("size", None, _LEAST_PART, _MOST)}

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """As much again."""
        return size

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Cut. Raises Unsupported where a file has too many parts."""
        return await in_thread(lambda stop: self._run(job, stop))

    def _run(self, job: StepJob, stop: Stop) -> list[FileEntry]:
        size, output = job.params["size"], Output(job.output)
        large = [file for file in job.files if file.size > size]
        total = sum(file.size for file in large)
        need_room(job.output, total)
        done = 0
        for file in job.files:
            if file not in large:
                output.pass_on(job.directory, file, stop)
                continue
            _cut(source_path(job.directory, file), file.path, size, output, stop)
            done += file.size
            job.report(Progress(done=done, total=total))
        return output.entries(stop)


def _cut(source: Path, path: str, size: int, output: Output, stop: Stop) -> None:
    """Write ``source`` as parts of ``size`` bytes named after ``path``, hashed on the way."""
    whole = source.stat().st_size
    count = -(-whole // size)
    if count > _MOST_PARTS:
        raise Unsupported(
            f"{path!r} would be cut into {count} parts", hint=f"{_MOST_PARTS} at most: larger parts"
        )
    width = max(3, len(str(count)))
    with source.open("rb") as reader:
        for number in range(1, count + 1):
            target = output.place_for(f"{path}.{number:0{width}}")
            digest, left = hashlib.sha256(), min(size, whole - (number - 1) * size)
            with target.open("xb") as writer:
                while left:
                    stop.check()
                    chunk = reader.read(min(_CHUNK, left))
                    if not chunk:
                        raise Corrupt(f"{path!r} became shorter while it was read")
                    digest.update(chunk)
                    writer.write(chunk)
                    left -= len(chunk)
            output.know(target, digest.hexdigest())


@dataclass(slots=True)
class _Whole:
    """The parts of one file, by number; ``of`` is how many there are, where a name says so."""

    path: str
    parts: dict[int, FileEntry]
    of: int | None = None


class Join:
    """The step ``join``: parts name.001, name.002, ... or name.part1, name.part2, ... together
    again. Every set of parts is joined; other files are handed on."""

    name = "join"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """It has no parameters. Raises InvalidInput."""
        Params(self.name, params, ())
        return {}

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """As much again."""
        return size

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Join. Raises Corrupt where a part is missing, Unsupported where there are no parts."""
        return await in_thread(lambda stop: self._run(job, stop))

    def _run(self, job: StepJob, stop: Stop) -> list[FileEntry]:
        wholes, others = _wholes(job.files)
        if not wholes:
            raise Unsupported(
                "none of the files is a part",
                hint="parts are named name.001, name.002, ... or name.part1, name.part2, ...",
            )
        for whole in wholes:
            _check_parts(whole)
        total = sum(part.size for whole in wholes for part in whole.parts.values())
        need_room(job.output, total)
        output, done = Output(job.output), 0
        for file in others:
            output.pass_on(job.directory, file, stop)
        for whole in wholes:
            target = output.place_for(whole.path)
            digest = hashlib.sha256()
            with target.open("xb") as writer:
                for number in sorted(whole.parts):
                    done += _append(job, whole.parts[number], writer.write, digest.update, stop)
                    job.report(Progress(done=done, total=total))
            output.know(target, digest.hexdigest())
        return output.entries(stop)


def _append(job: StepJob, part: FileEntry, write: Any, update: Any, stop: Stop) -> int:
    path = source_path(job.directory, part)
    size = 0
    with path.open("rb") as reader:
        while chunk := reader.read(_CHUNK):
            stop.check()
            update(chunk)
            write(chunk)
            size += len(chunk)
    if size != part.size:
        raise Corrupt(f"the part {part.path!r} has {size} bytes instead of {part.size}")
    return size


def _wholes(files: Sequence[FileEntry]) -> tuple[list[_Whole], list[FileEntry]]:
    """The sets of parts among ``files``, and the files that are no part."""
    found: dict[str, _Whole] = {}
    others: list[FileEntry] = []
    for file in files:
        match = _NUMBERED.fullmatch(file.path) or _PART.fullmatch(file.path)
        if match is None:
            others.append(file)
            continue
        whole = found.setdefault(match["stem"], _Whole(match["stem"], {}))
        number = int(match["number"])
        if number in whole.parts:
            raise Corrupt(f"{whole.path!r} has the part {number} twice")
        whole.parts[number] = file
        of = match.groupdict().get("of")
        whole.of = int(of) if of else whole.of
    for path in [path for path, whole in found.items() if _is_no_set(whole)]:
        others += found.pop(path).parts.values()
    return list(found.values()), others


def _is_no_set(whole: _Whole) -> bool:
    """A lone file that only looks like a part, such as ``report.2024``."""
    return len(whole.parts) == 1 and min(whole.parts) > 1 and whole.of is None


def _check_parts(whole: _Whole) -> None:
    """Corrupt where a part is missing: in the row, at its end as far as sizes tell."""
    last = max(whole.parts)
    first = 0 if 0 in whole.parts else 1
    missing = [
        number for number in range(first, (whole.of or last) + 1) if number not in whole.parts
    ]
    if missing:
        raise Corrupt(
            f"of {whole.path!r} the part {', '.join(map(str, missing[:5]))} is missing",
            hint="all parts belong to one task",
        )
    sizes = [whole.parts[number].size for number in sorted(whole.parts)]
    if any(size != sizes[0] for size in sizes[:-1]) or sizes[-1] > sizes[0]:
        raise Corrupt(
            f"the parts of {whole.path!r} do not belong together or are not whole: "
            f"{', '.join(map(str, sizes[:10]))} bytes",
            hint="all parts but the last have the same size",
        )

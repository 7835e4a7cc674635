"""Tar archives and single compressed files, written as they are read: one pass, no seeking."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, cast

from bot.errors import Corrupt
from bot.transfers.confined.streams import Forward
from bot.transfers.confined.writer import CHUNK, Writer

_BLOCK = 512


def looks_like_tar(head: bytes) -> bool:
    """Whether ``head`` (the first 512 bytes) is the header of a tar archive: its checksum fits."""
    if len(head) < _BLOCK or not head.strip(b"\0"):
        return False
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def unpack_single(stream: Forward, name: str, writer: Writer) -> None:
    """Write the one file that the stream is under ``name``."""
    writer.file(name, iter(lambda: stream.read(CHUNK), b""))


def unpack_tar(stream: Forward, writer: Writer) -> None:
    """Write the files of a tar archive. Links, devices and pipes are left out; a hard link to a
    file that came before is a copy of it."""
    try:
        _walk(stream, writer)
    except RecursionError:
        raise Corrupt("the headers of the archive are nested without end") from None
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise Corrupt(f"the tar archive is damaged: {error}") from None
    stream.drain()


def _walk(stream: Forward, writer: Writer) -> None:
    written: dict[str, str] = {}
    archive = tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:")  # noqa: SIM115
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it keeps them all
        if member.isdir():
            writer.directory(member.name)
        elif member.isreg():
            written[member.name] = writer.file(
                member.name, _content(archive, member, stream, writer)
            )
        elif member.islnk() and member.linkname in written:
            written[member.name] = writer.copy(member.name, written[member.linkname])
        else:
            writer.budget.spend(0, files=1)
            writer.skip(member.name, _what(member))
    # tarfile takes a damaged header for the end of the archive; the real end is a block of zeros.
    if stream.last.strip(b"\0"):
        raise Corrupt(f"the tar archive is damaged at byte {stream.tell() - _BLOCK}")


def _what(member: tarfile.TarInfo) -> str:
    if member.islnk() or member.issym():
        return "a link"
    return "a device or a pipe" if member.isdev() else "neither file nor directory"


def _content(
    archive: tarfile.TarFile, member: tarfile.TarInfo, stream: Forward, writer: Writer
) -> Iterator[bytes]:
    if member.size < 0:
        raise Corrupt("the tar archive holds a file of negative size")
    writer.budget.check(member.size)
    if member.issparse():
        writer.budget.spend(member.size)
        source = archive.extractfile(member)
        while source is not None and (chunk := source.read(CHUNK)):
            yield chunk
        return
    stream.seek(member.offset_data)
    left = member.size
    while left:
        chunk = stream.read(min(CHUNK, left))
        if not chunk:
            raise Corrupt(f"the tar archive ends in the middle of a file, {left} bytes early")
        left -= len(chunk)
        yield chunk

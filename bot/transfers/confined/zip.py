"""Zip archives where there is no 7-Zip: without AES, and with the methods of the library only."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bot.errors import Corrupt, Unauthorised, Unsupported
from bot.transfers.confined.names import parts_of
from bot.transfers.confined.streams import HOW_TO_GET_7ZIP
from bot.transfers.confined.writer import CHUNK, Writer

_AES = 99  # APPNOTE.TXT, 4.4.5 and appendix E: the real method is in an extra field
_ENCRYPTED = 0x1  # APPNOTE.TXT, 4.4.4


def unpack_zip(path: Path, passwords: Sequence[str], writer: Writer) -> None:
    """Write the files of the archive. Links and devices are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            writer.budget.check(sum(entry.file_size for entry in entries), len(entries))
            for entry in entries:
                if entry.filename.strip("./"):
                    parts_of(entry.orig_filename.partition("\0")[0])
            password = _password(archive, entries, passwords)
            for entry in entries:
                _write(archive, entry, password, writer)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise Corrupt(f"the zip archive is damaged: {error}") from None
    except NotImplementedError as error:
        raise Unsupported(
            f"the zip archive needs 7-Zip: {error}",
            hint=HOW_TO_GET_7ZIP,
        ) from None


def _write(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, password: bytes | None, writer: Writer
) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.is_dir():
        writer.directory(entry.filename)
    elif kind not in {0, stat.S_IFREG}:
        writer.budget.spend(0, files=1)
        writer.skip(entry.filename, "a link" if kind == stat.S_IFLNK else "a device or a pipe")
    else:
        writer.file(entry.filename, _content(archive, entry, password, writer))


def _content(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, password: bytes | None, writer: Writer
) -> Iterator[bytes]:
    with archive.open(entry, pwd=password) as source:
        while chunk := source.read(CHUNK):
            writer.budget.spend(len(chunk))
            yield chunk


def _password(
    archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], passwords: Sequence[str]
) -> bytes | None:
    """The password that opens the smallest encrypted file; None where nothing is encrypted."""
    locked = [entry for entry in entries if entry.flag_bits & _ENCRYPTED]
    if not locked:
        return None
    if any(entry.compress_type == _AES for entry in locked):
        raise NotImplementedError("it is encrypted with AES")
    probe = min(locked, key=lambda entry: entry.file_size)
    for password in passwords:
        try:
            with archive.open(probe, pwd=password.encode()) as source:
                while source.read(CHUNK):
                    pass
        except (RuntimeError, zipfile.BadZipFile, zlib.error):
            continue
        return password.encode()
    raise Unauthorised(
        "the password of the archive is wrong" if passwords else "the archive needs a password",
        hint="give the right one as the parameter password",
    )


def pack_zip(staging: Path, target: Path, level: int) -> None:
    """Write every file below ``staging`` to the new archive ``target``; level 0 stores."""
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(
        target, "x", method, compresslevel=level or None, strict_timestamps=False
    ) as archive:
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(staging).as_posix())
    with zipfile.ZipFile(target) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise Corrupt(f"the new archive does not read back: {broken!r}")

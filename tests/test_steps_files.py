"""Rename, exclude, include, split, join, and how files are handed on."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from bot.domain.ports import StepJob
from bot.domain.task import FileEntry
from bot.errors import Corrupt, InvalidInput, NoSpace, Unsupported
from bot.transfers.confined.names import FreeNames, clean, parts_of
from bot.transfers.steps import build_steps, files, find_programs
from bot.transfers.steps import rename as rename_module
from bot.transfers.steps.guarded import Guarded
from bot.transfers.steps.rename import Choose
from tests.stepping import BARE, Bench

STEPS = build_steps(BARE, max_size=1, max_files=1, max_ratio=1, max_depth=1, timeout=0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# Names


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("script/code/s", "My script.Script.py", "My code.Script.py"),
        ("SCRIPT/code", "My script.Script.py", "My code.code.py"),
        ("a/b/1/s", "aaa", "baa"),
        ("a/b/2", "aaAa", "bbAa"),
        ("tea /", "tea time", "time"),
        ("clone", "clone wars", " wars"),
        (r"\[tag\]/x", "[tag] a", "x a"),
        (r"(\d+)x(\d+)/\2x\1", "640x480", "480x640"),
        (r"a\/b/c | \|/-", "one|two", "one-two"),
        ("a/b | b/c", "a", "c"),
        (r"\./\/../", "x.mkv", "x_..mkv"),
        ("^.*$/", "gone", "_"),
        ("x/\u202e", "ax", "a_"),
    ],
)
async def test_rename(bench: Bench, pattern: str, name: str, expected: str) -> None:
    bench.put(f"folder/{name}", b"1")
    assert await bench.run("rename", pattern=pattern) == {f"folder/{expected}": b"1"}


async def test_rename_loses_no_file(bench: Bench) -> None:
    for name in ("1.txt", "2.txt", "d/3.txt"):
        bench.put(name, name.encode())
    result = await bench.run("rename", pattern=r"\d/x")
    assert result == {"x.txt": b"1.txt", "x (2).txt": b"2.txt", "d/x.txt": b"d/3.txt"}


async def test_rename_keeps_the_length_that_disks_take(bench: Bench) -> None:
    bench.put("a.mkv", b"1")
    (name,) = await bench.run("rename", pattern="a/" + "n" * 400)
    assert name == "n" * 251 + ".mkv"


async def test_pattern_that_never_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rename_module, "_PATIENCE", 1.0)
    bench.put("a" * 60 + "!", b"1")
    with pytest.raises(Unsupported, match="took longer"):
        await bench.run("rename", pattern="^(a+)+$/x")
    assert bench.left() == {}


async def test_replacement_without_its_group(bench: Bench) -> None:
    bench.put("a", b"1")
    with pytest.raises(Unsupported, match="does not fit"):
        await bench.run("rename", pattern=r"a/\7")


@pytest.mark.parametrize(
    ("step", "params", "said"),
    [
        ("rename", {}, "needs pattern"),
        ("rename", {"pattern": "(a/b"}, "no regular expression"),
        ("rename", {"pattern": "a/b/c/d/e"}, "is no rule"),
        ("rename", {"pattern": "a/b/x"}, "is no rule"),
        ("rename", {"pattern": "a" * 600}, "at most 500"),
        ("rename", {"rules": []}, "1 to 50"),
        ("rename", {"rules": ["a/b"]}, "no object"),
        ("rename", {"rules": [{"pattern": "a", "with": "b"}]}, "no parameter 'with'"),
        ("exclude", {}, "extensions"),
        ("exclude", {"extensions": "../x"}, "a list of file extensions"),
        ("include", {"extensions": 5}, "a list of file extensions"),
        ("split", {}, "needs size"),
        ("split", {"size": "big"}, "whole number"),
        ("split", {"size": True}, "whole number"),
        ("join", {"size": 5}, "it has none"),
    ],
)
def test_wrong_parameters_are_named(step: str, params: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        STEPS[step].check(params)
    assert said in str(caught.value)


def test_every_step_has_its_name() -> None:
    assert {step.name for step in STEPS.values()} == set(STEPS)
    assert set(STEPS) == {
        *("extract", "zip", "split", "join", "rename", "exclude", "include"),
        *("convert", "preset", "screenshots", "sample", "thumbnail"),
    }


async def test_exclude_and_include(bench: Bench) -> None:
    for name in ("a.mkv", "b.NFO", "c.txt", "d/e.tar.gz", "nfo"):
        bench.put(name, b"1")
    assert set(await bench.run("exclude", extensions=[".nfo", "tar.gz"])) == {
        "a.mkv",
        "c.txt",
        "nfo",
    }
    again = Bench(bench.root / "again")
    (bench.input).rename(_made(again.root) / "input")
    assert set(await again.run("include", extensions="*.txt, NFO")) == {"b.NFO", "c.txt"}
    assert (again.input / "c.txt").samefile(again.output / "c.txt")


def _made(path: Path) -> Path:
    path.mkdir()
    return path


async def test_nothing_left(bench: Bench) -> None:
    bench.put("a.nfo", b"1")
    with pytest.raises(Unsupported, match="leaves none"):
        await bench.run("exclude", extensions="nfo")


def test_clean_names() -> None:
    assert clean("a/b\\c\0d\ne") == "a_b_c_d_e"
    assert clean("..") == clean(".") == clean("") == clean("  ") == "_"
    assert len(clean("ü" * 200 + ".mkv").encode()) <= 255
    assert len(clean("\U0001f600" * 100).encode()) <= 255
    assert parts_of("./a//b/./c") == ("a", "b", "c")


def test_free_names_stay_short_and_quick() -> None:
    taken: set[str] = set()
    names = FreeNames(taken.__contains__)
    for _ in range(5000):
        taken.add(names.free("d/" + "x" * 251 + ".txt"))
    assert len(taken) == 5000
    assert max(len(name) for name in taken) == len("d/") + 255
    assert all(name.endswith(".txt") for name in taken)


# Split and join


async def test_split_and_join(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(2_500_000)
    splitting, joining = Bench(_made(tmp_path / "1")), Bench(_made(tmp_path / "2"))
    splitting.put("d/movie.mkv", data)
    splitting.put("small.txt", b"s")
    parts = await splitting.run("split", size=1_000_000)
    assert {name: len(part) for name, part in parts.items()} == {
        "d/movie.mkv.001": 1_000_000,
        "d/movie.mkv.002": 1_000_000,
        "d/movie.mkv.003": 500_000,
        "small.txt": 1,
    }
    assert splitting.progress[-1].speed > 0
    assert splitting.progress[-1].done == splitting.progress[-1].total == len(data)
    for name, part in parts.items():
        joining.put(name, part)
    assert await joining.run("join") == {"d/movie.mkv": data, "small.txt": b"s"}


async def test_parts_are_numbers_not_words(bench: Bench) -> None:
    for number in range(1, 12):
        bench.put(f"x.bin.part{number}", bytes([number]) * 10)
    assert await bench.run("join") == {"x.bin": b"".join(bytes([n]) * 10 for n in range(1, 12))}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"x.001": 10, "x.003": 10}, "the part 2 is missing"),
        ({"x.002": 10, "x.003": 10}, "the part 1 is missing"),
        ({"x.part1of3": 10, "x.part2of3": 10}, "the part 3 is missing"),
        ({"x.001": 10, "x.002": 7, "x.003": 10}, "do not belong together"),
        ({"x.001": 10, "x.002": 11}, "do not belong together"),
        ({"x.001": 10, "x.1.txt": 1, "x.0001": 10}, "the part 1 twice"),
    ],
)
async def test_parts_that_are_not_whole(bench: Bench, parts: dict[str, int], said: str) -> None:
    for name, size in parts.items():
        bench.put(name, bytes(size))
    with pytest.raises(Corrupt, match=said):
        await bench.run("join")
    assert bench.left() == {}


async def test_nothing_to_join(bench: Bench) -> None:
    bench.put("report.2024", b"1")
    with pytest.raises(Unsupported, match="none of the files is a part"):
        await bench.run("join")


async def test_too_many_parts(bench: Bench) -> None:
    bench.put("x", bytes(1024 * 10_000))
    with pytest.raises(Unsupported, match="10000 parts"):
        await bench.run("split", size=1024)


# How files are handed on


@pytest.mark.parametrize("path", ["../outside", "link", "missing", "folder"])
async def test_only_regular_files_of_the_task_are_read(bench: Bench, path: str) -> None:
    (bench.root / "outside").write_bytes(b"secret")
    bench.put("folder/f", b"1")
    (bench.input / "link").symlink_to(bench.root / "outside")
    for step, params in (("exclude", {"extensions": "x"}), ("split", {"size": 1024})):
        with pytest.raises(Corrupt):
            await bench.run_on(step, [FileEntry(path, 5000)], params)


async def test_known_hash_is_kept(bench: Bench) -> None:
    bench.put("f.x", b"1")
    known = FileEntry("f.x", 1, "0" * 64)
    job = StepJob("t", bench.input, [known], bench.output, {"extensions": ["x"]}, print)
    assert await STEPS["include"].run(job) == [known]


def test_a_copy_where_links_do_not_reach(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second filesystem here: mount a tmpfs on /dev/shm")
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    target = memory / f"mltb-test-{os.getpid()}"
    try:
        files.hand_on(source, target, files.Stop())
        assert target.read_bytes() == source.read_bytes()
    finally:
        target.unlink(missing_ok=True)


def test_no_room(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="are free") as caught:
        files.need_room(tmp_path, 1 << 62)
    assert caught.value.details["needed"] == 1 << 62


class _Full(Choose):
    """A step that writes to a full disk."""

    async def run(self, job: StepJob) -> list[FileEntry]:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")
        return []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
async def test_full_disk(bench: Bench) -> None:
    step = Guarded(_Full("full", keeps=True), 0)
    with pytest.raises(NoSpace, match="the disk is full"):
        await step.run(StepJob("t", bench.input, [], bench.output, {}, print))


async def test_cancel_waits_for_the_thread() -> None:
    started, ended = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def work(stop: files.Stop) -> None:
        loop.call_soon_threadsafe(started.set)
        try:
            while True:
                stop.check()
        finally:
            ended.append(True)

    running = asyncio.create_task(files.in_thread(work))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == [True]


def test_programs_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    found = find_programs(sevenzip=tmp_path / "text", ffmpeg=tmp_path / "missing")
    assert found.sevenzip is None
    assert found.ffmpeg is None

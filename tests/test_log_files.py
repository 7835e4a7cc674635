"""The files of the log: how they grow, begin, go, and what a crash or a full disk leaves."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from bot.errors import ConfigError, InvalidInput
from bot.operations.log_files import LogFile, found_files
from bot.operations.log_lines import LogLine, stamp
from bot.operations.log_reader import LogQuery, LogReader, Place
from tests.rig import ManualClock

_DAY = 86400.0


def _open(
    directory: Path,
    clock: ManualClock | None = None,
    *,
    max_size: int = 1000,
    total_size: int = 1 << 20,
) -> LogFile:
    return LogFile(
        directory, clock or ManualClock(), max_size=max_size, max_age=_DAY, total_size=total_size
    )


def _line(number: int, clock: ManualClock | None = None, **fields: str) -> bytes:
    at = (clock or ManualClock()).now()
    known = {"level": "info", "logger": "bot.x", "message": f"line {number}", **fields}
    return msgspec.json.encode(LogLine(time=stamp(at), **known))  # type: ignore[arg-type]


def _messages(reader: LogReader, query: LogQuery | None = None) -> list[str]:
    return [line.message for line in reader.recent(query or LogQuery(), 1000).lines]


def _reader(directory: Path) -> LogReader:
    return LogReader(directory, ManualClock())


# Growing


def test_a_new_file_begins_when_one_is_large_enough(tmp_path: Path) -> None:
    file = _open(tmp_path / "logs")
    for number in range(40):
        file.write(_line(number))
    file.close()
    files = found_files(tmp_path / "logs")
    assert len(files) > 3
    assert all(each.size <= 1000 for each in files)
    assert _messages(_reader(tmp_path / "logs")) == [f"line {n}" for n in reversed(range(40))]


def test_a_new_file_begins_when_one_is_old_enough(tmp_path: Path) -> None:
    clock = ManualClock()
    file = _open(tmp_path, clock, max_size=1 << 20)
    file.write(_line(0, clock))
    clock.advance(_DAY - 1)
    file.write(_line(1, clock))
    assert len(found_files(tmp_path)) == 1
    clock.advance(1)
    file.write(_line(2, clock))
    assert len(found_files(tmp_path)) == 2
    file.close()


def test_the_age_of_a_file_outlives_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    file = _open(tmp_path, clock, max_size=1 << 20)
    file.write(_line(0, clock))
    file.close()
    clock.advance(_DAY / 2)
    file = _open(tmp_path, clock, max_size=1 << 20)
    file.write(_line(1, clock))
    assert len(found_files(tmp_path)) == 1
    clock.advance(_DAY / 2)
    file.write(_line(2, clock))
    assert len(found_files(tmp_path)) == 2
    file.close()


def test_a_clock_that_goes_back_begins_no_file_for_each_line(tmp_path: Path) -> None:
    clock = ManualClock()
    file = _open(tmp_path, clock, max_size=1 << 20)
    file.write(_line(0, clock))
    clock.advance(-30 * _DAY)
    for number in range(1, 5):
        file.write(_line(number, clock))
    assert len(found_files(tmp_path)) == 1
    clock.advance(_DAY)
    file.write(_line(5, clock))
    assert len(found_files(tmp_path)) == 2
    file.close()


def test_the_oldest_go_when_all_are_too_large(tmp_path: Path) -> None:
    file = _open(tmp_path, max_size=1000, total_size=4000)
    for number in range(300):
        file.write(_line(number))
        assert sum(each.size for each in found_files(tmp_path)) <= 4000
    file.close()
    newest = _messages(_reader(tmp_path))
    assert newest[0] == "line 299"
    assert newest == [f"line {299 - n}" for n in range(len(newest))]


def test_only_its_own_files_go(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("mltb-1.jsonl", "notes.txt", "mltb-00000001.jsonl.gz")]
    for other in others:
        other.write_text("x" * 5000)
    (tmp_path / "mltb-00000000.jsonl").symlink_to(others[1])
    file = _open(tmp_path, max_size=1000, total_size=3000)
    for number in range(100):
        file.write(_line(number))
    file.close()
    assert all(other.stat().st_size == 5000 for other in others)


def test_the_files_are_for_their_user_alone(tmp_path: Path) -> None:
    file = _open(tmp_path / "logs")
    file.write(_line(0))
    file.close()
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert [stat.S_IMODE(each.path.stat().st_mode) for each in found_files(tmp_path / "logs")] == [
        0o600
    ]


def test_a_directory_has_one_writer(tmp_path: Path) -> None:
    file = _open(tmp_path)
    with pytest.raises(ConfigError, match="another process"):
        _open(tmp_path)
    file.close()
    _open(tmp_path).close()


def test_files_that_somebody_removes_begin_anew(tmp_path: Path) -> None:
    clock = ManualClock()
    file = _open(tmp_path, clock)
    file.write(_line(0))
    for each in found_files(tmp_path):
        each.path.unlink()
    clock.advance(2)
    file.write(_line(1))
    file.close()
    assert _messages(_reader(tmp_path)) == ["line 1"]


# Crashes


@pytest.mark.parametrize("half", [b'{"time":"2026', b"\x00" * 40, b"{}", b"\xff\xfe\n{"])
def test_what_a_crash_left_half_written_harms_no_other_line(tmp_path: Path, half: bytes) -> None:
    file = _open(tmp_path, max_size=1 << 20)
    file.write(_line(0))
    file.close()
    (found,) = found_files(tmp_path)
    with found.path.open("ab") as handle:
        handle.write(half)
    file = _open(tmp_path, max_size=1 << 20)
    file.write(_line(1))
    file.close()
    recent = _reader(tmp_path).recent(LogQuery(), 10)
    assert [line.message for line in recent.lines] == ["line 1", "line 0"]
    assert recent.skipped >= 1


def test_a_crash_after_a_new_file_began_leaves_an_empty_one(tmp_path: Path) -> None:
    file = _open(tmp_path)
    file.write(_line(0))
    file.close()
    (tmp_path / "mltb-00000002.jsonl").touch(0o600)
    file = _open(tmp_path)
    file.write(_line(1))
    file.close()
    assert _messages(_reader(tmp_path)) == ["line 1", "line 0"]


# Reading


def _filled(directory: Path) -> None:
    file = _open(directory)
    for number in range(60):
        level = ("debug", "info", "warning", "error")[number % 4]
        logger = ("bot.web", "bot.web.rest", "bot.website")[number % 3]
        task = f"t{number % 5}"
        file.write(_line(number, level=level, logger=logger, task=task, request=f"r{number % 7}"))
    file.close()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"level": "warning"}, [n for n in range(60) if n % 4 >= 2]),
        ({"level": "error"}, [n for n in range(60) if n % 4 == 3]),
        ({"logger": "bot.web"}, [n for n in range(60) if n % 3 != 2]),
        ({"logger": "bot.web.rest"}, [n for n in range(60) if n % 3 == 1]),
        ({"task": "t3"}, [n for n in range(60) if n % 5 == 3]),
        ({"request": "r6"}, [n for n in range(60) if n % 7 == 6]),
        ({"text": "LINE 5"}, [n for n in range(60) if str(n).startswith("5")]),
        ({"task": "t3", "level": "error"}, [n for n in range(60) if n % 5 == 3 and n % 4 == 3]),
        ({"since": stamp(ManualClock().now() + 1)}, []),
        ({"since": stamp(ManualClock().now())}, list(range(60))),
    ],
)
def test_lines_are_filtered(tmp_path: Path, query: dict[str, str], wanted: list[int]) -> None:
    _filled(tmp_path)
    assert _messages(_reader(tmp_path), LogQuery(**query)) == [
        f"line {n}" for n in reversed(wanted)
    ]


def test_pages_are_whole_and_do_not_overlap(tmp_path: Path) -> None:
    _filled(tmp_path)
    reader, cursor, found = _reader(tmp_path), None, []
    while True:
        page = reader.recent(LogQuery(), 7, cursor)
        found += [line.message for line in page.lines]
        if (cursor := page.cursor) is None:
            break
    assert found == [f"line {n}" for n in reversed(range(60))]


def test_the_newest_lines_are_found_without_reading_the_rest(tmp_path: Path) -> None:
    file = _open(tmp_path, max_size=8 << 20, total_size=64 << 20)
    line = _line(0, message="x" * 4000)
    for _ in range(2000):
        file.write(line)
    file.close()
    assert found_files(tmp_path)[0].size > 7 << 20
    assert _reader(tmp_path).recent(LogQuery(), 10).examined < 1 << 16


def test_a_question_ends_after_so_many_bytes(tmp_path: Path) -> None:
    _filled(tmp_path)
    page = _reader(tmp_path).recent(LogQuery(text="nowhere"), 10, most=2000)
    assert page.lines == []
    assert page.cursor is not None
    assert page.examined < 4000


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-x", "1-2-3", "9" * 50, "1--1", "١-٢"])
def test_a_cursor_is_checked(text: str) -> None:
    try:
        place = Place.parse(text)
    except InvalidInput:
        return
    assert str(Place.parse(str(place))) == str(place)


async def test_following_goes_on_over_a_new_file(tmp_path: Path) -> None:
    file, reader = _open(tmp_path), _reader(tmp_path)
    file.write(_line(0))
    lines = reader.follow(LogQuery(), reader.end())
    assert await anext(lines) == []
    await lines.aclose()
    start = reader.end()
    for number in range(1, 40):
        file.write(_line(number))
    assert len(found_files(tmp_path)) > 2
    found: list[str] = []
    lines = reader.follow(LogQuery(), start)
    async for batch in lines:
        found += [line.message for _, line in batch]
        if not batch:
            break
    await lines.aclose()
    file.close()
    assert found == [f"line {n}" for n in range(1, 40)]

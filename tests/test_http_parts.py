"""The parts of the HTTP engine that need no server: names, links, ranges, shares, growth."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.engines.filenames import from_disposition, from_path, safe_name
from bot.engines.http_heads import Head, Version
from bot.engines.http_pace import Demand, Growth, Meter, shares
from bot.engines.http_ranges import Ranges
from bot.engines.http_workers import BIG, Buffers, Strand, Workers
from bot.engines.urls import parse
from bot.errors import InvalidInput

MIB = 1024 * 1024

pairs = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)


# Names.


@given(st.text(max_size=400), st.integers(0, 40))
def test_every_name_becomes_safe(text: str, room: int) -> None:
    name = safe_name(text, room=room)
    assert name
    assert name not in {".", ".."}
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert len(name.encode()) <= 255 - room
    assert not set(name) & set('/\\\0\n\r<>:"|?*\u202e\u200f')
    assert safe_name(name, room=room) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("../../etc/passwd", "passwd"), ("a\\b.txt", "b.txt"), ("CON", "_CON"), ("nul.txt",) * 2),
        *(("..", "file"), ("", "file"), (".bashrc", "bashrc"), ("a\u202egnp.exe", "agnp.exe")),
        *(("x" * 300 + ".tar.gz", "x" * 248 + ".tar.gz"), ("COM9.log", "_COM9.log")),
        *(("a" * 250 + "." + "b" * 40, "a" * 250 + "." + "b" * 4), ("e\u0301.txt", "é.txt")),
    ],
)
def test_a_name(text: str, name: str) -> None:
    assert safe_name(text) == ("_nul.txt" if text == "nul.txt" else name)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('attachment; filename="a b.zip"', "a b.zip"),
        ("attachment; filename=plain.bin; size=5", "plain.bin"),
        ("attachment; filename=\"e.txt\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("attachment; filename*=iso-8859-1'en'%A3.txt", "£.txt"),
        ("attachment; filename*=nonsense''%ff; filename=b.txt", "b.txt"),
        ("attachment; filename*=bogus", None),
        ('inline; FILENAME="q\\"uoted.txt"', 'q"uoted.txt'),
        ("filename=typeless.txt", "typeless.txt"),
        ('attachment; filename="na\u00c3\u00afve.txt"', "naïve.txt"),
        ("attachment; filename=a%20b.txt", "a b.txt"),
        ('attachment; filename=""', None),
        ("attachment", None),
        ("", None),
    ],
)
def test_a_disposition(value: str, name: str | None) -> None:
    assert from_disposition(value) == name


@given(st.text(max_size=200))
def test_any_disposition_gets_an_answer(value: str) -> None:
    from_disposition(value)


def test_a_name_from_a_path() -> None:
    assert from_path("/a/b%20c.txt", "host") == "b c.txt"
    assert from_path("/a/..%2f..%2fpasswd", "host") == "passwd"
    assert from_path("/", "files.example") == "files.example"


# Links.


@given(st.text(max_size=60))
def test_any_text_is_a_link_or_invalid(text: str) -> None:
    for link in (text, f"http://{text}", f"http://host/{text}", f"http://{text}@host/"):
        try:
            target = parse(link)
        except InvalidInput:
            continue
        assert target.url.isascii()
        assert "@" not in target.url.split("/")[2]
        assert target.host


def test_a_link_in_parts() -> None:
    target = parse(" https://me:p%40ss@Exämple.com:444/a b?q=1#frag ")
    assert (target.user, target.password) == ("me", "p@ss")
    assert (target.host, target.port, target.scheme) == ("xn--exmple-cua.com", 444, "https")
    assert target.url == "https://xn--exmple-cua.com:444/a%20b?q=1"


def test_a_redirect_is_read_from_where_it_is() -> None:
    base = parse("http://me:pw@host/a/b")
    assert base.join("../c").url == "http://host/c"
    assert base.join("//other/x").host == "other"
    assert base.trusts(base.join("/c"))
    assert base.trusts(base.join("https://host/c"))
    for elsewhere in ("http://host:81/c", "//other/c", "ftp://host/c", "https://host:80/c"):
        assert not base.trusts(base.join(elsewhere))
    assert not parse("https://host/").trusts(parse("http://host/"))


# Heads.


def head(*lines: bytes) -> Head:
    made = Head()
    for line in lines:
        made.line(line)
    return made


def test_the_last_answer_counts() -> None:
    made = head(b"HTTP/1.1 401 No\r\n", b"X: 1\r\n", b"HTTP/2 200\r\n", b"Content-Length: 5\r\n")
    assert (made.status, made.size, made.fields) == (200, 5, {"content-length": "5"})


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes 0-9/100", (0, 10, 100)),
        ("bytes 5-9/*", (5, 10, None)),
        *(("bytes */100", None), ("bytes 1-2", None), ("items 0-9/100", None), ("", None)),
    ],
)
def test_a_content_range(value: str, span: tuple[int, int, int | None] | None) -> None:
    assert head(b"HTTP/1.1 206 P", f"Content-Range: {value}".encode()).span == span


@pytest.mark.parametrize("length", ["-1", "5,5", "x", "9" * 30, "+5", "\u0665"])
def test_a_length_that_is_none(length: str) -> None:
    assert head(b"HTTP/1.1 200 OK", f"Content-Length: {length}".encode()).size is None


def test_versions_fit_unless_something_differs() -> None:
    known = Version(5, '"a"', "Mon, 01 Jan 2024 00:00:00 GMT")
    assert known.fits(known)
    assert known.fits(Version())
    assert not known.fits(Version(size=6))
    assert not known.fits(Version(etag='"b"'))


def test_a_weak_validator_is_none() -> None:
    assert head(b"HTTP/1.1 200 OK", b'ETag: W/"a"').version.validator is None
    date = b"Mon, 01 Jan 2024 00:00:00 GMT"
    fresh = head(b"HTTP/1.1 200 OK", b"Last-Modified: " + date, b"Date: " + date)
    assert fresh.version.validator is None
    later = b"Date: Mon, 01 Jan 2024 00:00:01 GMT"
    assert head(b"HTTP/1.1 200 OK", b"Last-Modified: " + date, later).version.validator


# Ranges.


@given(st.lists(pairs), st.integers(0, 70))
def test_ranges_are_a_set_of_numbers(adds: list[list[int]], size: int) -> None:
    ranges = Ranges()
    numbers: set[int] = set()
    for start, end in adds:
        ranges.add(start, end)
        numbers |= set(range(start, end))
    found = list(ranges)
    assert {n for start, end in found for n in range(start, end)} == numbers
    assert all(one[1] < two[0] for one, two in itertools.pairwise(found))
    assert ranges.size == len(numbers)
    assert ranges.head == next(n for n in range(100) if n not in numbers)
    gaps = {n for start, end in ranges.missing(size) for n in range(start, end)}
    assert gaps == set(range(size)) - numbers
    assert ranges.within(size).size == len({n for n in numbers if n < size})
    assert ranges.end == max(numbers, default=-1) + 1


# Speed.


def ramp(growth: Growth, speed_of: list[float]) -> list[int]:
    """The widths of a growth at a server whose speed depends on the number of connections."""
    changes = (growth.sample(speed_of[growth.width], 1 << 40) for _ in range(60))
    return [growth.width, *(growth.width for changed in changes if changed)]


def test_growth_goes_on_as_long_as_it_pays() -> None:
    per_connection = [width * 2.0 * MIB for width in range(65)]
    assert ramp(Growth(1, 16), per_connection) == [1, 2, 4, 8, 16]
    assert ramp(Growth(1, 6), per_connection) == [1, 2, 4, 6]
    up_to_four = [min(width, 4) * 2.0 * MIB for width in range(65)]
    assert ramp(Growth(1, 16), up_to_four) == [1, 2, 4, 8]
    shared = [2.0 * MIB] * 65
    assert ramp(Growth(1, 16), shared) == [1, 2]


def test_growth_leaves_alone_what_is_fast_or_soon_done() -> None:
    assert ramp(Growth(1, 16), [1024.0 * MIB] * 65) == [1]
    growth = Growth(1, 16)
    assert not any(growth.sample(10.0 * MIB, 5 * MIB) for _ in range(50))


def test_a_refused_connection_ends_the_growth() -> None:
    growth = Growth(4, 16)
    growth.shrink()
    assert (growth.width, growth.settled) == (3, True)


def test_a_meter_smooths() -> None:
    meter = Meter(0, 0.0)
    meter.sample(100, 1.0)
    assert meter.speed == 100
    meter.sample(100, 2.0)
    assert 0 < meter.speed < 100
    for second in range(3, 60):
        meter.sample(100, float(second))
    assert meter.speed < 1


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 1e9), st.integers(1, 10**9)), max_size=9
    ),
    st.integers(10**5, 10**9) | st.none(),
    st.dictionaries(st.sampled_from("abc"), st.integers(10**5, 10**9)),
)
def test_shares_stay_within_the_limits(
    flows: list[tuple[str, float, int]], limit: int | None, jobs: dict[str, int]
) -> None:
    demands = {
        number: Demand(job, speed, allowed) for number, (job, speed, allowed) in enumerate(flows)
    }
    result = shares(demands, limit, jobs)
    assert result.keys() == demands.keys()
    least = 1024 * len(flows)
    given_out = [share or 0 for share in result.values()]
    if limit is not None:
        assert all(share is not None for share in result.values())
        assert sum(given_out) <= limit + least
    for job, most in jobs.items():
        mine = [result[number] or 0 for number, demand in demands.items() if demand.job == job]
        assert sum(mine) <= most + least


def test_what_a_slow_connection_leaves_goes_to_the_others() -> None:
    demands = {
        "slow": Demand("a", 10_000, 500_000),
        "fast": Demand("b", 500_000, 500_000),
    }
    result = shares(demands, 1_000_000, {})
    assert (result["fast"] or 0) > 900_000
    assert (result["slow"] or 0) > 10_000


# Threads and memory.


async def test_a_strand_keeps_the_order_and_hands_on_errors() -> None:
    workers = Workers(3)
    strands = [Strand(workers) for _ in range(5)]
    came: list[list[int]] = [[] for _ in strands]
    for number in range(200):
        for index, strand in enumerate(strands):
            strand.put(lambda index=index, number=number: came[index].append(number))  # type: ignore[misc]
    for index, strand in enumerate(strands):
        assert await strand.run(lambda index=index: len(came[index])) == 200  # type: ignore[misc]
    assert came == [list(range(200))] * 5
    with pytest.raises(ZeroDivisionError):
        await strands[0].run(lambda: 1 // 0)
    await workers.close()


async def test_a_cancelled_wait_ends_after_the_work() -> None:
    workers = Workers(1)
    strand = Strand(workers)
    begin, done = threading.Event(), threading.Event()

    def work() -> None:
        begin.wait(10)
        done.set()

    task = asyncio.create_task(strand.run(work))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    begin.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()
    await workers.close()


def test_buffers_are_bounded_and_wake_who_waits() -> None:
    buffers = Buffers(capacity=4 * BIG)
    woken: list[str] = []
    held = []
    for _ in range(1000):
        buffer = buffers.take(16 * 1024, lambda: woken.append("waiter"))
        if buffer is None:
            break
        held.append(buffer)
    sizes = [len(buffer) for buffer in held]
    assert sum(sizes) <= 4 * BIG
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (BIG, 16 * 1024)
    assert woken == []
    for buffer in held:
        buffers.give(buffer)
    assert woken == ["waiter"]
    assert buffers.take(16 * 1024, lambda: None) in held


def test_a_slow_connection_holds_no_more_than_it_brings() -> None:
    assert len(Buffers().take(100, lambda: None) or b"") == 100


async def test_work_that_comes_while_the_threads_end_is_done_and_begins_no_thread() -> None:
    workers = Workers(4)
    strand, held, done = Strand(workers), threading.Event(), []
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        loop.call_soon_threadsafe(begun.set)
        held.wait(30)

    strand.put(hold)
    for number in range(100):  # more than one turn, so the strand is scheduled again
        strand.put(lambda number=number: done.append(number))  # type: ignore[misc]
    await begun.wait()
    before = set(threading.enumerate())
    closing = asyncio.ensure_future(workers.close())
    await asyncio.sleep(0)  # the ends are in the queue
    held.set()
    await closing
    assert done == list(range(100))
    assert not {thread.name for thread in threading.enumerate() if thread.name.startswith("disk-")}
    assert {thread.name for thread in before} >= {"disk-0"}

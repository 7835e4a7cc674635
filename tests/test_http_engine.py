"""Fetching over HTTP: one file well, and everything that a server can do wrong."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from pathlib import Path

import pytest

from bot.domain.ports import Delivered, DeliverJob
from bot.errors import (
    Corrupt,
    InvalidInput,
    MltbError,
    NetworkFailed,
    PolicyRefused,
    Refused,
    SourceNotFound,
    TransferError,
    Unauthorised,
    Unsupported,
)
from tests.fetching import fetcher
from tests.servers.behaviours import (
    BasicAuth,
    Chunked,
    DigestAuth,
    DropAfter,
    Gate,
    Gated,
    Gzipped,
    Misdeclared,
    Needs,
    NoHead,
    NoRanges,
    StallAfter,
)
from tests.servers.headers import HOSTILE_NAMES, named
from tests.servers.http import HttpServer
from tests.servers.routes import (
    KIB,
    MIB,
    Generated,
    Literal,
    Page,
    Redirect,
    Resource,
    Status,
    chain,
)
from tests.servers.tls import Authority

FILE = Generated(300 * KIB, 1)


async def test_a_small_file_takes_one_request_and_leaves_only_itself(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/dir/file.bin", Resource(FILE))
    async with fetcher(tmp_path / "job") as mine:
        fetched = await mine.fetch(url)
        assert mine.files() == ["file.bin"]
    entry = fetched.files[0]
    assert (fetched.name, entry.path, entry.size) == ("file.bin", "file.bin", FILE.size)
    assert entry.sha256 == FILE.sha256
    assert (tmp_path / "job" / "file.bin").read_bytes() == FILE.data()
    assert [seen.method for seen in http_server.seen.requests()] == ["GET"]
    assert http_server.seen.requests()[0].header("Accept-Encoding") is None


async def test_many_files_share_connections(http_server: HttpServer, tmp_path: Path) -> None:
    urls = [http_server.content(f"/{number}", 10 * KIB, number) for number in range(20)]
    async with fetcher(tmp_path / "job") as mine:
        for number, url in enumerate(urls):
            fetched = await mine.fetch(url)
            assert fetched.files[0].sha256 == Generated(10 * KIB, number).sha256
    assert http_server.seen.connections == 1


async def test_the_plan_asks_without_fetching(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/file.bin", Resource(FILE))
    async with fetcher(tmp_path / "job") as mine:
        plan = await mine.plan(url)
    assert (plan.engine, plan.name, plan.size, plan.resumable) == (
        *("http", "file.bin", FILE.size, True),
    )
    assert [seen.method for seen in http_server.seen.requests()] == ["HEAD"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 501])
async def test_the_plan_asks_for_one_byte_where_head_is_refused(
    status: int, http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/file.bin", NoHead(Resource(FILE), status))
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.plan(url)).size == FILE.size
    assert http_server.seen.ranges() == ["bytes=0-0"]


async def test_the_plan_of_a_server_without_ranges_does_not_fetch_it_all(
    http_server: HttpServer, tmp_path: Path
) -> None:
    huge = NoHead(NoRanges(Resource(Generated(1024 * MIB))))
    url = http_server.add("/huge", huge)
    async with fetcher(tmp_path / "job") as mine:
        plan = await mine.plan(url)
    assert (plan.size, plan.resumable) == (1024 * MIB, False)
    assert http_server.seen.bytes_sent("/huge") < 256 * MIB


async def test_the_plan_notes_a_web_page(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/page", Page("<html>log in</html>"))
    async with fetcher(tmp_path / "job") as mine:
        assert "web page" in ((await mine.plan(url)).note or "")


async def test_the_plan_of_an_empty_file(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/empty", NoHead(Resource(Literal(b""))))
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.plan(url)).size == 0


async def test_a_header_with_a_nul_is_a_broken_answer(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/x", named(Resource(FILE), HOSTILE_NAMES["nul"]))
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(Refused, match=r"(?i)nul byte in header"):
            await mine.fetch(url)


@pytest.mark.parametrize("case", sorted(HOSTILE_NAMES.keys() - {"nul"}))
async def test_a_hostile_name_stays_in_the_directory(
    case: str, http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/x/fallback.bin", named(Resource(FILE), HOSTILE_NAMES[case]))
    async with fetcher(tmp_path / "job") as mine:
        plan = await mine.plan(url)
        fetched = await mine.fetch(url)
        assert mine.files() == [fetched.name]
    assert plan.name == fetched.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job"]
    assert not fetched.name.startswith(".")
    assert len(fetched.name.encode()) <= 255


async def test_a_name_of_300_characters_is_shortened(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/" + "n" * 296 + ".bin", Resource(FILE))
    async with fetcher(tmp_path / "job") as mine:
        name = (await mine.fetch(url)).name
        assert len(name) == 255
        assert name.endswith("n.bin")
        assert (await mine.fetch(url, name="é" * 200 + ".tar.gz")).name.endswith("é.tar.gz")


async def test_the_name_of_the_submission_wins_and_is_made_safe(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/a", named(Resource(FILE), 'attachment; filename="b"'))
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.fetch(url, name="../mine.bin")).name == "mine.bin"


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256", "sha512"])
async def test_a_checksum_is_compared(kind: str, http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", Resource(FILE))
    right = hashlib.new(kind, FILE.data()).hexdigest()
    wrong = hashlib.new(kind, b"").hexdigest()
    async with fetcher(tmp_path / "job") as mine:
        await mine.fetch(url, checksum=f"{kind}:{right.upper()}")
        (tmp_path / "job" / "f").unlink()
        with pytest.raises(Corrupt, match=right) as caught:
            await mine.fetch(url, checksum=f"{kind}:{wrong}")
        assert wrong in caught.value.message
        assert mine.files() == []


@pytest.mark.parametrize("checksum", ["sha256:abc", "crc32:00000000", "sha1", "md5:" + "g" * 32])
async def test_a_checksum_that_is_none_is_invalid(
    checksum: str, http_server: HttpServer, tmp_path: Path
) -> None:
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(InvalidInput, match="is not a checksum"):
            await mine.plan(http_server.url("/f"), checksum=checksum)
    assert http_server.seen.count() == 0


async def test_a_short_body_is_a_network_failure_that_keeps_the_bytes(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", DropAfter(Resource(FILE), 100 * KIB))
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(NetworkFailed, match="ended before the file did"):
            await mine.fetch(url)
        assert (tmp_path / "job" / "f.part").read_bytes() == FILE.data()[: 100 * KIB]


async def test_a_length_that_is_too_big_is_a_network_failure(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Misdeclared(Resource(FILE), 10))
    async with fetcher(tmp_path / "job", stall_timeout=1) as mine:
        with pytest.raises(NetworkFailed):
            await mine.fetch(url)


@pytest.mark.parametrize("by", [-5, -20 * KIB])
async def test_more_bytes_than_announced_are_corrupt(
    by: int, http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Misdeclared(Resource(Literal(FILE.data()[: 40 * KIB + -by])), by))
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(Corrupt, match="sent more than"):
            await mine.fetch(url)
        assert mine.files() == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((404, SourceNotFound), (410, SourceNotFound), (401, Unauthorised), (403, Unauthorised)),
        *((429, Refused), (500, Refused), (502, Refused), (503, Refused), (451, SourceNotFound)),
        *((400, Unsupported), (418, Unsupported), (204, SourceNotFound), (416, Refused)),
    ],
)
async def test_a_status_becomes_a_typed_error(
    status: int, kind: type[TransferError], http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/f", Status(status, retry_after="30"))
    async with fetcher(tmp_path / "job") as mine:
        for ask in (mine.fetch, mine.plan):
            with pytest.raises(kind) as caught:
                await ask(url)
            assert type(caught.value) is kind
            assert str(status) in caught.value.message
            assert caught.value.retry_after == (30 if kind is Refused else None)
        assert mine.files() == []


async def test_retry_after_may_be_a_date(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", Status(503, retry_after="Fri, 01 Jan 2100 00:00:00 GMT"))
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(Refused) as caught:
            await mine.fetch(url)
    assert (caught.value.retry_after or 0) > 1e6


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "nonsense", "http:/x/y", "http://[::1/", "http://h:99999/", ""),
        *("http://a\r\nX: y/", "magnet:?xt=1", "file:///etc/passwd", "http://" + "a" * 9000),
    ],
)
async def test_a_wrong_link_is_invalid_and_not_taken(url: str, tmp_path: Path) -> None:
    async with fetcher(tmp_path / "job") as mine:
        assert mine.engine.accepts(url) == 0
        with pytest.raises(InvalidInput):
            await mine.plan(url)
        with pytest.raises(InvalidInput):
            await mine.fetch(url)


async def test_good_links_are_taken(tmp_path: Path) -> None:
    async with fetcher(tmp_path / "job") as mine:
        for scheme in ("http", "HTTPS", "ftp", "ftps", "sftp"):
            assert mine.engine.accepts(f"{scheme}://host/path") > 0
        assert not mine.engine.delivers_to("remote:path")


async def test_a_server_that_stalls_is_given_up(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", StallAfter(Resource(FILE), 50 * KIB))
    async with fetcher(tmp_path / "job", stall_timeout=1) as mine:
        with pytest.raises(NetworkFailed, match="no answer in time"):
            await mine.fetch(url)
        assert (tmp_path / "job" / "f.part").stat().st_size == 50 * KIB


# Bodies of all kinds.


async def test_a_body_without_a_length(http_server: HttpServer, tmp_path: Path) -> None:
    for number, close in enumerate((False, True)):
        url = http_server.add(f"/{number}", Chunked(Resource(FILE), until_close=close))
        async with fetcher(tmp_path / f"job{number}") as mine:
            assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256


async def test_an_empty_file(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/empty", Resource(Literal(b"")))
    async with fetcher(tmp_path / "job") as mine:
        fetched = await mine.fetch(url)
    assert fetched.files[0].sha256 == hashlib.sha256(b"").hexdigest()
    assert (tmp_path / "job" / "empty").read_bytes() == b""


async def test_a_compressed_body_stays_as_it_is(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", Gzipped(Resource(FILE), honest=False))
    async with fetcher(tmp_path / "job") as mine:
        await mine.fetch(url)
    assert gzip.decompress((tmp_path / "job" / "f").read_bytes()) == FILE.data()


# Redirects and credentials.


async def test_redirects_are_followed(http_server: HttpServer, tmp_path: Path) -> None:
    http_server.add("/dir/final.bin", Resource(FILE))
    for path, route in chain("/go", 5, "dir/final.bin").items():
        http_server.add(path, route)
    async with fetcher(tmp_path / "job") as mine:
        assert (await mine.fetch(http_server.url("/go"))).name == "final.bin"
        assert (await mine.plan(http_server.url("/go"))).name == "final.bin"


async def test_too_many_redirects_and_circles_are_errors(
    http_server: HttpServer, tmp_path: Path
) -> None:
    http_server.add("/f", Resource(FILE))
    http_server.add("/a", Redirect("/b"))
    http_server.add("/b", Redirect("/a"))
    for path, route in chain("/go", 4, "/f").items():
        http_server.add(path, route)
    async with fetcher(tmp_path / "job", max_redirects=3) as mine:
        with pytest.raises(Unsupported, match="more than 3 times"):
            await mine.fetch(http_server.url("/go"))
        with pytest.raises(Unsupported, match="in a circle"):
            await mine.fetch(http_server.url("/a"))
        assert mine.files() == []


async def test_credentials_stay_with_their_server(
    http_server: HttpServer, other_server: HttpServer, tmp_path: Path
) -> None:
    other_server.add("/f", Resource(FILE))
    other_server.add("/back", Redirect(http_server.url("/f")))
    http_server.add("/f", Resource(FILE))
    http_server.add("/go", Redirect(other_server.url("/back")))
    secret = {"Authorization": "Bearer s3cret", "Cookie": "id=s3cret", "X-Key": "s3cret"}
    async with fetcher(tmp_path / "job") as mine:
        await mine.fetch(http_server.url("/go"), headers={**secret, "Accept": "a/b"})
        await mine.fetch(http_server.url("/go"), username="me", password="s3cret")
        await mine.fetch(http_server.url("/go", auth="me:s3cret"))
    first = http_server.seen.requests("/go")
    assert first[0].header("X-Key") == "s3cret"
    elsewhere = [*other_server.seen.requests(), *http_server.seen.requests("/f")]
    assert len(elsewhere) == 6
    for seen in elsewhere:
        assert "s3cret" not in str(seen.headers)
        assert seen.authorization is None
    assert elsewhere[0].header("Accept") == "a/b"


async def test_credentials_follow_a_redirect_on_their_server(
    http_server: HttpServer, tmp_path: Path
) -> None:
    http_server.add("/f", BasicAuth(Resource(FILE), "me", "s3cret"))
    http_server.add("/go", Redirect("/f"))
    async with fetcher(tmp_path / "job") as mine:
        await mine.fetch(http_server.url("/go", auth="me:s3cret"))


@pytest.mark.parametrize("guard", [BasicAuth, DigestAuth])
async def test_a_login(
    guard: type[BasicAuth | DigestAuth], http_server: HttpServer, tmp_path: Path
) -> None:
    http_server.add("/f", guard(Resource(FILE), "mé", "pa:ss@word/"))
    async with fetcher(tmp_path / "job") as mine:
        await mine.plan(http_server.url("/f"), username="mé", password="pa:ss@word/")
        await mine.fetch(http_server.url("/f"), username="mé", password="pa:ss@word/")
        await mine.fetch(http_server.url("/f", auth="m%C3%A9:pa%3Ass%40word%2F"))
        for attempt in (
            mine.fetch(http_server.url("/f"), username="mé", password="wr0ng-secret"),
            mine.fetch(http_server.url("/f", auth="me:wr0ng-secret")),
            mine.fetch(http_server.url("/f")),
        ):
            with pytest.raises(Unauthorised) as caught:
                await attempt
            assert "wr0ng" not in str(caught.value)


async def test_passwords_are_in_no_error_token_or_plan(
    http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.url("/f", auth="me:s3cret")
    http_server.add("/f", DropAfter(Resource(FILE), 100 * KIB))
    async with fetcher(tmp_path / "job", max_redirects=0) as mine:
        plan = await mine.plan(url)
        assert "s3cret" not in f"{plan.name} {plan.identity} {plan.note} {plan.detail}"
        for bad in (url, url.replace("/f", "/g"), "http://me:s3cret@h:99999/", "x://me:s3cret@h/"):
            with pytest.raises(MltbError) as caught:
                await mine.fetch(bad)
            assert "s3cret" not in f"{caught.value} {caught.value.details}"
        assert "s3cret" not in str(mine.tokens)


async def test_headers_of_a_submission_are_sent(http_server: HttpServer, tmp_path: Path) -> None:
    http_server.add("/f", Needs(Resource(FILE), "Referer", "http://page/"))
    headers = {"Referer": "http://page/", "X-Empty": "", "Cookie": "a=1; b=2"}
    async with fetcher(tmp_path / "job", user_agent="tester/1") as mine:
        await mine.fetch(http_server.url("/f"), headers=headers)
        with pytest.raises(Unauthorised):
            await mine.fetch(http_server.url("/f"))
    seen = http_server.seen.requests()[0]
    assert {name: seen.header(name) for name in headers} == headers
    assert seen.header("User-Agent") == "tester/1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("X-A", "a\r\nX-Evil: 1"), ("X-A", "a\nb"), ("X-A", "a\0b"), ("X A", "b"), ("", "x")),
        *(("X-A:", "b"), ("Host", "evil"), ("content-length", "5"), ("Transfer-Encoding", "x")),
        *(("Range", "bytes=0-"), ("If-Range", "x"), ("Connection", "close")),
    ],
)
async def test_a_wrong_header_is_invalid(
    name: str, value: str, http_server: HttpServer, tmp_path: Path
) -> None:
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(InvalidInput):
            await mine.fetch(http_server.url("/f"), headers={name: value})
    assert http_server.seen.count() == 0


# TLS.


async def test_a_good_certificate_of_an_added_authority(
    https_server: HttpServer, authority: Authority, tmp_path: Path
) -> None:
    url = https_server.add("/f", Resource(FILE))
    async with fetcher(tmp_path / "job", ca_file=authority.write(tmp_path)) as mine:
        assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(PolicyRefused, match="does not verify"):
            await mine.fetch(url)


@pytest.mark.parametrize("flaw", ["expired", "wrong_host", "untrusted"])
async def test_a_bad_certificate_is_refused(
    flaw: str, authority: Authority, tmp_path: Path
) -> None:
    with HttpServer(tls=getattr(authority, flaw)()) as server:
        url = server.add("/f", Resource(FILE))
        async with fetcher(tmp_path / "job", ca_file=authority.write(tmp_path)) as mine:
            with pytest.raises(PolicyRefused, match="does not verify") as caught:
                await mine.fetch(url)
            assert not caught.value.retryable
            assert "HTTP_CA_FILE" in (caught.value.hint or "")
        assert server.seen.count() == 0


# Limits, progress, streams.


async def test_progress_is_numbers_from_any_thread(http_server: HttpServer, tmp_path: Path) -> None:
    gate = Gate()
    url = http_server.add("/f", Gated(Resource(FILE), gate, after=100 * KIB))
    async with fetcher(tmp_path / "job") as mine:
        task = asyncio.create_task(mine.fetch(url))
        await asyncio.to_thread(gate.reached.wait, 10)
        for _ in range(1000):
            sample = (await asyncio.to_thread(mine.engine.snapshot))["task"]
            if sample.done == 100 * KIB:
                break
            await asyncio.sleep(0.005)
        assert (sample.done, sample.total, sample.connections) == (100 * KIB, FILE.size, 1)
        gate.open()
        await task
        assert mine.engine.snapshot() == {}


async def test_a_limit_holds_and_can_be_lifted(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.content("/f", 8 * MIB)
    async with fetcher(tmp_path / "job") as mine:
        task = asyncio.create_task(mine.fetch(url, limit=256 * KIB))
        await http_server.seen.until(lambda seen: seen.count("/f") == 1)
        await asyncio.sleep(0.5)
        assert mine.engine.snapshot()["task"].done < 2 * MIB
        mine.engine.set_limit(None, "task")
        await asyncio.wait_for(task, 10)
        mine.engine.set_limit(256 * KIB)
        mine.token = None
        again = asyncio.create_task(mine.fetch(url))
        await http_server.seen.until(lambda seen: seen.count("/f") == 2)
        await asyncio.sleep(0.5)
        assert mine.engine.snapshot()["task"].done < 2 * MIB
        mine.engine.set_limit(None)
        await asyncio.wait_for(again, 10)


async def test_cancelling_stops_at_once_and_keeps_what_is_there(
    http_server: HttpServer, tmp_path: Path
) -> None:
    gate = Gate()
    url = http_server.add("/f", Gated(Resource(FILE), gate, after=100 * KIB))
    async with fetcher(tmp_path / "job") as mine:
        task = asyncio.create_task(mine.fetch(url))
        for _ in range(1000):
            if mine.tokens:
                break
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await http_server.seen.until(lambda seen: seen.open_connections == 0)
        assert (tmp_path / "job" / "f.part").stat().st_size == 100 * KIB
        gate.open()
        await mine.fetch(url)
    assert http_server.seen.ranges() == [f"bytes={100 * KIB}-"]


async def test_a_stream_brings_the_bytes_in_order(http_server: HttpServer, tmp_path: Path) -> None:
    big = Generated(20 * MIB, 3)
    url = http_server.add("/f", Resource(big))
    digest, size = hashlib.sha256(), 0
    async with fetcher(tmp_path / "job") as mine:
        async for chunk in mine.engine.stream(mine.job(url, checksum=f"sha256:{big.sha256}")):
            digest.update(chunk)
            size += len(chunk)
            assert mine.engine.snapshot()["task"].total == big.size
        assert (size, digest.hexdigest()) == (big.size, big.sha256)
        assert mine.files() == []
        assert mine.engine.snapshot() == {}


async def test_a_stream_waits_for_who_takes_it(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.content("/f", 256 * MIB)
    async with fetcher(tmp_path / "job") as mine:
        chunks = mine.engine.stream(mine.job(url))
        await anext(chunks)
        for _ in range(50):
            await asyncio.sleep(0.005)
        assert mine.engine.snapshot()["task"].done < 8 * MIB
        await chunks.aclose()
        await http_server.seen.until(lambda seen: seen.open_connections == 0)


async def test_a_stream_fails_as_a_fetch_does(http_server: HttpServer, tmp_path: Path) -> None:
    cases = {
        http_server.add("/404", Status(404)): SourceNotFound,
        http_server.add("/drop", DropAfter(Resource(FILE), 10 * KIB)): NetworkFailed,
        http_server.add("/wrong", Resource(FILE)): Corrupt,
    }
    async with fetcher(tmp_path / "job") as mine:
        for url, kind in cases.items():
            with pytest.raises(kind):
                async for _ in mine.engine.stream(mine.job(url, checksum="md5:" + "0" * 32)):
                    pass


async def test_reading_a_small_file(http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.add("/f", Resource(FILE))
    go = http_server.add("/go", Redirect("/f"))
    async with fetcher(tmp_path / "job") as mine:
        options = mine.job(url).options
        assert await mine.engine.read(go, options, max_size=MIB) == FILE.data()
        with pytest.raises(Corrupt, match="more than 1000 bytes"):
            await mine.engine.read(url, options, max_size=1000)
        with pytest.raises(SourceNotFound):
            await mine.engine.read(http_server.url("/none"), options, max_size=1000)


async def test_it_only_fetches(tmp_path: Path) -> None:
    async with fetcher(tmp_path / "job") as mine:
        assert not mine.engine.capabilities.delivers
        job = DeliverJob("task", tmp_path, [], "remote:", None, None, mine.job("").checkpoint)
        delivered = Delivered("remote:", "remote:", [])
        for attempt in (
            mine.engine.deliver(job),
            mine.engine.verify(job, delivered),
            mine.engine.discard(job, None),
        ):
            with pytest.raises(Unsupported):
                await attempt
        assert await mine.engine.cleanup(0) == 0

"""The servers that the other tests stand on do what they say."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import io
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import asyncssh
import dnslib
import libtorrent as lt
import pycurl
import pytest
import redis.asyncio

from tests.servers import media as media_files
from tests.servers.behaviours import (
    AtMost,
    BasicAuth,
    Chunked,
    DigestAuth,
    DropAfter,
    FailTimes,
    Gate,
    Gated,
    Gzipped,
    Misdeclared,
    Needs,
    NoHead,
    NoRanges,
    Sequence,
    SlowHead,
    StallAfter,
    Switch,
    Throttled,
    WrongRange,
    trickle,
)
from tests.servers.child import ChildServer
from tests.servers.content import content, sha256_of
from tests.servers.dns import DnsServer, RebindingResolver
from tests.servers.ftp import FtpServer
from tests.servers.ftps import FtpsServer
from tests.servers.headers import HOSTILE_NAMES, WithHeaders, named
from tests.servers.http import HttpServer
from tests.servers.media import Media
from tests.servers.message import Request, Response
from tests.servers.missing import missing, requires
from tests.servers.postgres import PostgresServer
from tests.servers.program import Program, ProgramFailed
from tests.servers.rclone import Serve, program, write_config
from tests.servers.redis import RedisServer
from tests.servers.routes import (
    KIB,
    MIB,
    Directory,
    Generated,
    Literal,
    Page,
    Redirect,
    Resource,
    Sink,
    Status,
    chain,
)
from tests.servers.sftp import SftpServer
from tests.servers.tls import Authority
from tests.servers.torrent import Swarm, Tracker, bencode, make_torrent

FILE = Generated(MIB, seed="file")


def get(
    url: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request over a connection of its own; `If_Range` stands for `If-Range`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body, sent)
        with connection.getresponse() as response:
            return response.status, response.headers, response.read()
    finally:
        connection.close()


def curl(url: str, **options: object) -> bytes:
    """Fetch with libcurl; `pycurl.error` when it fails."""
    output = io.BytesIO()
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.WRITEDATA, output)
    handle.setopt(pycurl.TIMEOUT, 20)
    for name, value in options.items():
        handle.setopt(getattr(pycurl, name), value)
    try:
        handle.perform()
    finally:
        handle.close()
    return output.getvalue()


def code(error: pytest.ExceptionInfo[pycurl.error]) -> int:
    number = error.value.args[0]
    assert isinstance(number, int)
    return number


# Content and HTTP that works.


def test_content_is_the_same_from_anywhere() -> None:
    whole = content("seed", 700_001)
    assert len(whole) == 700_001
    assert whole[262_140:262_160] == content("seed", 700_001, 262_140, 262_160)
    assert whole[:300_000] == content("seed", 300_000)
    assert hashlib.sha256(whole).hexdigest() == sha256_of("seed", 700_001)
    assert content("other", 100) != content("seed", 100)
    blocks = {whole[at : at + 100] for at in range(0, 600_000, 1000)}
    assert len(blocks) == 600


def test_a_range_a_suffix_and_one_too_far(http_server: HttpServer) -> None:
    url = http_server.content("/f", MIB, "file")
    status, headers, body = get(url, Range="bytes=1000-1999")
    assert (status, headers["Content-Range"]) == (206, "bytes 1000-1999/1048576")
    assert body == FILE.data()[1000:2000]
    assert get(url, Range="bytes=-10")[2] == FILE.data()[-10:]
    assert get(url, Range="bytes=1048570-")[2] == FILE.data()[-6:]
    status, headers, body = get(url, Range="bytes=1048576-")
    assert (status, headers["Content-Range"]) == (416, "bytes */1048576")
    assert http_server.seen.ranges("/f")[0] == "bytes=1000-1999"
    assert http_server.seen.repeated("/f") == 6


def test_conditions_are_honoured(http_server: HttpServer) -> None:
    url = http_server.content("/f", MIB)
    headers = get(url, "HEAD")[1]
    tag, date = headers["ETag"], headers["Last-Modified"]
    assert headers["Content-Length"] == "1048576"
    assert get(url, Range="bytes=0-9", If_Range=tag)[0] == 206
    assert get(url, Range="bytes=0-9", If_Range=date)[0] == 206
    assert get(url, Range="bytes=0-9", If_Range='"other"')[0] == 200
    assert get(url, Range="bytes=0-9", If_Range=f"W/{tag}")[0] == 200
    assert get(url, If_None_Match=tag)[0] == 304
    assert get(url, If_Modified_Since=date)[0] == 304
    assert get(url, If_Match='"other"')[0] == 412


def test_connections_are_kept_and_counted(http_server: HttpServer) -> None:
    http_server.content("/f", 100)
    connection = http.client.HTTPConnection("127.0.0.1", http_server.port)
    for _ in range(3):
        connection.request("GET", "/f", headers={"X-Token": "t"})
        with connection.getresponse() as response:
            assert len(response.read()) == 100
    connection.close()
    http_server.seen.wait_for(lambda seen: seen.open_connections == 0)
    seen = http_server.seen
    assert (seen.connections, seen.max_connections, seen.count("/f")) == (1, 1, 3)
    assert seen.bytes_sent() == 300
    assert seen.requests("/f", "GET")[0].header("x-token") == "t"
    assert seen.peers == ["127.0.0.1"]
    assert all(one.whole and one.finished for one in seen.requests())


def test_what_is_posted_is_kept(http_server: HttpServer) -> None:
    sink = Sink()
    url = http_server.mount("/hook/", sink) + "one"
    assert get(url, "POST", b"hello")[0] == 201
    assert sink.kept == {"/hook/one": [b"hello"]}
    assert get(url)[2] == b"hello"
    assert get(url, "DELETE")[0] == 204
    assert get(url)[0] == 404


def test_a_directory_is_listed_and_not_left(http_server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "in" / "a b.txt").write_text("text")
    url = http_server.mount("/dir/", Directory(tmp_path / "in", "/dir/"))
    assert b'<a href="a%20b.txt">' in get(url)[2]
    assert get(url + "a%20b.txt")[2] == b"text"
    assert get(url + "..%2Fsecret")[0] == 404


# HTTP that does not.


def test_ranges_refused_lied_about_and_wrong(http_server: HttpServer) -> None:
    plain = http_server.add("/plain", NoRanges(Resource(FILE)))
    liar = http_server.add("/liar", NoRanges(Resource(FILE), advertise=True))
    wrong = http_server.add("/wrong", WrongRange(Resource(FILE), shift=5))
    status, headers, body = get(plain, Range="bytes=0-9")
    assert (status, headers["Accept-Ranges"], len(body)) == (200, "none", MIB)
    status, headers, body = get(liar, Range="bytes=0-9")
    assert (status, headers["Accept-Ranges"], len(body)) == (200, "bytes", MIB)
    assert get(wrong, Range="bytes=0-9")[2] == FILE.data()[5:15]


def test_drops_so_many_times_then_serves(http_server: HttpServer) -> None:
    url = http_server.add("/f", DropAfter(Resource(FILE), 300_000, times=2))
    for _ in range(2):
        with pytest.raises(pycurl.error) as failed:
            curl(url)
        assert code(failed) == pycurl.E_PARTIAL_FILE
    assert curl(url) == FILE.data()
    assert [seen.sent for seen in http_server.seen.requests()] == [300_000, 300_000, MIB]
    assert [seen.whole for seen in http_server.seen.requests()] == [False, False, True]


def test_a_reset(http_server: HttpServer) -> None:
    url = http_server.add("/f", DropAfter(Resource(FILE), 0, reset=True))
    with pytest.raises(pycurl.error) as failed:
        curl(url)
    assert code(failed) in (pycurl.E_RECV_ERROR, pycurl.E_PARTIAL_FILE)


def test_a_gate_holds_until_it_is_opened(http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/f", Gated(Resource(FILE), gate, after=1000))
    got: list[bytes] = []
    client = threading.Thread(target=lambda: got.append(curl(url)))
    client.start()
    assert gate.reached.wait(10)
    assert http_server.seen.bytes_sent("/f") == 1000
    assert not got
    gate.open()
    client.join(10)
    assert got == [FILE.data()]


async def test_waiting_leaves_the_loop_free(http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/f", Gated(Resource(FILE), gate, after=None))
    client = asyncio.create_task(asyncio.to_thread(curl, url))
    await http_server.seen.until(lambda seen: seen.count("/f") == 1)
    gate.open()
    assert await client == FILE.data()


def test_a_stall_ends_when_the_client_goes(http_server: HttpServer) -> None:
    url = http_server.add("/f", StallAfter(Resource(FILE), 10))
    with pytest.raises(pycurl.error) as failed:
        curl(url, TIMEOUT_MS=200)
    assert code(failed) == pycurl.E_OPERATION_TIMEDOUT
    http_server.seen.wait_for(lambda seen: seen.open_connections == 0)


def test_stopping_ends_what_is_stalled() -> None:
    with HttpServer() as server:
        url = server.add("/f", trickle(Resource(FILE)))
        failed = threading.Event()

        def fetch() -> None:
            try:
                curl(url)
            except pycurl.error:
                failed.set()

        client = threading.Thread(target=fetch)
        client.start()
        server.seen.wait_for(lambda seen: seen.bytes_sent("/f") > 0)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    client.join(10)
    assert failed.is_set()


def test_cutting_drops_connections_but_goes_on(http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/f", Sequence(Gated(Resource(FILE), gate, 10), Resource(FILE)))

    def cut() -> None:
        gate.reached.wait(10)
        http_server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(pycurl.error):
        curl(url)
    cutter.join(10)
    assert curl(url) == FILE.data()


def test_throttled_takes_its_time(http_server: HttpServer) -> None:
    url = http_server.add("/f", Throttled(Resource(Generated(100 * KIB)), rate=400 * KIB))
    started = time.monotonic()
    assert len(curl(url)) == 100 * KIB
    assert time.monotonic() - started > 0.2


def test_lengths_that_lie(http_server: HttpServer) -> None:
    short = http_server.add("/short", Misdeclared(Resource(Generated(1000)), by=-10))
    long = http_server.add("/long", Misdeclared(Resource(Generated(1000)), by=10))
    assert len(curl(short)) == 990
    with pytest.raises(pycurl.error) as failed:
        curl(long)
    assert code(failed) == pycurl.E_PARTIAL_FILE


def test_bodies_without_a_length(http_server: HttpServer) -> None:
    chunked = http_server.add("/chunked", Chunked(Resource(FILE)))
    closing = http_server.add("/closing", Chunked(Resource(FILE), until_close=True))
    for url in (chunked, closing):
        status, headers, body = get(url)
        assert (status, headers["Content-Length"], body) == (200, None, FILE.data())


def test_failures_pass(http_server: HttpServer) -> None:
    url = http_server.add("/f", FailTimes(Resource(FILE), 503, times=2, retry_after="1"))
    assert [get(url)[0] for _ in range(4)] == [503, 503, 200, 200]
    busy = http_server.add("/busy", Status(429, retry_after="7"))
    status, headers, _ = get(busy)
    assert (status, headers["Retry-After"]) == (429, "7")


def test_at_most_so_many_at_a_time(http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/f", AtMost(Gated(Resource(FILE), gate, 10), limit=1))
    client = threading.Thread(target=curl, args=(url,))
    client.start()
    assert gate.reached.wait(10)
    assert get(url)[0] == 503
    gate.open()
    client.join(10)
    assert get(url)[0] == 200
    assert http_server.seen.max_active == 2


def test_who_may_come_in(http_server: HttpServer) -> None:
    basic = http_server.add("/basic", BasicAuth(Page("in"), "me", "secret"))
    digest = http_server.add("/digest", DigestAuth(Page("in"), "me", "secret"))
    cookie = http_server.add("/cookie", Needs(Page("in"), "Cookie", "a=b"))
    assert curl(basic, USERPWD="me:secret") == b"in"
    assert curl(digest, USERPWD="me:secret", HTTPAUTH=pycurl.HTTPAUTH_DIGEST) == b"in"
    assert curl(cookie, COOKIE="a=b") == b"in"
    assert get(basic)[0] == 401
    assert curl(digest, USERPWD="me:wrong", HTTPAUTH=pycurl.HTTPAUTH_DIGEST) == b""
    assert get(cookie)[0] == 403
    assert http_server.seen.authorizations("/basic") == ["Basic bWU6c2VjcmV0"]


def test_redirects_go_round_and_away(http_server: HttpServer, other_server: HttpServer) -> None:
    end = other_server.add("/end", Page("end"))
    for path, route in chain("/go", 3, end).items():
        http_server.add(path, route)
    away = http_server.url("/go")
    assert curl(away, FOLLOWLOCATION=1, USERPWD="me:secret") == b"end"
    assert http_server.seen.authorizations() != []
    assert other_server.seen.authorizations() == []
    loop = http_server.add("/loop", Redirect("/loop"))
    with pytest.raises(pycurl.error) as failed:
        curl(loop, FOLLOWLOCATION=1, MAXREDIRS=5)
    assert code(failed) == pycurl.E_TOO_MANY_REDIRECTS


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_reach_the_client(http_server: HttpServer, name: str) -> None:
    url = http_server.add("/f", named(Page("x"), HOSTILE_NAMES[name]))
    # Only a raw look tells: libcurl and http.client have opinions about NUL.
    with socket.create_connection(("127.0.0.1", http_server.port), timeout=10) as sock:
        sock.sendall(f"GET {urlsplit(url).path} HTTP/1.0\r\n\r\n".encode())
        raw = b"".join(iter(lambda: sock.recv(65536), b""))
    assert f"Content-Disposition: {HOSTILE_NAMES[name]}\r\n".encode("latin-1") in raw


def test_content_that_changes(http_server: HttpServer) -> None:
    old, new = Resource(Generated(100, 1)), Resource(Generated(100, 2))
    turning = Switch(old, new)
    url = http_server.add("/switch", turning)
    first = get(url)[1]["ETag"]
    turning.turn()
    status, headers, body = get(url, Range="bytes=5-9", If_Range=first)
    assert (status, body) == (200, Generated(100, 2).data())
    assert headers["ETag"] != first
    url = http_server.add("/sequence", Sequence(old, new))
    assert get(url)[2] != get(url)[2] == get(url)[2]


def test_headers_and_encodings(http_server: HttpServer) -> None:
    zipped = http_server.add("/zip", Gzipped(Resource(FILE)))
    assert curl(zipped, ACCEPT_ENCODING="gzip") == FILE.data()
    assert get(zipped)[1]["Content-Encoding"] is None
    slow = http_server.add("/slow", SlowHead(Page("x"), rate=1000))
    assert curl(slow) == b"x"
    headless = http_server.add("/headless", NoHead(Page("x")))
    assert (get(headless, "HEAD")[0], get(headless)[0]) == (405, 200)
    bare = http_server.add("/bare", WithHeaders(Resource(FILE), {"ETag": None, "X-A": "b"}))
    headers = get(bare)[1]
    assert (headers["ETag"], headers["X-A"]) == (None, "b")


def test_a_mistake_in_a_route_is_told() -> None:
    def wrong(request: Request) -> Response:
        raise KeyError(request.path)

    server = HttpServer().start()
    assert get(server.add("/f", wrong))[0] == 500
    with pytest.raises(KeyError):
        server.__exit__(None, None, None)


def test_certificates_good_and_bad(authority: Authority, tmp_path: Path) -> None:
    trusted = str(authority.write(tmp_path))
    with HttpServer(tls=authority.server()) as server:
        url = server.add("/f", Resource(FILE))
        assert url.startswith("https://")
        assert curl(url, CAINFO=trusted) == FILE.data()
    for bad in (authority.wrong_host(), authority.expired(), authority.untrusted()):
        with HttpServer(tls=bad) as server:
            url = server.add("/f", Resource(FILE))
            with pytest.raises(pycurl.error) as failed:
                curl(url, CAINFO=trusted)
            assert code(failed) == pycurl.E_PEER_FAILED_VERIFICATION
            assert server.seen.count() == 0


def test_both_families() -> None:
    with HttpServer(host="::1") as server:
        url = server.content("/f", 10)
        assert "[::1]" in url
        assert len(curl(url)) == 10


def _routes(server: HttpServer) -> None:
    server.content("/f", MIB, "file")


def test_a_server_in_a_child_process() -> None:
    with ChildServer(_routes) as server:
        assert curl(server.url("/f")) == FILE.data()
        assert [one.sent for one in server.requests()] == [MIB]


def test_a_video_its_page_and_its_playlist(http_server: HttpServer, media: Media) -> None:
    page = media_files.publish(http_server, media)
    assert b"/watch/video.mp4" in get(page)[2]
    assert get(http_server.url("/watch/video.mp4"))[2][4:8] == b"ftyp"
    playlist = get(http_server.url("/watch/hls/index.m3u8"))[2].decode()
    segments = [line for line in playlist.splitlines() if line.endswith(".ts")]
    assert len(segments) == 2
    assert get(http_server.url(f"/watch/hls/{segments[0]}"))[0] == 200


# FTP, SFTP.


def test_ftp_serves_resumes_and_counts(ftp_server: FtpServer, tmp_path: Path) -> None:
    (tmp_path / "ftp" / "f.bin").write_bytes(FILE.data())
    url = ftp_server.url("/f.bin", auth=True)
    assert curl(url) == FILE.data()
    assert curl(url, RESUME_FROM=1000) == FILE.data()[1000:]
    tally = ftp_server.tally
    assert tally.logins == ["me", "me"]
    assert [(item.offset, item.count) for item in tally.moved] == [(0, MIB), (1000, MIB - 1000)]
    assert tally.commanded("REST") == ["1000"]
    with pytest.raises(pycurl.error) as failed:
        curl(ftp_server.url("/f.bin"), USERPWD="me:wrong")
    assert code(failed) == pycurl.E_LOGIN_DENIED


def test_ftp_without_rest_that_drops(tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(FILE.data())
    with FtpServer(tmp_path, restart=False, drop_after=100_000) as server:
        with pytest.raises(pycurl.error):
            curl(server.url("/f.bin"))
        assert curl(server.url("/f.bin")) == FILE.data()
        with pytest.raises(pycurl.error) as failed:
            curl(server.url("/f.bin"), RESUME_FROM=1000)
        assert code(failed) == pycurl.E_FTP_COULDNT_USE_REST
        assert server.tally.logins[0] == "anonymous"
        assert server.tally.moved[0].count == 100_000


@pytest.mark.parametrize("implicit", [False, True])
def test_ftps(authority: Authority, tmp_path: Path, implicit: bool) -> None:
    (tmp_path / "f.bin").write_bytes(FILE.data())
    trusted = str(authority.write(tmp_path))
    with FtpsServer(tmp_path, authority.server(), implicit=implicit) as server:
        url = server.url("/f.bin", auth=True)
        assert curl(url, CAINFO=trusted, USE_SSL=pycurl.USESSL_ALL) == FILE.data()
        got = curl(url, CAINFO=trusted, USE_SSL=pycurl.USESSL_ALL, RESUME_FROM=1000)
        assert got == FILE.data()[1000:]
        assert [(one.offset, one.count) for one in server.tally.moved] == [
            (0, MIB),
            (1000, MIB - 1000),
        ]
        assert server.protected == [True, True]
        with pytest.raises(pycurl.error) as failed:
            curl(url, USE_SSL=pycurl.USESSL_ALL)
        assert code(failed) == pycurl.E_PEER_FAILED_VERIFICATION


def test_sftp_by_password_and_by_key(sftp_server: SftpServer, tmp_path: Path) -> None:
    (tmp_path / "sftp" / "f.bin").write_bytes(FILE.data())
    assert curl(sftp_server.url("/f.bin", auth=True)) == FILE.data()
    assert sftp_server.tally.bytes_sent == MIB
    private, public = sftp_server.write_client_key(tmp_path)
    known = tmp_path / "known_hosts"
    known.write_text(sftp_server.known_hosts)
    got = curl(
        sftp_server.url("/f.bin"),
        USERNAME="me",
        SSH_PRIVATE_KEYFILE=str(private),
        SSH_PUBLIC_KEYFILE=str(public),
        SSH_KNOWNHOSTS=str(known),
        RANGE="1000-1999",
    )
    assert got == FILE.data()[1000:2000]
    with pytest.raises(pycurl.error) as failed:
        curl(sftp_server.url("/f.bin"), USERPWD="me:wrong")
    assert code(failed) == pycurl.E_LOGIN_DENIED
    # libcurl asks once as a password and once as a dialogue.
    assert set(sftp_server.tally.refused) == {"me"}


async def test_sftp_drops_and_takes_files(tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(FILE.data())
    with SftpServer(tmp_path, drop_after=200_000) as server:
        with pytest.raises(pycurl.error):
            await asyncio.to_thread(curl, server.url("/f.bin", auth=True))
        assert await asyncio.to_thread(curl, server.url("/f.bin", auth=True)) == FILE.data()
        login = asyncssh.connect(
            server.host, server.port, username="me", password="secret", known_hosts=None
        )
        async with login as connection, connection.start_sftp_client() as client:
            await client.put(str(tmp_path / "f.bin"), "copy.bin")
        assert (tmp_path / "copy.bin").read_bytes() == FILE.data()
        assert server.tally.bytes_received == MIB


# Torrents.


def _leech(swarm: Swarm, link: lt.add_torrent_params, into: Path) -> bool:
    settings: dict[str, object] = {
        "listen_interfaces": "127.0.0.1:0",
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert_category.status,
    }
    session = lt.session(settings)  # type: ignore[call-overload]
    link.save_path = str(into)
    session.add_torrent(link)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        session.wait_for_alert(1000)
        if any(isinstance(alert, lt.torrent_finished_alert) for alert in session.pop_alerts()):
            return True
    return False


def test_a_swarm_by_file_and_by_magnet(swarm: Swarm, tmp_path: Path) -> None:
    data = swarm.torrent.data
    assert get(swarm.torrent_url)[2] == data
    assert list(swarm.torrent.files) == ["set/a.bin", "set/b.bin", "set/sub/c.bin"]
    assert swarm.torrent.size == 3_000_003
    assert swarm.torrent.pieces == -(-swarm.torrent.size // swarm.torrent.piece_length)
    links = lt.load_torrent_buffer(data), lt.parse_magnet_uri(swarm.magnet)
    for number, link in enumerate(links):
        into = tmp_path / str(number)
        assert _leech(swarm, link, into)
        assert (into / "set/sub/c.bin").read_bytes() == Generated(1_000_002, 2).data()
    assert swarm.seed.wait_uploaded(2 * swarm.torrent.size).seen
    assert ("started", 0) in {(event, downloaded) for event, _, downloaded, _ in _said(swarm)}


def _said(swarm: Swarm) -> list[tuple[str, int, int, int]]:
    return list(swarm.tracker.announced)


def test_a_magnet_that_names_its_peer(swarm: Swarm, tmp_path: Path) -> None:
    link = lt.parse_magnet_uri(swarm.seed.magnet)
    link.trackers = []
    swarm.seed.set_limit(50_000_000)
    assert _leech(swarm, link, tmp_path / "got")
    assert swarm.tracker.announced == []


def test_torrents_of_each_version_without_peers(tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(FILE.data())
    one = make_torrent(tmp_path / "f.bin", web_seeds=("http://127.0.0.1/f.bin",))
    assert (one.files, len(one.info_hash), one.info_hash_v2) == ({"f.bin": MIB}, 40, "")
    two = make_torrent(tmp_path / "f.bin", version="v2", private=True)
    assert (two.info_hash, len(two.info_hash_v2), len(two.hashes)) == ("", 64, 1)
    both = make_torrent(tmp_path / "f.bin", version="hybrid")
    assert [len(item) for item in both.hashes] == [20, 20]
    assert f"btmh:1220{both.info_hash_v2}" in both.magnet("127.0.0.1:1")


def test_a_tracker_that_refuses(http_server: HttpServer) -> None:
    url = http_server.add("/announce", Tracker(failure="go away"))
    answer = get(f"{url}?info_hash=%00&port=1&left=5")[2]
    assert answer == bencode({b"failure reason": b"go away"})
    assert bencode([1, {b"b": 2, b"a": b"x"}]) == b"li1ed1:a1:x1:bi2eee"


# Programs.


@pytest.mark.parametrize("kind", ["s3", "webdav", "sftp", "http", "ftp"])
def test_rclone_reaches_each_server(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bucket").mkdir(parents=True)
    (root / "bucket" / "f.txt").write_text("text")
    with Serve(kind, root) as server:  # type: ignore[arg-type]
        config = server.write_config(tmp_path / "rclone.conf", "there")
        write_config(config, {"disk": {"type": "alias", "remote": str(tmp_path)}})
        command = [program(), "--config", str(config), "cat", "there:bucket/f.txt"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == "text"
        assert "[disk]" in config.read_text()


def test_a_program_that_fails_says_why() -> None:
    child = Program(["/bin/sh", "-c", "echo trouble >&2; exit 3"])
    try:
        with pytest.raises(ProgramFailed, match="trouble"):
            child.expect("ready")
    finally:
        child.stop()
    child.stop()


async def test_redis_is_empty_and_answers(redis_server: RedisServer, redis_url: str) -> None:
    for url in (redis_url, redis_server.unix_url):
        client = redis.asyncio.from_url(url)
        assert await client.dbsize() == (url != redis_url)
        await client.set("key", "value")
        await client.aclose()


async def test_postgres_gives_a_database_of_ones_own(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    assert postgres_url.startswith("postgresql+asyncpg://")
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    await connection.execute("CREATE TABLE t (n int)")
    await connection.close()
    with postgres_server.database() as other:
        connection = await asyncpg.connect(other)
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE tablename='t'") == 0
        await connection.close()


# Names, and what is missing.


def test_names_that_change_their_mind() -> None:
    answers = {"evil.test": [["93.184.215.14"], ["127.0.0.1", "::1"]]}
    resolver = RebindingResolver(answers)
    assert [resolver("EVIL.test.", 80) for _ in range(3)] == [
        ["93.184.215.14"],
        ["127.0.0.1", "::1"],
        ["127.0.0.1", "::1"],
    ]
    assert (resolver.asked["evil.test"], resolver("other.test", 80)) == (3, [])
    with DnsServer(answers) as server:
        for wanted in ("93.184.215.14", "127.0.0.1"):
            question = dnslib.DNSRecord.question("evil.test")
            reply = dnslib.DNSRecord.parse(question.send(server.host, server.port, timeout=10))
            assert [str(record.rdata) for record in reply.rr] == [wanted]
        assert server.asked["evil.test"] == 2


def test_missing_components_are_named_with_how_to_get_them() -> None:
    requires("sh", how="install one")
    requires("anything", how="", found=True)
    with pytest.raises(pytest.skip.Exception) as skipped:
        requires("no-such-program", how="apt install it")
    reason = f"Skipped: {skipped.value.msg}"
    assert missing([reason, reason, "Skipped: other"]) == {"no-such-program": ("apt install it", 2)}


def test_literal_bytes(http_server: HttpServer) -> None:
    url = http_server.add("/f", Resource(Literal(b"hello", etag='"1"'), "text/plain"))
    assert get(url, Range="bytes=1-2")[2] == b"el"

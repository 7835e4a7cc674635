"""Videos from pages on loopback, through a child that may do very little."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.ports import FetchJob
from bot.domain.task import TaskOptions
from bot.engines.egress import EgressPolicy
from bot.engines.ytdlp import YtdlpEngine
from bot.engines.ytdlp_errors import clean, describe, raised
from bot.engines.ytdlp_fragments import mend
from bot.engines.ytdlp_guard import LOCKED, Blocked, Guard, with_locks, wrong_argument
from bot.engines.ytdlp_options import parameters
from bot.engines.ytdlp_progress import Pace
from bot.engines.ytdlp_run import Stop, build, check_item, fetch, plan, size_of
from bot.errors import (
    Corrupt,
    InternalFailure,
    InvalidInput,
    NetworkFailed,
    PolicyRefused,
    Refused,
    SourceNotFound,
    Unauthorised,
    Unsupported,
)
from tests.servers import media
from tests.servers.behaviours import Gate, Gated, StallAfter, Throttled
from tests.servers.content import content
from tests.servers.http import HttpServer
from tests.servers.routes import (
    Directory,
    Generated,
    Literal,
    OnDisk,
    Page,
    Redirect,
    Resource,
    Status,
)

_ROOT = Path(__file__).resolve().parents[1]
_BIG = 3_000_000


@dataclass
class Journal:
    """Keeps what a fetch checkpoints."""

    tokens: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, token: dict[str, Any]) -> None:
        self.tokens.append(json.loads(json.dumps(token)))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> media.Media:
    return media.make(tmp_path_factory.mktemp("media"))


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


@pytest.fixture
def forbidden() -> Iterator[HttpServer]:
    """A server at an address that the policy does not let through."""
    with HttpServer(host="127.0.0.2") as running:
        yield running


def _engine(**changes: Any) -> YtdlpEngine:
    settings: dict[str, Any] = {
        "format": "bv*+ba/b",
        "cookies": None,
        "max_items": 5,
        "ffmpeg": Path(media.ffmpeg()),
        "stall_timeout": 60.0,
    }
    return YtdlpEngine(EgressPolicy(["127.0.0.1"]), **{**settings, **changes})


def _job(directory: Path, url: str, journal: Journal | None = None, **options: Any) -> FetchJob:
    limit = options.pop("limit", None)
    return FetchJob(
        id="task1",
        source=f"ytdlp:{url}",
        directory=directory,
        options=TaskOptions(**options),
        token=None,
        checkpoint=journal or Journal(),
        limit=limit,
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _page(*sources: str, title: str = "A test video") -> Page:
    videos = "".join(
        f'<video><source src="{source}" type="video/mp4"></video>' for source in sources
    )
    return Page(f"<!doctype html><html><head><title>{title}</title></head><body>{videos}</body>")


async def _until(condition: Any) -> None:
    """Wait, within bounds, for something that another process does."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within a minute")


# Which links


@pytest.mark.parametrize(
    "source",
    [
        "https://www.youtube.com/watch?v=x",
        "https://youtu.be/abcdefghijk",
        "https://m.youtube.com/shorts/abc",
        "https://vimeo.com/123456",
        "https://www.twitch.tv/videos/1",
        "https://x.com/somebody/status/1",
        "https://www.reddit.com/r/videos/comments/1/x/",
        "https://archive.org/details/thing",
        "ytdlp:https://example.org/page",
        "YTDLP:https://example.org/page",
    ],
)
def test_accepts_pages_of_sites(source: str) -> None:
    assert _engine().accepts(source) > 60


@pytest.mark.parametrize(
    "source",
    [
        "https://example.org/file.zip",
        "https://archive.org/download/thing/file.mp4",
        "https://archive.org/details/thing.zip",
        "https://youtube.com.example.org/watch?v=x",
        "https://notyoutube.com/watch?v=x",
        "https://www.youtube.com/",
        "ftp://youtube.com/watch",
        "magnet:?xt=urn:btih:0",
        "http://[::1",
        "",
    ],
)
def test_leaves_other_links_alone(source: str) -> None:
    assert _engine().accepts(source) == 0


# The main job


async def test_page_with_a_video(server: HttpServer, clip: media.Media, tmp_path: Path) -> None:
    url = media.publish(server, clip)
    engine, journal = _engine(), Journal()
    plan = await engine.plan(f"ytdlp:{url}", TaskOptions())
    assert (plan.name, plan.size) == ("A test video.mp4", clip.video.stat().st_size)
    assert not plan.is_estimate
    fetched = await engine.fetch(_job(tmp_path, url, journal))
    assert fetched.name == "A test video.mp4"
    assert (tmp_path / "A test video.mp4").read_bytes() == clip.video.read_bytes()
    assert fetched.files[0].sha256 == _sha256(clip.video)
    assert [path.name for path in tmp_path.iterdir()] == ["A test video.mp4"]
    assert journal.tokens[0] == {"size": plan.size}
    assert engine.snapshot() == {}


async def test_hls_is_joined_without_ffmpeg_on_the_network(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    url = media.publish(server, clip)
    plan = await _engine().plan(f"ytdlp:{url}/live", TaskOptions())
    assert plan.is_estimate
    fetched = await _engine().fetch(_job(tmp_path, f"{url}/live"))
    assert fetched.files[0].size > 10_000
    agents = {seen.header("User-Agent") or "" for seen in server.seen.requests()}
    assert not any("Lavf" in agent for agent in agents)


async def test_mp3(server: HttpServer, clip: media.Media, tmp_path: Path) -> None:
    url = media.publish(server, clip)
    fetched = await _engine().fetch(_job(tmp_path, url, quality="mp3", name="The song"))
    assert fetched.name == "The song.mp3"
    data = (tmp_path / "The song.mp3").read_bytes()
    assert data[:3] == b"ID3" or data[:1] == b"\xff"


async def test_video_and_sound_are_merged(server: HttpServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    made = "-v error -f lavfi -i testsrc=size=64x64:rate=5:duration=2 -f lavfi -i sine=duration=2"
    for kind, flags in (("video", "-map 0 -c:v libx264"), ("sound", "-map 1 -c:a aac")):
        output = f"{flags} -f hls -hls_time 1 -hls_playlist_type vod".split()
        subprocess.run(
            [media.ffmpeg(), *made.split(), *output, str(source / f"{kind}.m3u8")],
            check=True,
            stdin=subprocess.DEVNULL,
        )
    (source / "all.m3u8").write_text(
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,URI="sound.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=90000,CODECS="avc1.64000a,mp4a.40.2",AUDIO="a"\nvideo.m3u8\n'
    )
    server.mount("/hls/", Directory(source, "/hls/"))
    page = _page("/hls/all.m3u8", title="Both").body.replace("video/mp4", "application/x-mpegURL")
    url = server.add("/page", Page(page))
    directory = tmp_path / "job"
    directory.mkdir()
    engine = _engine()
    fetched = await engine.fetch(_job(directory, url, engine_options={"container": "mkv"}))
    assert [file.path for file in fetched.files] == ["Both.mkv"]
    assert [path.name for path in directory.iterdir()] == ["Both.mkv"]
    told = subprocess.run(
        [media.ffmpeg(), "-i", str(directory / "Both.mkv")], capture_output=True, check=False
    ).stderr.decode()
    assert "Video: h264" in told
    assert "Audio: aac" in told


@pytest.mark.parametrize("embed", [False, True])
async def test_subtitles(
    server: HttpServer, clip: media.Media, tmp_path: Path, embed: bool
) -> None:
    media.publish(server, clip)
    words = b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nGood evening\n"
    server.add("/words.vtt", Resource(Literal(words), "text/vtt"))
    url = server.add(
        "/page",
        Page(
            '<html><title>Spoken</title><video><source src="/watch/video.mp4" type="video/mp4">'
            '<track kind="subtitles" src="/words.vtt" srclang="en"></video></html>'
        ),
    )
    options = {"subtitles": ["en"], "embed_subtitles": embed}
    fetched = await _engine().fetch(_job(tmp_path, url, engine_options=options))
    names = {file.path for file in fetched.files}
    if embed:
        assert names == {"Spoken.mp4"}
        assert b"Good evening" in (tmp_path / "Spoken.mp4").read_bytes()
    else:
        assert names == {"Spoken.mp4", "Spoken.en.vtt"}
        assert b"Good evening" in (tmp_path / "Spoken.en.vtt").read_bytes()


async def test_metadata_and_thumbnail(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    picture = tmp_path / "poster.png"
    subprocess.run(
        [
            media.ffmpeg(),
            *["-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x64", "-frames:v", "1"],
            str(picture),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    media.publish(server, clip)
    poster = server.add("/poster.png", Resource(OnDisk(picture), "image/png"))
    url = server.add(
        "/with-poster",
        Page(
            f'<html><title>Posted</title><video poster="{poster}">'
            '<source src="/watch/video.mp4" type="video/mp4"></video></html>'
        ),
    )
    options = {"write_thumbnail": True, "embed_metadata": True, "embed_chapters": True}
    directory = tmp_path / "job"
    directory.mkdir()
    fetched = await _engine().fetch(_job(directory, url, engine_options=options))
    names = {file.path for file in fetched.files}
    assert names == {"Posted.mp4", "Posted.png"}
    assert fetched.name == "Posted"
    assert b"Posted" in (directory / "Posted.mp4").read_bytes()


async def test_hostile_title_becomes_a_safe_name(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    media.publish(server, clip)
    title = "../../etc/passwd\u202e" + "x" * 400
    url = server.add("/hostile", _page("/watch/video.mp4", title=title))
    plan = await _engine().plan(f"ytdlp:{url}", TaskOptions())
    assert len(plan.name.encode()) <= 255
    fetched = await _engine().fetch(_job(tmp_path, url))
    name = fetched.files[0].path
    assert "/" not in name
    assert "\u202e" not in name
    assert name.endswith(".mp4")
    assert len(name.encode()) <= 255
    assert (tmp_path / name).is_file()


async def test_environment_is_not_handed_on(
    server: HttpServer, clip: media.Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url = media.publish(server, clip)
    await _engine().fetch(_job(tmp_path, url))


async def test_cookies_of_the_operator(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    url = media.publish(server, clip)
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret\n"
    cookies.write_text(text)
    directory = tmp_path / "job"
    directory.mkdir()
    await _engine(cookies=cookies).fetch(_job(directory, url))
    assert server.seen.requests("/watch")[0].header("Cookie") == "session=secret"
    assert cookies.read_text() == text
    with pytest.raises(Unsupported, match="cookie file"):
        await _engine(cookies=tmp_path / "none").fetch(_job(directory, url))


async def test_checksum(server: HttpServer, clip: media.Media, tmp_path: Path) -> None:
    url = media.publish(server, clip)
    good = hashlib.md5(clip.video.read_bytes(), usedforsecurity=False).hexdigest()
    await _engine().fetch(_job(tmp_path, url, checksum=f"md5:{good}"))
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(Corrupt):
        await _engine().fetch(_job(other, url, checksum=f"sha256:{'0' * 64}"))


# Playlists


async def test_playlist_is_taken_when_asked_for(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    media.publish(server, clip)
    server.add("/second.mp4", Resource(OnDisk(clip.video), "video/mp4"))
    url = server.add("/two", _page("/watch/video.mp4", "/second.mp4", title="Two"))
    engine = _engine()
    for work in (
        engine.plan(f"ytdlp:{url}", TaskOptions()),
        engine.fetch(_job(tmp_path, url)),
    ):
        with pytest.raises(Unsupported, match="is a playlist") as caught:
            await work
        assert "playlist" in (caught.value.hint or "")
    plan = await engine.plan(f"ytdlp:{url}", TaskOptions(playlist=True))
    assert (plan.name, [file.index for file in plan.files]) == ("Two", [0, 1])
    fetched = await engine.fetch(_job(tmp_path, url, playlist=True))
    assert fetched.name == "Two"
    assert sorted(file.path[:6] for file in fetched.files) == ["001 - ", "002 - "]
    assert {file.sha256 for file in fetched.files} == {_sha256(clip.video)}


async def test_selection_and_missing_items(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    media.publish(server, clip)
    url = server.add("/two", _page("/gone.mp4", "/watch/video.mp4", title="Two"))
    whole = tmp_path / "whole"
    whole.mkdir()
    fetched = await _engine().fetch(_job(whole, url, playlist=True))
    assert len(fetched.files) == 1
    assert "404" in fetched.detail["skipped"][0]
    part = tmp_path / "part"
    part.mkdir()
    fetched = await _engine().fetch(_job(part, url, playlist=True, select=[1]))
    assert [file.path[:6] for file in fetched.files] == ["002 - "]
    with pytest.raises(SourceNotFound, match="404"):
        await _engine().fetch(_job(part / "..", url, playlist=True, select=[0]))


# The egress policy


async def test_video_at_a_forbidden_address(
    server: HttpServer, forbidden: HttpServer, tmp_path: Path
) -> None:
    target = forbidden.content("/video.mp4", 1000)
    url = server.add("/page", _page(target))
    for work in (
        _engine().plan(f"ytdlp:{url}", TaskOptions()),
        _engine().fetch(_job(tmp_path, url)),
    ):
        with pytest.raises(PolicyRefused, match=r"127\.0\.0\.2"):
            await work
    assert forbidden.seen.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "0x7f000002", "2130706434"])
async def test_redirect_to_a_forbidden_address(
    server: HttpServer, forbidden: HttpServer, tmp_path: Path, host: str
) -> None:
    target = f"http://{host}:{forbidden.port}/video.mp4"
    url = server.add("/page", Redirect(target))
    with pytest.raises(PolicyRefused):
        await _engine().fetch(_job(tmp_path, url))
    assert forbidden.seen.connections == 0


async def test_segments_at_a_forbidden_address(
    server: HttpServer, forbidden: HttpServer, tmp_path: Path
) -> None:
    playlist = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{forbidden.url('/a.ts')}\n#EXT-X-ENDLIST\n"
    )
    kind = "application/x-mpegURL"
    server.add("/list.m3u8", Resource(Literal(playlist.encode()), kind))
    url = server.add("/page", _page("/list.m3u8"))
    with pytest.raises(PolicyRefused):
        await _engine().fetch(_job(tmp_path, url))
    assert forbidden.seen.connections == 0


@pytest.mark.parametrize(
    "source", ["file:///etc/passwd", "ytsearch:cats", "http://127.0.0.2/x", "gopher://x/"]
)
async def test_source_that_is_no_page(tmp_path: Path, source: str) -> None:
    with pytest.raises((PolicyRefused, InvalidInput)):
        await _engine().plan(f"ytdlp:{source}", TaskOptions())


async def test_host_that_the_operator_lets_through(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    media.publish(server, clip)
    url = server.url("/watch", host="localhost")
    with pytest.raises(PolicyRefused):
        await YtdlpEngine(
            EgressPolicy(["192.0.2.1"]),
            format="b",
            cookies=None,
            max_items=1,
            ffmpeg=None,
            stall_timeout=60,
        ).plan(f"ytdlp:{url}", TaskOptions())
    engine = YtdlpEngine(
        EgressPolicy(["localhost"]),
        format="b",
        cookies=None,
        max_items=1,
        ffmpeg=None,
        stall_timeout=60,
    )
    plan = await engine.plan(f"ytdlp:{url}", TaskOptions())
    assert plan.note is not None
    assert "ffmpeg" in plan.note


async def test_playlist_named_mp4_does_not_lead_ffmpeg_out(
    server: HttpServer, forbidden: HttpServer, tmp_path: Path
) -> None:
    """ffmpeg would read a playlist whatever its name is, and open what that names."""
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", forbidden.url("/a.ts")]
    lines += ["#EXTINF:1,", server.url("/also.ts"), "#EXT-X-ENDLIST", ""]
    body = "\n".join(lines).encode()
    server.add("/video.mp4", Resource(Literal(body), "video/mp4"))
    url = server.add("/page", _page("/video.mp4"))
    with pytest.raises(Unsupported):
        await _engine().fetch(_job(tmp_path, url, quality="mp3"))
    assert forbidden.seen.connections == 0
    assert server.seen.count("/also.ts") == 0


_GUARDED = """
import json, os, socket, subprocess, sys
from bot.engines.egress import EgressPolicy
from bot.engines.ytdlp_guard import Guard
inside, outside, ffmpeg = sys.argv[1:]
os.chdir(inside)
guard = Guard(EgressPolicy(["127.0.0.1"]), inside, [ffmpeg])
guard.install()
def udp(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(b"x", (host, 9))
def unix():
    with socket.socket(socket.AF_UNIX) as s: s.connect(outside + "/socket")
def bind():
    with socket.socket() as s: s.bind(("127.0.0.1", 0))
def write(path, mode="w"):
    with open(path, mode) as f: f.write("x")
def ff(*arguments):
    subprocess.run([ffmpeg, *arguments], check=True, capture_output=True)
tries = {
    "write inside": lambda: write("a.txt"),
    "rename inside": lambda: os.rename("a.txt", "b.txt"),
    "null": lambda: write(os.devnull),
    "read outside": lambda: open(outside + "/victim").read(),
    "ffmpeg version": lambda: ff("-version"),
    "write outside": lambda: write(outside + "/new"),
    "append outside": lambda: write(outside + "/victim", "a"),
    "climb": lambda: write(inside + "/../new"),
    "os.open": lambda: os.open(outside + "/new", os.O_CREAT | os.O_WRONLY),
    "rename out": lambda: os.rename("b.txt", outside + "/b.txt"),
    "remove": lambda: os.remove(outside + "/victim"),
    "mkdir": lambda: os.mkdir(outside + "/d"),
    "chmod": lambda: os.chmod(outside + "/victim", 0o777),
    "symlink": lambda: os.symlink(outside, "link"),
    "through a link": lambda: write("way-out/new"),
    "link": lambda: os.link(outside + "/victim", "hard"),
    "system": lambda: os.system("true"),
    "program": lambda: subprocess.run(["/bin/true"]),
    "python": lambda: subprocess.run([sys.executable, "-c", "pass"]),
    "leashed program": lambda: subprocess.run([*guard._leash, "/bin/true"]),
    "below a descriptor": lambda: os.mkdir("d", dir_fd=os.open(outside, os.O_RDONLY)),
    "shell": lambda: subprocess.run("true", shell=True),
    "fork": lambda: os.fork() or os._exit(0),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "ffmpeg url": lambda: ff("-i", "http://127.0.0.1:9/x", "file:out.mp4"),
    "ffmpeg outside": lambda: ff("-i", "file:" + outside + "/victim", "file:out.mp4"),
    "ffmpeg to outside": lambda: ff("-i", "file:b.txt", "file:" + outside + "/out.mp4"),
    "udp": lambda: udp("127.0.0.2"),
    "unix": unix,
    "bind": bind,
    "ctypes": lambda: __import__("ctypes").CDLL(None),
}
answers = {}
for name, attempt in tries.items():
    try:
        attempt()
        answers[name] = "done"
    except OSError as error:
        answers[name] = type(error).__name__
print(json.dumps(answers))
"""


def test_guard(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    (inside / "way-out").symlink_to(outside)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(outside / "socket"))
        listener.listen()
        done = subprocess.run(
            [sys.executable, "-c", _GUARDED, str(inside), str(outside), media.ffmpeg()],
            capture_output=True,
            check=False,
            cwd=_ROOT,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr.decode()
    answers = json.loads(done.stdout)
    allowed = {name for name, answer in answers.items() if answer == "done"}
    assert allowed == {"write inside", "rename inside", "null", "read outside", "ffmpeg version"}
    assert sorted(path.name for path in outside.iterdir()) == ["socket", "victim"]
    assert (outside / "victim").read_text() == "untouched"


def test_locks_stand_before_every_input() -> None:
    command = with_locks(["ffmpeg", "-y", "-i", "file:a", "-i", "file:b", "-c", "copy", "file:o"])
    assert command.count("-protocol_whitelist") == 2
    assert wrong_argument(command[1:], lambda path: True) is None
    assert wrong_argument(["-i", "file:a", "file:o"], lambda path: True) == "-i"
    assert wrong_argument([*command[1:-1], "http://x/"], lambda path: True) == "http://x/"
    probe = with_locks(["ffprobe", "-show_streams", "file:a"])
    assert tuple(probe[1 : 1 + len(LOCKED)]) == LOCKED
    assert wrong_argument(probe[1:], lambda path: True) is None
    assert wrong_argument(probe[1:], lambda path: False) == "file:a"


# The child's work without the child: what it says while it works


def _request(url: str, directory: Path, **wishes: Any) -> dict[str, Any]:
    params = parameters(TaskOptions(**wishes), default_format="b", max_items=5, has_ffmpeg=False)
    return {"url": url, "directory": str(directory), "params": params, "socket_timeout": 10.0}


def test_reports_of_the_child(server: HttpServer, clip: media.Media, tmp_path: Path) -> None:
    url = media.publish(server, clip)
    said: list[dict[str, Any]] = []
    guard = Guard(EgressPolicy(["127.0.0.1"]), str(tmp_path), [])
    pace = Pace(200_000, lambda: said.append({"pulse": "waiting"}))
    request = _request(f"{url}/live", tmp_path)
    with build(request, guard, said.append, pace) as ydl:
        answer = plan(ydl, request)
    assert answer["title"] == "A test video"
    assert answer["is_estimate"]
    with build(request, guard, said.append, pace) as ydl:
        done = fetch(ydl, request)
    assert done["items"][0]["title"] == "A test video"
    assert (tmp_path / done["items"][0]["main"]).stat().st_size > 10_000
    reports = [message for message in said if "progress" in message]
    assert reports
    assert {"pulse"} in [set(message) for message in said]
    assert len(list(tmp_path.glob("*.lengths"))) <= 1


def test_playlist_in_the_child(server: HttpServer, clip: media.Media, tmp_path: Path) -> None:
    media.publish(server, clip)
    url = server.add("/two", _page("/gone.mp4", "/watch/video.mp4", title="Two"))
    guard = Guard(EgressPolicy(["127.0.0.1"]), str(tmp_path), [])
    request = _request(url, tmp_path, playlist=True)
    ignored = Pace(None, lambda: None)
    with build(request, guard, lambda message: None, ignored) as ydl:
        assert [entry["index"] for entry in plan(ydl, request)["entries"]] == [0, 1]
    with build(request, guard, lambda message: None, ignored) as ydl:
        done = fetch(ydl, request)
    assert [item["index"] for item in done["items"]] == [2]
    assert [failure["code"] for failure in done["skipped"]] == ["source_not_found"]
    single = _request(url, tmp_path)
    with (
        build(single, guard, lambda message: None, ignored) as ydl,
        pytest.raises(Stop, match="playlist"),
    ):
        plan(ydl, single)


def test_refusals_of_the_guard(tmp_path: Path) -> None:
    guard = Guard(EgressPolicy(["127.0.0.1"]), str(tmp_path), ["/opt/ffmpeg"])
    with socket.socket() as free, socket.socket(socket.AF_UNIX) as unix:
        guard._hook("socket.connect", (free, ("127.0.0.1", 80)))
        for connection, address in ((free, ("10.0.0.1", 80)), (unix, "/run/x")):
            with pytest.raises(Blocked):
                guard._hook("socket.connect", (connection, address))
    with pytest.raises(Blocked):
        guard._hook("os.system", (b"true",))
    with pytest.raises(FileNotFoundError):
        guard._hook("subprocess.Popen", ("/opt/ffmpeg", ["/opt/ffmpeg"], None, None))
    command = [*guard._leash, *with_locks(["/opt/ffmpeg", "-i", "http://x/", "file:o"])]
    with pytest.raises(Blocked, match="ffmpeg with"):
        guard._hook("subprocess.Popen", (sys.executable, command, None, None))
    guard._hook("open", (str(tmp_path / "new"), "w", 0))
    guard._hook("os.rename", (str(tmp_path / "a"), str(tmp_path / "b"), -1, -1))
    guard._hook("os.mkdir", (str(tmp_path), 0o700, -1))
    for event in (("open", ("/etc/new", None, os.O_CREAT)), ("os.remove", ("/etc/passwd", -1))):
        with pytest.raises(Blocked):
            guard._hook(*event)
    assert len(guard.addresses) == 1
    assert len(guard.actions) == 5


# Failures


@pytest.mark.parametrize(
    ("route", "error"),
    [
        (Status(404), SourceNotFound),
        (Status(410), SourceNotFound),
        (Status(401), Unauthorised),
        (Status(403), Unauthorised),
        (Status(429), Refused),
        (Status(503), Refused),
        (Page("<html><body>no video here</body></html>"), Unsupported),
    ],
)
async def test_page_that_fails(
    server: HttpServer, tmp_path: Path, route: Any, error: type[Exception]
) -> None:
    url = server.add("/page", route)
    with pytest.raises(error):
        await _engine().plan(f"ytdlp:{url}", TaskOptions())


async def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ytdlp:http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(NetworkFailed):
            await _engine().plan(url, TaskOptions())


async def test_server_that_stalls(server: HttpServer, tmp_path: Path) -> None:
    server.add("/video.mp4", StallAfter(Resource(Generated(_BIG, 1), "video/mp4"), 100_000))
    url = server.add("/page", _page("/video.mp4"))
    with pytest.raises(NetworkFailed):
        await _engine(stall_timeout=3).fetch(_job(tmp_path, url))


def test_words_of_sites_become_errors() -> None:
    cases: dict[str, type[Exception]] = {
        "ERROR: [youtube] x: Private video. Sign in if you've been granted access": Unauthorised,
        "[youtube] x: Video unavailable. This video has been removed": SourceNotFound,
        "[x] This video is DRM protected": Unsupported,
        "The uploader has not made this video available in your country": Unsupported,
        "Requested format is not available": Unsupported,
        "ffmpeg is not installed. Aborting": Unsupported,
        "Unable to download webpage: The read operation timed out": NetworkFailed,
        "[x] Something nobody has seen yet": Unsupported,
    }
    for message, error in cases.items():
        assert type(raised(describe(Exception(message), [], []))) is error, message
    full = OSError(28, "No space left on device")
    assert describe(full, [], [])["code"] == "no_space"
    assert clean("\x1b[31mERROR:\x1b[0m http://me:secret@host/x") == "http://host/x"


async def test_playlist_without_an_end_is_refused(server: HttpServer, tmp_path: Path) -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n"
    server.add("/list.m3u8", Resource(Literal(playlist), "application/x-mpegURL"))
    server.content("/a.ts", 1000)
    url = server.add("/page", _page("/list.m3u8"))
    with pytest.raises(Unsupported, match="live stream"):
        await _engine().fetch(_job(tmp_path, url))


def test_live_streams_and_odd_protocols_are_refused() -> None:
    for info in (
        {"is_live": True},
        {"live_status": "is_upcoming"},
        {"protocol": "rtmp"},
        {"requested_formats": [{"protocol": "https"}, {"protocol": "websocket_frag"}]},
    ):
        with pytest.raises(Stop):
            check_item(info)
    check_item({"protocol": "m3u8_native"})
    parts = [{"filesize": 5}, {"filesize_approx": 6}]
    assert size_of({"requested_formats": parts}) == (11, False)
    assert size_of({}) == (None, False)


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"exec": "rm -rf /"},
        {"outtmpl": "/etc/%(title)s"},
        {"postprocessors": []},
        {"paths": {"home": "/"}},
        {"cookiesfrombrowser": "firefox"},
        {"proxy": "http://x"},
        {"external_downloader": "curl"},
        {"ffmpeg_location": "/bin/sh"},
        {"subtitles": ["../x"]},
        {"subtitles": "en'; rm"},
        {"container": "exe"},
        {"audio_format": "sh"},
        {"audio_quality": True},
        {"items": "1-"},
        {"items": "1;2", "x": 1},
        {"rate_limit": "fast"},
        {"fragments": 1000},
        {"geo_country": "de"},
        {"embed_metadata": "yes"},
        {"format_sort": ["res:1080;x"]},
    ],
)
async def test_dangerous_or_wrong_option(options: dict[str, Any]) -> None:
    if options == {"items": "1-"}:
        made = parameters(
            TaskOptions(engine_options=options), default_format="b", max_items=5, has_ffmpeg=True
        )
        assert made["playlist_items"] == "1:5"
        return
    with pytest.raises(InvalidInput) as caught:
        await _engine().plan("ytdlp:http://127.0.0.1/", TaskOptions(engine_options=options))
    assert caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        TaskOptions(quality="$(reboot)`"),
        TaskOptions(quality="137,140"),
        TaskOptions(headers={"Authorization": "x"}),
        TaskOptions(headers={"Referer": "a\r\nX: y"}),
        TaskOptions(select=[0, 1, 2, 3, 4, 5]),
        TaskOptions(select=[0], engine_options={"items": "1"}),
        TaskOptions(engine_options={"items": "1-6"}),
    ],
)
def test_wrong_wishes(options: TaskOptions) -> None:
    with pytest.raises(InvalidInput):
        parameters(options, default_format="b", max_items=5, has_ffmpeg=True)


def test_wishes_become_parameters() -> None:
    def made(has_ffmpeg: bool = True, **wishes: Any) -> dict[str, Any]:
        options = TaskOptions(**wishes)
        return parameters(options, default_format="dflt", max_items=5, has_ffmpeg=has_ffmpeg)

    assert made()["format"] == "dflt"
    assert made(quality="best")["format"] == "bv*+ba/b"
    assert "height<=1080" in made(quality="1080p")["format"]
    assert "+" not in made(has_ffmpeg=False, quality="720p")["format"]
    assert made(has_ffmpeg=False)["format"] == "b/bv*/ba"
    assert made(quality="bv[ext=mp4]+ba")["format"] == "bv[ext=mp4]+ba"
    assert made(quality="audio")["postprocessors"][0]["preferredcodec"] == "best"
    full = made(
        playlist=True,
        engine_options={
            "subtitles": "en,de",
            "subtitle_format": "srt",
            "embed_subtitles": True,
            "embed_thumbnail": True,
            "container": "mkv",
            "items": "1,3-4",
            "geo_country": "DE",
        },
    )
    assert full["playlist_items"] == "1:1,3:4"
    assert full["subtitleslangs"] == ["en", "de"]
    assert full["subtitlesformat"] == "srt/best"
    assert full["merge_output_format"] == "mkv"
    assert full["geo_bypass_country"] == "DE"
    keys = [step["key"] for step in full["postprocessors"]]
    assert keys == ["FFmpegEmbedSubtitle", "EmbedThumbnail"]


# Stopping and going on


async def test_cancelled_then_resumed(server: HttpServer, tmp_path: Path) -> None:
    gate = Gate()
    inner = Resource(Generated(_BIG, 7), "video/mp4")
    server.add("/video.mp4", Gated(inner, gate, after=1_000_000))
    url = server.add("/page", _page("/video.mp4"))
    engine = _engine()
    running = asyncio.ensure_future(engine.fetch(_job(tmp_path, url)))
    await _until(lambda: any(_parts(tmp_path, 500_000)))
    pid = _pid(engine)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{pid}").exists()
    kept = next(_parts(tmp_path, 1)).stat().st_size
    gate.open()
    server.seen.clear()
    fetched = await engine.fetch(_job(tmp_path, url))
    assert fetched.files[0].sha256 == hashlib.sha256(content(7, _BIG)).hexdigest()
    assert f"bytes={kept}-" in server.seen.ranges("/video.mp4")
    assert server.seen.bytes_sent("/video.mp4") <= _BIG - kept + 500_000


async def test_half_files_of_an_earlier_start_of_the_machine(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    url = media.publish(server, clip)
    work = tmp_path / ".ytdlp"
    work.mkdir()
    (work / "boot").write_text("another start")
    part = work / "0-HTML5MediaEmbed-watch-1-0.mp4.part"
    part.write_bytes(b"\0" * 5000)
    fetched = await _engine().fetch(_job(tmp_path, url))
    assert fetched.files[0].sha256 == _sha256(clip.video)


async def test_killed_between_fragments(server: HttpServer, tmp_path: Path) -> None:
    names = [f"s{number}.ts" for number in range(6)]
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1"]
    for name in names:
        lines += ["#EXTINF:1,", name]
    body = "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()
    server.add("/list.m3u8", Resource(Literal(body), "application/x-mpegURL"))
    url = server.add("/page", _page("/list.m3u8"))
    data = [content(number, 50_000) for number in range(6)]
    gate = Gate()
    for number, name in enumerate(names):
        route = Resource(Literal(data[number]), "video/mp2t")
        server.add(f"/{name}", Gated(route, gate) if number == 4 else route)
    engine = _engine(ffmpeg=None)
    options: dict[str, Any] = {"engine_options": {"fragments": 1}}
    running = asyncio.ensure_future(engine.fetch(_job(tmp_path, url, **options)))
    await server.seen.until(lambda seen: seen.count("/s4.ts") == 1, timeout=60)
    await _until(lambda: any(_parts(tmp_path, 200_000)))
    os.kill(_pid(engine), signal.SIGKILL)
    with pytest.raises(InternalFailure, match="status"):
        await running
    gate.open()
    # Half a fragment, as a kill in the middle of a write leaves it.
    with next(_parts(tmp_path, 1)).open("ab") as file:
        file.write(b"half a fragment")
    server.seen.clear()
    fetched = await engine.fetch(_job(tmp_path, url, **options))
    assert fetched.files[0].sha256 == hashlib.sha256(b"".join(data)).hexdigest()
    assert [name for name in names if server.seen.count(f"/{name}")] == ["s4.ts", "s5.ts"]


def test_fragments_of_unknown_length_start_over(tmp_path: Path) -> None:
    state = tmp_path / "x.mp4.ytdl"
    part = tmp_path / "x.mp4.part"
    for lengths, left in (("1 10\n2 20\n3 3", 20), ("1 10\n", None), (None, None)):
        part.write_bytes(b"x" * 25)
        (tmp_path / "x.mp4.part-Frag3").write_bytes(b"y")
        state.write_text('{"downloader": {"current_fragment": {"index": 2}}}')
        beside = tmp_path / "x.mp4.ytdl.lengths"
        beside.unlink(missing_ok=True)
        if lengths is not None:
            beside.write_text(lengths)
        mend(tmp_path)
        assert (part.stat().st_size if part.exists() else None) == left
        assert state.exists() == part.exists()
        assert not (tmp_path / "x.mp4.part-Frag3").exists()


async def test_crash_while_names_are_given(tmp_path: Path) -> None:
    """With the token nothing is downloaded again; there is no server here."""
    work = tmp_path / ".ytdlp"
    work.mkdir()
    (work / "b.mp4").write_bytes(b"second")
    (tmp_path / "First.mp4").write_bytes(b"first")
    moves = [["a.mp4", "First.mp4"], ["b.mp4", "Second.mp4"]]
    job = _job(tmp_path, "http://127.0.0.1:9/", playlist=True)
    token = {"files": moves, "name": "Both", "skipped": []}
    fetched = await _engine().fetch(replace(job, token=token))
    assert fetched.name == "Both"
    assert [file.path for file in fetched.files] == ["First.mp4", "Second.mp4"]
    assert (tmp_path / "Second.mp4").read_bytes() == b"second"


async def test_limit_and_progress(server: HttpServer, tmp_path: Path) -> None:
    server.add("/video.mp4", Resource(Generated(_BIG, 3), "video/mp4"))
    url = server.add("/page", _page("/video.mp4"))
    engine = _engine()
    job = _job(tmp_path, url, limit=20_000)
    running = asyncio.ensure_future(engine.fetch(job))
    await _until(lambda: engine.snapshot() and engine.snapshot()["task1"].done)
    progress = engine.snapshot()["task1"]
    assert progress.total == _BIG
    assert progress.done < _BIG
    engine.set_limit(10_000_000)
    engine.set_limit(None, "task1")
    fetched = await running
    assert fetched.files[0].size == _BIG


async def test_child_dies_with_its_pipe(server: HttpServer, tmp_path: Path) -> None:
    server.add("/video.mp4", Throttled(Resource(Generated(_BIG, 3), "video/mp4"), 50_000))
    url = server.add("/page", _page("/video.mp4"))
    engine = _engine()
    running = asyncio.ensure_future(engine.fetch(_job(tmp_path, url)))
    await _until(lambda: engine.snapshot() and engine.snapshot()["task1"].done)
    process = engine._jobs["task1"]._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    with pytest.raises(InternalFailure):
        await running


async def test_ffmpeg_dies_with_the_child(
    server: HttpServer, clip: media.Media, tmp_path: Path
) -> None:
    """Left behind, it would write into the files of the next attempt."""
    url = media.publish(server, clip)
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    pid = tmp_path / "bin" / "pid"
    program.write_text(
        f"#!/bin/sh\ncase $1 in -bsfs) echo ffmpeg version 7.0; exit;; esac\n"
        f"echo $$ >{pid}\nexec /bin/sleep 3600\n"
    )
    program.chmod(0o755)
    directory = tmp_path / "job"
    directory.mkdir()
    engine = _engine(ffmpeg=program)
    running = asyncio.ensure_future(engine.fetch(_job(directory, url, quality="mp3")))
    await _until(lambda: pid.exists() and pid.read_text())
    os.kill(_pid(engine), signal.SIGKILL)
    with pytest.raises(InternalFailure):
        await running
    await _until(lambda: _ended(pid.read_text().strip()))


def _ended(pid: str) -> bool:
    """Whether that process is gone, or a zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_service_does_not_load_ytdlp() -> None:
    code = "import bot.engines.ytdlp, sys; print('yt_dlp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=_ROOT, timeout=60
    )
    assert done.stdout.strip() == b"False"


def _parts(directory: Path, least: int) -> Iterator[Path]:
    found = (directory / ".ytdlp").glob("*.part")
    return (path for path in found if path.stat().st_size >= least)


def _pid(engine: YtdlpEngine) -> int:
    process = engine._jobs["task1"]._process
    assert process is not None
    return process.pid


async def test_it_delivers_nothing() -> None:
    engine = _engine()
    assert not engine.delivers_to("/tmp")
    assert await engine.cleanup(0) == 0
    await engine.close()

"""The steps of ffmpeg: what they make, and files that try to make it read others."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path

import pytest

from bot.domain.task import FileEntry
from bot.errors import Corrupt, InvalidInput, PolicyRefused, Unsupported
from bot.transfers.steps import Programs, build_steps
from bot.transfers.steps.ffmpeg import Ffmpeg, Media
from bot.transfers.steps.presets import PRESETS
from tests.stepping import BARE, PROGRAMS, Bench

needs_ffmpeg = pytest.mark.skipif(
    PROGRAMS.ffmpeg is None, reason="no ffmpeg: pip install imageio-ffmpeg carries it"
)
STEPS = build_steps(BARE, max_size=1, max_files=1, max_ratio=1, max_depth=1, timeout=0)
PICTURE = ("-f", "lavfi", "-i", "testsrc=d=4:s=64x48:r=5")
SOUND = ("-f", "lavfi", "-i", "sine=d=4")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.mp4 (H.264, AAC), mute.mp4, tone.flac, covered.mp3 and titled.mkv, 4 seconds each."""
    if PROGRAMS.ffmpeg is None:
        pytest.skip("no ffmpeg: pip install imageio-ffmpeg carries it")
    root = tmp_path_factory.mktemp("media")
    h264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    (root / "t.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n")
    for name, arguments in {
        "clip.mp4": (*PICTURE, *SOUND, *h264, "-c:a", "aac"),
        "mute.mp4": (*PICTURE, *h264),
        "tone.flac": SOUND,
        "cover.jpg": ("-f", "lavfi", "-i", "testsrc=s=64x48", "-frames:v", "1"),
        "titled.mkv": (
            "-i",
            "clip.mp4",
            "-i",
            "t.srt",
            "-c:v",
            "copy",
            "-c:a",
            "copy",
            "-c:s",
            "srt",
        ),
    }.items():
        _make(root, *arguments, name)
    covered = ("-i", "tone.flac", "-i", "cover.jpg", "-map", "0", "-map", "1", "-c:v", "copy")
    _make(root, *covered, "-metadata", "title=x\n  Duration: 99:00:00.00, y", "covered.mp3")
    return root


def _make(root: Path, *arguments: str) -> None:
    command = [str(PROGRAMS.ffmpeg), "-nostdin", "-loglevel", "error", "-y", *arguments]
    subprocess.run(command, cwd=root, check=True)


def _put(bench: Bench, samples: Path, *names: str) -> None:
    for name in names:
        bench.put(name, (samples / name).read_bytes())


async def _probe(path: Path) -> Media:
    media = await Ffmpeg(PROGRAMS.ffmpeg, 1 << 40).probe(path)
    assert media is not None
    return media


async def test_probe(samples: Path) -> None:
    assert await _probe(samples / "clip.mp4") == Media(4.0, "h264", ("aac",), (), False)
    titled = await _probe(samples / "titled.mkv")
    assert (titled.video, titled.audio, titled.subtitles) == ("h264", ("aac",), ("subrip",))
    covered = await _probe(samples / "covered.mp3")
    assert covered.picture
    assert covered.video is None
    assert covered.duration == pytest.approx(4, abs=0.2), "the title is no duration"
    assert await Ffmpeg(PROGRAMS.ffmpeg, 1 << 40).probe(samples / "t.srt") is None


@pytest.mark.parametrize(
    ("params", "name", "made", "video", "audio"),
    [
        ({"video": "mkv"}, "clip.mp4", "clip.mkv", "h264", ("aac",)),
        ({"video": "mp4"}, "titled.mkv", "titled.mp4", "h264", ("aac",)),
        ({"video": "webm"}, "clip.mp4", "clip.webm", "vp9", ("opus",)),
        ({"video": "mov"}, "mute.mp4", "mute.mov", "h264", ()),
        ({"audio": "mp3"}, "tone.flac", "tone.mp3", None, ("mp3",)),
        ({"audio": "wav"}, "covered.mp3", "covered.wav", None, ("pcm_s16le",)),
        ({"audio": "opus"}, "tone.flac", "tone.opus", None, ("opus",)),
        ({"audio": "ogg"}, "tone.flac", "tone.ogg", None, ("vorbis",)),
        ({"audio": "m4a"}, "tone.flac", "tone.m4a", None, ("aac",)),
    ],
)
async def test_convert(
    bench: Bench,
    samples: Path,
    params: dict[str, str],
    name: str,
    made: str,
    video: str | None,
    audio: tuple[str, ...],
) -> None:
    _put(bench, samples, name)
    bench.put("notes.txt", b"n")
    assert set(await bench.run("convert", **params)) == {made, "notes.txt"}
    media = await _probe(bench.output / made)
    assert (media.video, media.audio) == (video, audio)
    assert media.duration == pytest.approx(4, abs=0.2)
    assert bench.progress[-1].done == bench.progress[-1].total


async def test_subtitles_come_along(bench: Bench, samples: Path) -> None:
    _put(bench, samples, "titled.mkv")
    await bench.run("convert", video="mp4")
    assert (await _probe(bench.output / "titled.mp4")).subtitles == ("mov_text",)


async def test_convert_each_by_its_kind_and_keep(bench: Bench, samples: Path) -> None:
    _put(bench, samples, "clip.mp4", "tone.flac")
    result = await bench.run("convert", video="mkv", audio="mp3", keep=True)
    assert set(result) == {"clip.mp4", "clip.mkv", "tone.flac", "tone.mp3"}


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_presets(bench: Bench, samples: Path, name: str) -> None:
    _put(bench, samples, "clip.mp4")
    result = await bench.run("preset", name=name)
    assert list(result) == [f"clip.{PRESETS[name].extension}"]


async def test_screenshots_sample_and_thumbnail(tmp_path: Path, samples: Path) -> None:
    benches = [Bench(tmp_path / str(number)) for number in range(5)]
    for bench in benches:
        bench.root.mkdir()
    _put(benches[0], samples, "clip.mp4")
    shots = await benches[0].run("screenshots", count=3)
    assert set(shots) == {"clip.mp4", *(f"clip.screenshots/0{n}.jpg" for n in (1, 2, 3))}
    assert len({shots[f"clip.screenshots/0{n}.jpg"] for n in (1, 2, 3)}) == 3
    for bench, name in zip(benches[1:3], ("clip.mp4", "mute.mp4"), strict=True):
        _put(bench, samples, name)
        stem = name.removesuffix(".mp4")
        assert set(await bench.run("sample", duration=2, part=1)) == {name, f"{stem}.sample.mp4"}
        media = await _probe(bench.output / f"{stem}.sample.mp4")
        assert media.duration == pytest.approx(2, abs=0.3)
    for bench, name in zip(benches[3:], ("clip.mp4", "covered.mp3"), strict=True):
        _put(bench, samples, name)
        made = await bench.run("thumbnail", width=32)
        picture = made[name.rpartition(".")[0] + ".thumb.jpg"]
        assert picture.startswith(b"\xff\xd8")


async def test_names_are_no_options_and_no_patterns(bench: Bench, samples: Path) -> None:
    names = ["-y.mp4", "%03d.mp4", "a:b?c.mp4", "http:x.mp4"]
    for name in names:
        bench.put(name, (samples / "clip.mp4").read_bytes())
    result = await bench.run("thumbnail")
    assert set(result) == {*names, *(name.replace(".mp4", ".thumb.jpg") for name in names)}


# Hostile files


@needs_ffmpeg
@pytest.mark.parametrize("name", ["movie.mp4", "movie.m3u8", "movie.mkv", "list.ffconcat"])
@pytest.mark.parametrize("kind", ["hls", "concat", "dash", "subtitle"])
async def test_no_file_makes_it_open_another(
    bench: Bench, samples: Path, name: str, kind: str
) -> None:
    (bench.input / "private.mp4").write_bytes((samples / "clip.mp4").read_bytes())
    private = bench.input / "private.mp4"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        text = {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{private}\n"
            f"#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile private.mp4\nfile '{url}'\n",
            "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
            f"<Period><AdaptationSet><Representation id='1' bandwidth='1'><BaseURL>{url}</BaseURL>"
            "</Representation></AdaptationSet></Period></MPD>",
            "subtitle": f"[Script Info]\n{url}\n{private}\n",
        }[kind]
        path = bench.put(name, text.encode())
        size = path.stat().st_size
        for step, params in (("screenshots", {}), ("convert", {"video": "mkv", "audio": "wav"})):
            with pytest.raises(Unsupported, match="none of 1 files"):
                await bench.run_on(step, [FileEntry(name, size)], dict(params))
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_broken_off_file(bench: Bench, samples: Path) -> None:
    whole = (samples / "titled.mkv").read_bytes()
    bench.put("x.mkv", whole[: len(whole) // 3])
    with pytest.raises(Corrupt, match=r"breaks off|can't use"):
        await bench.run("convert", video="webm")
    assert bench.left() == {}


async def test_output_has_a_largest_size(bench: Bench, samples: Path) -> None:
    bench.max_size = 100_000
    _put(bench, samples, "tone.flac")
    with pytest.raises(PolicyRefused):
        await bench.run("convert", audio="wav")
    assert bench.left() == {}


async def test_cancel_kills_ffmpeg(bench: Bench, tmp_path: Path) -> None:
    mark, program = tmp_path / "pid", tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho $$ > {mark}.new\nmv {mark}.new {mark}\nexec sleep 3600\n")
    program.chmod(0o755)
    bench.programs = Programs(None, program)
    bench.put("x.mp4", b"x")
    running = asyncio.create_task(bench.run("thumbnail"))
    for _ in range(3000):
        if mark.exists() or running.done():
            break
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{int(mark.read_text())}").exists()
    assert bench.left() == {}


@pytest.mark.parametrize("name", ["convert", "preset", "screenshots", "sample", "thumbnail"])
async def test_without_ffmpeg_it_says_how_to_get_it(bench: Bench, name: str) -> None:
    bench.programs = BARE
    bench.put("x.mp4", b"x")
    params = {"convert": {"video": "mp4"}, "preset": {"name": "h264"}}.get(name, {})
    with pytest.raises(Unsupported, match="FFMPEG_PATH"):
        await bench.run(name, **params)


@needs_ffmpeg
async def test_nothing_to_do(bench: Bench) -> None:
    bench.put("notes.txt", b"text")
    with pytest.raises(Unsupported, match="none of 1 files is a video"):
        await bench.run("screenshots")


@pytest.mark.parametrize(
    ("step", "params", "said"),
    [
        ("convert", {}, "needs audio or video"),
        ("convert", {"video": "exe"}, "mkv, mov, mp4, webm"),
        ("convert", {"video": "mp4", "options": "-f null"}, "no parameter 'options'"),
        ("preset", {"name": "-i /etc/passwd"}, "h264-720p"),
        ("screenshots", {"count": 51}, "from 1 to 50"),
        ("sample", {"duration": 600, "part": 1}, "1 to 60 parts"),
        ("sample", {"duration": 2, "part": 4}, "1 to 60 parts"),
        ("thumbnail", {"at": -1}, "from 0 to 86400"),
        ("thumbnail", {"width": "wide"}, "from 16 to 4096"),
    ],
)
def test_wrong_parameters_are_named(step: str, params: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        STEPS[step].check(params)
    assert said in str(caught.value)

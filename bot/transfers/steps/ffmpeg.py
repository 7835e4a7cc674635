"""The ffmpeg program on hostile files: one local input, of a format that refers to nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.errors import Corrupt, NoSpace, PolicyRefused, Unsupported
from bot.transfers.steps.programs import Finished, run

HOW_TO_GET_FFMPEG = "install ffmpeg (the package imageio-ffmpeg carries it) or set FFMPEG_PATH"
#: Containers and raw streams that hold their own bytes. Playlists and scripts (hls, concat, dash,
#: imf, image2, lavfi and so on), which would have ffmpeg open other files, are not among them.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,"
    "ogg,wav,w64,aiff,flac,mp3,aac,ac3,eac3,dts,dtshd,truehd,amr,ape,caf,wv,tta,dv,mxf,nut,rm,"
    "ivf,av1,obu,vc1,au,tak,mpc,mpc8"
)
#: ``ffmpeg -i`` indents what it says of the file itself by two blanks; metadata by more.
_DURATION = re.compile(r"  Duration: (\d{1,5}):(\d\d):(\d\d(?:\.\d+)?),.*")
_STREAM = re.compile(
    r"  Stream #\d+:\d+(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: "
    r"(Video|Audio|Subtitle): ([a-z0-9_]+)(.*)"
)
#: Subtitles that are text; those that are pictures can't become another kind.
TEXT_SUBTITLES = frozenset({"subrip", "ass", "ssa", "mov_text", "webvtt", "text"})


@dataclass(frozen=True, slots=True)
class Media:
    """What a file is: seconds (None if it does not say) and the codecs of its streams.

    ``video`` leaves out a cover picture, which ``picture`` tells of.
    """

    duration: float | None
    video: str | None
    audio: tuple[str, ...]
    subtitles: tuple[str, ...]
    picture: bool


class Ffmpeg:
    """The program, or None. No file that it writes gets larger than ``max_size`` bytes."""

    def __init__(self, program: Path | None, max_size: int) -> None:
        self._program = program
        self._max_size = max_size

    async def probe(self, path: Path) -> Media | None:
        """What the file is; None where it is no audio or video that is known here."""
        end = await run([self._name(), *_asked(path)], cwd=path.parent)
        lines = end.complaints.splitlines()
        if not any(line.startswith("Input #0, ") for line in lines):
            return None
        return _media(lines)

    async def make(
        self,
        path: Path,
        target: Path,
        options: Sequence[str],
        *,
        before: Sequence[str] = (),
        on_seconds: Callable[[float], None] | None = None,
        copies: int = 1,
    ) -> None:
        """Write ``target`` from ``path``. ``before`` are options of the input, ``copies`` says how
        often it is opened (then ``before`` has one list of as many parts separated by ``|``)."""
        inputs: list[str] = []
        for part in _parts(before, copies):
            inputs += [*part, *_input(path)]

        def line(text: str) -> None:
            key, _, value = text.partition("=")
            if on_seconds is not None and key == "out_time_us" and value.isdigit():
                on_seconds(int(value) / 1_000_000)

        end = await run(
            [
                *(self._name(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"),
                *("-nostats", "-progress", "pipe:1", *inputs, *options, f"file:{target}"),
            ],
            cwd=target.parent,
            file_size=self._max_size,
            on_line=line,
        )
        self._judge(end, path, target)

    def _name(self) -> str:
        if self._program is None:
            raise Unsupported("this step needs ffmpeg, and there is none", hint=HOW_TO_GET_FFMPEG)
        return str(self._program)

    def _judge(self, end: Finished, path: Path, target: Path) -> None:
        if end.status == 0 and target.is_file() and target.stat().st_size > 0:
            return
        if "No space left" in end.complaints:
            raise NoSpace("the disk is full", hint="free some room and retry the task")
        if end.status < 0 or "File too large" in end.complaints:
            raise PolicyRefused(
                f"ffmpeg was stopped at {path.name!r} (signal {-end.status})",
                hint="it wanted more memory, or more room, than a step may have",
            )
        said = [line for line in end.complaints.splitlines() if line.strip()]
        reason = said[-1][:300] if said else "it wrote nothing"
        raise Corrupt(f"ffmpeg can't use {path.name!r}: {reason}")


def _parts(before: Sequence[str], copies: int) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in before:
        if word == "|":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts if len(parts) == copies else parts * copies


def _input(path: Path) -> list[str]:
    return [
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS),
        *("-i", f"file:{path}"),
    ]


def _asked(path: Path) -> list[str]:
    return ["-nostdin", "-hide_banner", *_input(path)]


def _media(lines: Sequence[str]) -> Media:
    duration: float | None = None
    video: str | None = None
    audio: list[str] = []
    subtitles: list[str] = []
    picture = False
    for line in lines:
        if match := _DURATION.fullmatch(line):
            hours, minutes, seconds = match.groups()
            duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        elif match := _STREAM.fullmatch(line):
            kind, codec, rest = match.groups()
            if kind == "Audio":
                audio.append(codec)
            elif kind == "Subtitle":
                subtitles.append(codec)
            elif "(attached pic)" in rest:
                picture = True
            else:
                video = video or codec
    return Media(duration or None, video, tuple(audio), tuple(subtitles), picture)

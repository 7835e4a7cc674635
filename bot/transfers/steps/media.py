"""Steps for audio and video: convert, screenshots, sample, thumbnail, preset."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bot.domain.ports import StepJob
from bot.domain.task import FileEntry, Progress
from bot.errors import Corrupt, InvalidInput, Unsupported
from bot.transfers.steps.ffmpeg import Ffmpeg, Media
from bot.transfers.steps.files import Output, Stop, discard, in_thread, source_path
from bot.transfers.steps.params import Params
from bot.transfers.steps.presets import (
    AUDIO_FORMATS,
    PRESETS,
    VIDEO_FORMATS,
    audio_options,
    video_options,
)

#: A converted file may end this much earlier than its source before it counts as broken off.
_SHORTER = 0.95
_FEW_SECONDS = 1.0
_PICTURE = ("-frames:v", "1", "-an", "-sn", "-q:v", "2", "-update", "1", "-pix_fmt", "yuvj420p")


@dataclass(slots=True)
class _Turn:
    """One input file under way. ``scratch`` is a directory for what is not finished."""

    entry: FileEntry
    source: Path
    media: Media
    params: dict[str, Any]
    output: Output
    scratch: Path
    on_share: Callable[[float], None]

    @property
    def stem(self) -> str:
        """The relative path without its extension."""
        folder, slash, name = self.entry.path.rpartition("/")
        stem = name.rpartition(".")[0] or name
        return f"{folder}{slash}{stem}"

    @property
    def seconds(self) -> float:
        """How long it plays; Corrupt where the file does not say."""
        if self.media.duration is None:
            raise Corrupt(f"{self.entry.path!r} does not say how long it is")
        return self.media.duration

    async def keep(self, made: Path, path: str) -> None:
        """Move what is finished to its place in the output."""
        await in_thread(lambda _: made.rename(self.output.place_for(path)))


class MediaStep(ABC):
    """Base of the steps: goes over the files, hands on those that are not its business."""

    name: ClassVar[str]
    wants: ClassVar[str] = "a video"

    def __init__(self, ffmpeg: Ffmpeg) -> None:
        self._ffmpeg = ffmpeg

    @abstractmethod
    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """As much again: what is made is rarely larger than its source."""
        return size

    @abstractmethod
    def suits(self, media: Media, params: Mapping[str, Any]) -> bool:
        """Whether the step has something to do with a file."""

    @abstractmethod
    async def work(self, turn: _Turn) -> None:
        """Make what the step makes of one file."""

    def keeps(self, params: Mapping[str, Any]) -> bool:
        """Whether the source stays beside what is made of it."""
        return True

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Go over the files. Raises Unsupported where none suits, Corrupt, PolicyRefused."""
        output = Output(job.output)
        scratch = job.output / f".{secrets.token_hex(16)}"
        scratch.mkdir(mode=0o700)
        total, done, worked = sum(file.size for file in job.files), 0, 0
        try:
            for entry in job.files:
                source = source_path(job.directory, entry)
                media = await self._ffmpeg.probe(source)
                suits = media is not None and self.suits(media, job.params)
                if not suits or self.keeps(job.params):
                    await in_thread(_passing(output, job.directory, entry))
                if media is not None and suits:
                    worked += 1
                    share = _shares(job, done, entry.size, total)
                    await self.work(_Turn(entry, source, media, job.params, output, scratch, share))
                done += entry.size
                job.report(Progress(done=done, total=total, is_estimate=True))
        finally:
            await in_thread(lambda _: discard(scratch))
        if not worked:
            raise Unsupported(
                f"{self.name}: none of {len(job.files)} files is {self.wants}",
                hint="leave the step out, or choose other files",
            )
        return await in_thread(output.entries)

    async def _converted(self, turn: _Turn, extension: str, options: list[str]) -> None:
        """Convert a whole file, and see that the result plays as long."""
        made = turn.scratch / f"made.{extension}"
        length = turn.media.duration

        def on_seconds(seconds: float) -> None:
            if length:
                turn.on_share(seconds / length)

        await self._ffmpeg.make(turn.source, made, options, on_seconds=on_seconds)
        result = await self._ffmpeg.probe(made)
        reached = result.duration if result is not None else None
        if length and (reached or 0.0) < length * _SHORTER - _FEW_SECONDS:
            raise Corrupt(
                f"{turn.entry.path!r} breaks off: {reached or 0:.1f} of {length:.1f} seconds could "
                "be converted"
            )
        await turn.keep(made, f"{turn.stem}.{extension}")


def _passing(output: Output, directory: Path, entry: FileEntry) -> Callable[[Stop], None]:
    return lambda stop: output.pass_on(directory, entry, stop)


def _shares(job: StepJob, done: int, size: int, total: int) -> Callable[[float], None]:
    """Reports a share (0 to 1) of one file as bytes of all."""

    def report(share: float) -> None:
        part = int(size * min(1.0, max(0.0, share)))
        job.report(Progress(done=done + part, total=total, is_estimate=True))

    return report


class Convert(MediaStep):
    """The step ``convert``: ``video`` is the format that videos become, ``audio`` that of files
    with sound alone; ``keep`` leaves the sources beside them. At least one is given."""

    name = "convert"
    wants = "of the kind that was given a format"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self.name, params, ("audio", "video", "keep"))
        canonical: dict[str, Any] = {"keep": given.flag("keep", False)}
        for name, formats in (("audio", AUDIO_FORMATS), ("video", VIDEO_FORMATS)):
            if params.get(name) is not None:
                canonical[name] = given.choice(name, None, formats)
        if len(canonical) == 1:
            raise InvalidInput(
                "convert needs audio or video",
                hint=f"audio is one of {', '.join(AUDIO_FORMATS)}; video of "
                f"{', '.join(VIDEO_FORMATS)}",
            )
        return canonical

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """Lossless sound takes up to ten times its source, anything else about the same."""
        grown = 10 if params.get("audio") in {"wav", "flac"} else 1
        return size * (grown + (1 if params.get("keep") else 0))

    def suits(self, media: Media, params: Mapping[str, Any]) -> bool:
        """Videos where a video format is given, sound alone where an audio format is."""
        if media.video is not None:
            return "video" in params
        return bool(media.audio) and "audio" in params

    def keeps(self, params: Mapping[str, Any]) -> bool:
        """As the parameter says."""
        return bool(params["keep"])

    async def work(self, turn: _Turn) -> None:
        """Convert."""
        if turn.media.video is not None:
            form = turn.params["video"]
            options = video_options(form, turn.media)
        else:
            form = turn.params["audio"]
            options = audio_options(form, turn.media)
        await self._converted(turn, form, options)


class UsePreset(MediaStep):
    """The step ``preset``: ``name`` is one of the table; ``keep`` leaves the sources."""

    name = "preset"
    wants = "of the kind that the preset is for"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self.name, params, ("name", "keep"))
        return {"name": given.choice("name", None, PRESETS), "keep": given.flag("keep", False)}

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """About the same again, and the sources where they stay."""
        return size * (2 if params.get("keep") else 1)

    def suits(self, media: Media, params: Mapping[str, Any]) -> bool:
        """Videos for a video preset, anything with sound for an audio preset."""
        preset = PRESETS[params["name"]]
        return media.video is not None if preset.kind == "video" else bool(media.audio)

    def keeps(self, params: Mapping[str, Any]) -> bool:
        """As the parameter says."""
        return bool(params["keep"])

    async def work(self, turn: _Turn) -> None:
        """Convert."""
        preset = PRESETS[turn.params["name"]]
        await self._converted(turn, preset.extension, list(preset.options))


class Screenshots(MediaStep):
    """The step ``screenshots``: ``count`` pictures (1 to 50) from evenly over the video."""

    name = "screenshots"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        return {"count": Params(self.name, params, ("count",)).number("count", 4, 1, 50)}

    def suits(self, media: Media, params: Mapping[str, Any]) -> bool:
        """Videos."""
        return media.video is not None

    async def work(self, turn: _Turn) -> None:
        """Take the pictures."""
        count = turn.params["count"]
        for number in range(count):
            at = turn.seconds * (number + 0.5) / count
            made = turn.scratch / "shot.jpg"
            options = ["-map", "0:v:0", *_PICTURE]
            await self._ffmpeg.make(turn.source, made, options, before=["-ss", f"{at:.3f}"])
            await turn.keep(made, f"{turn.stem}.screenshots/{number + 1:02}.jpg")
            turn.on_share((number + 1) / count)


class Thumbnail(MediaStep):
    """The step ``thumbnail``: a picture of ``width`` pixels from second ``at`` (a tenth of the way
    where that is not given) of a video, or the cover of an audio file."""

    name = "thumbnail"
    wants = "a video, or sound with a cover"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self.name, params, ("at", "width"))
        return {"at": given.seconds("at", None), "width": given.number("width", 320, 16, 4096)}

    def suits(self, media: Media, params: Mapping[str, Any]) -> bool:
        """Videos, and files with a cover."""
        return media.video is not None or media.picture

    async def work(self, turn: _Turn) -> None:
        """Take the picture."""
        made = turn.scratch / "thumb.jpg"
        before: list[str] = []
        if turn.media.video is not None:
            at = turn.params["at"]
            length = turn.media.duration or 0.0
            at = length / 10 if at is None or at >= length else at
            before = ["-ss", f"{at:.3f}"]
        scale = f"scale={turn.params['width']}:-2"
        options = ["-map", "0:v:0", "-vf", scale, *_PICTURE]
        await self._ffmpeg.make(turn.source, made, options, before=before)
        await turn.keep(made, f"{turn.stem}.thumb.jpg")


class Sample(MediaStep):
    """The step ``sample``: ``duration`` seconds made of pieces of ``part`` seconds each, from
    evenly over the video."""

    name = "sample"

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in canonical form. Raises InvalidInput."""
        given = Params(self.name, params, ("duration", "part"))
        duration, part = given.number("duration", 60, 1, 600), given.number("part", 4, 1, 60)
        if part > duration or duration > 60 * part:
            raise InvalidInput(
                f"sample: parts of {part} seconds don't make {duration}",
                hint="1 to 60 parts: duration is from part to 60 times part",
            )
        return {"duration": duration, "part": part}

    def suits(self, media: Media, params: Mapping[str, Any]) -> bool:
        """Videos."""
        return media.video is not None

    async def work(self, turn: _Turn) -> None:
        """Cut the pieces and put them together."""
        wished, part = turn.params["duration"], float(turn.params["part"])
        if turn.seconds <= wished:
            count, part = 1, turn.seconds
        else:
            count = max(1, int(wished // part))
        gap = (turn.seconds - part) / max(1, count - 1)
        before: list[str] = []
        for number in range(count):
            before += ["|"] if number else []
            before += ["-ss", f"{number * gap:.3f}", "-t", f"{part:.3f}"]
        sound = bool(turn.media.audio)
        streams = "".join(f"[{n}:v:0]" + (f"[{n}:a:0]" if sound else "") for n in range(count))
        graph = f"{streams}concat=n={count}:v=1:a={int(sound)}[v]" + ("[a]" if sound else "")
        graph += ";[v]scale=trunc(iw/2)*2:trunc(ih/2)*2[out]"
        options = ["-filter_complex", graph, "-map", "[out]", *(("-map", "[a]") if sound else ())]
        options += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"]
        options += ["-c:a", "aac", "-movflags", "+faststart"]
        made = turn.scratch / "sample.mp4"
        length = count * part
        await self._ffmpeg.make(
            turn.source,
            made,
            options,
            before=before,
            copies=count,
            on_seconds=lambda seconds: turn.on_share(seconds / length),
        )
        await turn.keep(made, f"{turn.stem}.sample.mp4")

"""What ffmpeg is told, by name: no option of a user ever reaches it."""

from __future__ import annotations

from dataclasses import dataclass

from bot.transfers.steps.ffmpeg import TEXT_SUBTITLES, Media

_X264 = ("libx264", "-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p")
_X265 = ("libx265", "-preset", "fast", "-crf", "26", "-pix_fmt", "yuv420p", "-tag:v", "hvc1")
_VP9 = ("libvpx-vp9", "-crf", "32", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4")
_AAC = ("aac", "-b:a", "160k")
_OPUS = ("libopus", "-b:a", "128k")
#: Even numbers of pixels, as the encoders ask for.
_EVEN = ("-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2")


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """A container: which codecs it takes as they are, and what others become.

    ``subtitles`` is the codec of text subtitles, ``copy`` for any kind, None for none.
    """

    video: frozenset[str]
    audio: frozenset[str]
    video_codec: tuple[str, ...]
    audio_codec: tuple[str, ...]
    subtitles: str | None
    extra: tuple[str, ...] = ()


_MP4 = VideoFormat(
    frozenset({"h264", "hevc", "av1", "mpeg4"}),
    frozenset({"aac", "mp3", "ac3", "eac3"}),
    _X264,
    _AAC,
    "mov_text",
    ("-movflags", "+faststart"),
)
VIDEO_FORMATS: dict[str, VideoFormat] = {
    "mp4": _MP4,
    "mov": _MP4,
    "mkv": VideoFormat(
        _MP4.video | {"vp8", "vp9", "mpeg2video", "vc1", "theora"},
        _MP4.audio | {"opus", "vorbis", "flac", "dts", "truehd"},
        _X264,
        _AAC,
        "copy",
    ),
    "webm": VideoFormat(
        frozenset({"vp8", "vp9", "av1"}), frozenset({"opus", "vorbis"}), _VP9, _OPUS, "webvtt"
    ),
}

#: Audio formats: the codec that is copied as it is, and the encoder with its options.
AUDIO_FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mp3": ("mp3", ("libmp3lame", "-q:a", "2")),
    "m4a": ("aac", ("aac", "-b:a", "192k")),
    "opus": ("opus", ("libopus", "-b:a", "128k")),
    "ogg": ("vorbis", ("libvorbis", "-q:a", "5")),
    "flac": ("flac", ("flac",)),
    "wav": ("pcm_s16le", ("pcm_s16le",)),
}


def video_options(form: str, media: Media) -> list[str]:
    """The options that turn ``media`` into the video format ``form``; streams are copied where the
    container takes them."""
    target = VIDEO_FORMATS[form]
    options = ["-map", "0:v:0", "-map", "0:a?", "-map_metadata", "0"]
    if media.video in target.video:
        options += ["-c:v", "copy"]
        if media.video == "hevc" and form in {"mp4", "mov"}:
            options += ["-tag:v", "hvc1"]
    else:
        options += ["-c:v", *target.video_codec, *_EVEN]
    copied = set(media.audio) <= target.audio
    options += ["-c:a", "copy"] if copied else ["-c:a", *target.audio_codec]
    if target.subtitles == "copy" and not set(media.subtitles) & {"mov_text"}:
        options += ["-map", "0:s?", "-c:s", "copy"]
    elif target.subtitles is not None and set(media.subtitles) <= TEXT_SUBTITLES:
        codec = "srt" if target.subtitles == "copy" else target.subtitles
        options += ["-map", "0:s?", "-c:s", codec]
    return [*options, *target.extra]


def audio_options(form: str, media: Media) -> list[str]:
    """The options that turn the sound of ``media`` into the audio format ``form``."""
    copied, encoder = AUDIO_FORMATS[form]
    codec = ("copy",) if media.audio[:1] == (copied,) else encoder
    return ["-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "0", "-c:a", *codec]


@dataclass(frozen=True, slots=True)
class Preset:
    """A named treatment. ``kind`` is what it applies to: video, or audio (also that of a video)."""

    kind: str
    extension: str
    options: tuple[str, ...]
    meaning: str


def _video(height: int | None, codec: tuple[str, ...], meaning: str) -> Preset:
    scale = _EVEN if height is None else ("-vf", f"scale=-2:'min({height},trunc(ih/2)*2)'")
    options = (
        *("-map", "0:v:0", "-map", "0:a?", "-map_metadata", "0"),
        *("-c:v", *codec, *scale, "-c:a", *_AAC, "-movflags", "+faststart"),
    )
    return Preset("video", "mp4", options, meaning)


def _audio(extension: str, *codec: str, meaning: str) -> Preset:
    options = ("-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "0", "-c:a", *codec)
    return Preset("audio", extension, options, meaning)


PRESETS: dict[str, Preset] = {
    "h264": _video(None, _X264, "H.264 at the same size"),
    "h264-1080p": _video(1080, _X264, "H.264, at most 1080 lines"),
    "h264-720p": _video(720, _X264, "H.264, at most 720 lines"),
    "h264-480p": _video(480, _X264, "H.264, at most 480 lines"),
    "h265": _video(None, _X265, "H.265 at the same size"),
    "h265-1080p": _video(1080, _X265, "H.265, at most 1080 lines"),
    "h265-720p": _video(720, _X265, "H.265, at most 720 lines"),
    "mp3-128k": _audio("mp3", "libmp3lame", "-b:a", "128k", meaning="MP3 at 128 kbit/s"),
    "mp3-320k": _audio("mp3", "libmp3lame", "-b:a", "320k", meaning="MP3 at 320 kbit/s"),
    "opus-96k": _audio("opus", "libopus", "-b:a", "96k", meaning="Opus at 96 kbit/s"),
    "voice": _audio(
        "opus", "libopus", "-b:a", "32k", "-ac", "1", meaning="Opus at 32 kbit/s, mono, for speech"
    ),
    "loudness": _audio(
        *("m4a", "aac", "-b:a", "192k", "-af", "loudnorm=I=-16:TP=-1.5:LRA=11"),
        meaning="AAC, loudness as in EBU R 128 at -16 LUFS",
    ),
}

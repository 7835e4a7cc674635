"""From the wishes of a submission to yt-dlp's parameters: an allow-list, every value typed.

Nothing here is handed on as it came: what could name a program, a path, a template or a proxy has
no place in the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.domain.task import TaskOptions
from bot.errors import InvalidInput

_HEADERS = frozenset({"user-agent", "referer", "origin", "accept-language"})
_AUDIO = ("best", "mp3", "m4a", "aac", "opus", "vorbis", "flac", "wav", "alac")
_CONTAINERS = ("mp4", "mkv", "webm", "mov", "avi", "flv")
_SUBTITLES = ("best", "srt", "vtt", "ass")
_LANGUAGE = re.compile(r"all|[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}")
_ITEMS = re.compile(r"\d{1,6}(-\d{0,6})?(,\d{1,6}(-\d{0,6})?)*")
_FORMAT = re.compile(r"[A-Za-z0-9_\-+/*.()\[\]<>=!^$~?&:|%' ]{1,300}")
_SORT = re.compile(r"[+]?[a-z_]{1,20}([:~][A-Za-z0-9_.]{1,20})?")
_HEIGHT = re.compile(r"(\d{3,4})p?")


@dataclass(frozen=True, slots=True)
class _Option:
    """``allowed`` is words for people; ``check`` gives the value in canonical form or None."""

    allowed: str
    check: Callable[[Any], Any]


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _one_of(*names: str) -> _Option:
    return _Option("one of " + ", ".join(names), lambda v: v if v in names else None)


def _number(low: int, high: int) -> _Option:
    def check(value: Any) -> int | None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole and low <= value <= high else None

    return _Option(f"a whole number from {low} to {high}", check)


def _text(pattern: re.Pattern[str], allowed: str) -> _Option:
    def check(value: Any) -> str | None:
        return value if isinstance(value, str) and pattern.fullmatch(value) else None

    return _Option(allowed, check)


def _list_of(pattern: re.Pattern[str], allowed: str) -> _Option:
    def check(value: Any) -> list[str] | None:
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list) or not 0 < len(words) <= 20:
            return None
        fine = all(isinstance(word, str) and pattern.fullmatch(word) for word in words)
        return list(words) if fine else None

    return _Option(allowed, check)


_FLAG = _Option("true or false", _flag)
_OPTIONS: dict[str, _Option] = {
    "subtitles": _list_of(_LANGUAGE, "a list of languages, such as en, pt-BR, or all"),
    "auto_subtitles": _FLAG,
    "subtitle_format": _one_of(*_SUBTITLES),
    "embed_subtitles": _FLAG,
    "write_thumbnail": _FLAG,
    "embed_thumbnail": _FLAG,
    "embed_chapters": _FLAG,
    "embed_metadata": _FLAG,
    "container": _one_of(*_CONTAINERS),
    "audio_format": _one_of(*_AUDIO),
    "audio_quality": _number(0, 320),
    "items": _text(_ITEMS, "numbers and ranges, such as 1,3-5"),
    "rate_limit": _number(1024, 1 << 40),
    "fragments": _number(1, 16),
    "geo_country": _text(re.compile(r"[A-Z]{2}"), "two capital letters"),
    "format_sort": _list_of(_SORT, "a list of yt-dlp's sort fields, such as res:1080"),
}


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the engine in canonical form; InvalidInput with what is allowed."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        option = _OPTIONS.get(name)
        if option is None:
            raise InvalidInput(
                f"yt-dlp's option {name[:40]!r} is not allowed here",
                hint=f"allowed are {', '.join(sorted(_OPTIONS))}",
            )
        result[name] = option.check(value)
        if result[name] is None:
            raise InvalidInput(
                f"the option {name} can't be {repr(value)[:80]}", hint=f"it is {option.allowed}"
            )
    return result


def parameters(
    options: TaskOptions, *, default_format: str, max_items: int, has_ffmpeg: bool
) -> dict[str, Any]:
    """yt-dlp's parameters (JSON types) for these wishes. InvalidInput with what is allowed."""
    own = checked(options.engine_options)
    audio = own.get("audio_format") or ("mp3" if options.quality == "mp3" else None)
    if options.quality in {"audio", "mp3"} and audio is None:
        audio = "best"
    fragments = own.get("fragments") or (min(16, max(1, options.segments or 4)))
    made: dict[str, Any] = {
        "format": _format(options.quality, default_format, audio is not None, has_ffmpeg),
        "noplaylist": not options.playlist,
        "playlist_items": _items(options, own.get("items"), max_items),
        "concurrent_fragment_downloads": fragments,
        "http_headers": _headers(options.headers),
        "username": options.username,
        "password": options.password,
        "geo_bypass_country": own.get("geo_country"),
        "format_sort": own.get("format_sort"),
        "merge_output_format": own.get("container"),
        "writethumbnail": own.get("write_thumbnail", False) or own.get("embed_thumbnail", False),
        **_subtitles(own),
    }
    made["postprocessors"] = _postprocessors(own, audio) if has_ffmpeg else []
    return {name: value for name, value in made.items() if value is not None}


def _format(quality: str | None, default: str, audio: bool, has_ffmpeg: bool) -> str:
    if audio:
        return "ba/b"
    height = _HEIGHT.fullmatch(quality or "")
    if height:
        most = f"[height<={height[1]}]"
        return f"bv*{most}+ba/b{most}/wv*+ba/w" if has_ffmpeg else f"b{most}/w"
    if quality is None or quality == "best":
        wanted = default if quality is None else "bv*+ba/b"
        # Without ffmpeg nothing can be merged.
        return wanted if has_ffmpeg else "b/bv*/ba"
    if not _FORMAT.fullmatch(quality):
        raise InvalidInput(
            f"the quality {quality[:60]!r} is not known",
            hint="best, 1080p (or another height), audio, mp3 or a format expression of yt-dlp "
            "without commas",
        )
    return quality


def _items(options: TaskOptions, items: str | None, most: int) -> str:
    """Which entries of a playlist. Of a link that should be one video two are looked at, which is
    enough to see that it is not."""
    if options.select is not None:
        if items is not None:
            raise InvalidInput("a selection and the option items exclude each other")
        if any(index < 0 for index in options.select) or len(options.select) > most:
            raise InvalidInput(
                f"the selection has {len(options.select)} items, or a negative one",
                hint=f"at most {most} items are taken of a playlist (YTDLP_MAX_ITEMS)",
            )
        return ",".join(str(index + 1) for index in sorted(set(options.select))) or "0"
    if items is None:
        return f"1:{most}" if options.playlist else "1:2"
    parts: list[str] = []
    count = 0
    for part in items.split(","):
        first, dash, last = part.partition("-")
        begin = int(first)
        end = int(last) if last else (begin + most - 1 if dash else begin)
        count += max(0, end - begin + 1)
        parts.append(f"{begin}:{end}")
    if count > most:
        raise InvalidInput(
            f"the option items names {count} items",
            hint=f"at most {most} are taken of a playlist (YTDLP_MAX_ITEMS)",
        )
    return ",".join(parts)


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() not in _HEADERS:
            raise InvalidInput(
                f"the header {name[:40]!r} can't be sent to a video page",
                hint=f"allowed are {', '.join(sorted(_HEADERS))}; credentials go into username and "
                "password, cookies into YTDLP_COOKIES",
            )
        if any(ord(char) < 32 or ord(char) == 127 for char in value):
            raise InvalidInput(f"the header {name} holds a control character")
    return dict(headers)


def _subtitles(own: Mapping[str, Any]) -> dict[str, Any]:
    if not own.get("subtitles"):
        return {}
    wanted = own.get("subtitle_format", "best")
    return {
        "writesubtitles": True,
        "writeautomaticsub": own.get("auto_subtitles", False),
        "subtitleslangs": own["subtitles"],
        "subtitlesformat": wanted if wanted == "best" else f"{wanted}/best",
    }


def _postprocessors(own: Mapping[str, Any], audio: str | None) -> list[dict[str, Any]]:
    chain: list[dict[str, Any]] = []
    if audio is not None:
        quality = str(own.get("audio_quality", 5))
        extract = {"key": "FFmpegExtractAudio", "preferredcodec": audio}
        chain.append({**extract, "preferredquality": quality})
    if own.get("embed_subtitles") and own.get("subtitles"):
        chain.append({"key": "FFmpegEmbedSubtitle", "already_have_subtitle": False})
    if own.get("embed_metadata") or own.get("embed_chapters"):
        chain.append(
            {
                "key": "FFmpegMetadata",
                "add_metadata": own.get("embed_metadata", False),
                "add_chapters": own.get("embed_chapters", False),
                "add_infojson": False,
            }
        )
    if own.get("embed_thumbnail"):
        keep = own.get("write_thumbnail", False)
        chain.append({"key": "EmbedThumbnail", "already_have_thumbnail": keep})
    return chain

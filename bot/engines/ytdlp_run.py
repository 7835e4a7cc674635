"""Drives yt-dlp in its own process: looks at a link, or downloads from it.

Only the child imports this. The request comes from our own engine; everything that yt-dlp reports
about a page is hostile and is checked again by the service.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

from bot.engines.ytdlp_errors import OF_ONE_ITEM, describe
from bot.engines.ytdlp_fragments import keep_lengths, mend
from bot.engines.ytdlp_guard import Guard
from bot.engines.ytdlp_progress import Log, Pace, Progress, Send

_NATIVE = frozenset(
    {
        *("http", "https", "m3u8", "m3u8_native", "ism", "f4m"),
        *("http_dash_segments", "http_dash_segments_generator"),
    }
)
_TEMPLATE = "%(playlist_index|0)s-%(extractor_key).20B-%(id).60B-%(format_id).40B.%(ext)s"
#: What may lie beside a video: its subtitles and its picture.
_BESIDE = re.compile(r"\.(vtt|srt|ass|ssa|ttml|lrc|json3|srv[123]|jpe?g|png|webp)$")


class Stop(Exception):
    """The job can't go on; ``failure`` is what ``describe`` gives."""

    def __init__(self, failure: dict[str, str]) -> None:
        super().__init__(failure["message"])
        self.failure = failure


def _stop(code: str, message: str, hint: str | None = None) -> Stop:
    return Stop({"code": code, "message": message, **({"hint": hint} if hint else {})})


def build(request: dict[str, Any], guard: Guard, send: Send, pace: Pace) -> Any:
    """A YoutubeDL for the request, with the hooks. Imports yt-dlp, which must be guarded."""
    from yt_dlp.YoutubeDL import YoutubeDL

    playlist = not request["params"]["noplaylist"]
    skipped: list[dict[str, str]] = []

    class Watched(YoutubeDL):  # type: ignore[misc]
        """Sorts failures of playlist items into those that end the job and those that do not."""

        def trouble(
            self, message: str | None = None, tb: str | None = None, is_error: bool = True
        ) -> None:
            error = sys.exc_info()[1]
            if is_error and self.params.get("ignoreerrors"):
                if isinstance(error, Stop):
                    raise error
                cause = error if error is not None else RuntimeError(message or "failed")
                failure = describe(cause, guard.addresses, guard.actions)
                skipped.append(failure)
                if failure["code"] not in OF_ONE_ITEM:
                    raise Stop(failure)
            super().trouble(message, tb, is_error)

    params = {**_fixed(request, send), **request["params"]}
    params["ignoreerrors"] = playlist
    ydl = Watched(params)
    ydl.skipped = skipped
    progress = Progress(send, pace)
    ydl.add_progress_hook(progress.hook)
    ydl.add_postprocessor_hook(lambda state: send({"phase": str(state.get("status"))}))
    ydl.add_post_processor(_gate(request, progress), when="before_dl")
    return ydl


def _fixed(request: dict[str, Any], send: Send) -> dict[str, Any]:
    """The parameters that no request changes."""
    directory = request.get("directory")
    return {
        "logger": Log(send),
        "color": "never",
        "cachedir": False,
        "proxy": "",
        "outtmpl": {"default": _TEMPLATE},
        "paths": {"home": directory} if directory else {},
        "restrictfilenames": True,
        "windowsfilenames": True,
        "overwrites": False,
        "continuedl": True,
        "updatetime": False,
        "skip_unavailable_fragments": False,
        "retries": 2,
        "fragment_retries": 3,
        "extractor_retries": 1,
        "file_access_retries": 0,
        # Blocks that grow would make a limit come in bursts.
        "buffersize": 256 * 1024,
        "noresizebuffer": True,
        "socket_timeout": request["socket_timeout"],
        "hls_prefer_native": True,
        "external_downloader": {"default": "native"},
        "js_runtimes": {},
        "remote_components": [],
        "ffmpeg_location": request.get("ffmpeg") or "/nonexistent/ffmpeg",
        "cookiefile": io.StringIO(request["cookies"]) if request.get("cookies") else None,
        "enable_file_urls": False,
        "allow_unplayable_formats": False,
        "usenetrc": False,
        "live_from_start": False,
        "compat_opts": set(),
    }


def _gate(request: dict[str, Any], progress: Progress) -> Any:
    """Looks at each item before its first byte."""
    from yt_dlp.postprocessor.common import PostProcessor

    single = request["params"]["noplaylist"]

    class Gate(PostProcessor):  # type: ignore[misc]
        def run(self, info: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
            count = int(info.get("n_entries") or info.get("playlist_count") or 1)
            if single and count > 1:
                raise _is_playlist(int(info.get("playlist_count") or count))
            check_item(info)
            size, certain = size_of(info)
            progress.item(size, certain, count)
            return [], info

    return Gate()


def _is_playlist(count: int | None) -> Stop:
    much = f"of {count} items" if count and count > 2 else "of several items"
    return _stop(
        "unsupported", f"the link is a playlist {much}", "set playlist to take them, or give one"
    )


def check_item(info: dict[str, Any]) -> None:
    """Stop where an item has no end, or comes by a protocol that is not ours."""
    if info.get("is_live") or info.get("live_status") in {"is_live", "is_upcoming"}:
        raise _stop("unsupported", "it is a live stream, which has no end", "mirror its recording")
    for part in info.get("requested_formats") or [info]:
        for protocol in str(part.get("protocol") or "https").split("+"):
            if protocol not in _NATIVE:
                raise _stop(
                    "unsupported", f"the format comes by {protocol[:20]}", "choose another quality"
                )


def size_of(info: dict[str, Any]) -> tuple[int | None, bool]:
    """The bytes of an item as far as the page tells them, and whether that is exact."""
    total, certain = 0, True
    for part in info.get("requested_formats") or [info]:
        size = part.get("filesize") or part.get("filesize_approx")
        if not size:
            return None, False
        certain = certain and bool(part.get("filesize"))
        total += int(size)
    return total, certain


# Looking


def plan(ydl: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Title, size and items of the link."""
    ydl.params["extract_flat"] = "in_playlist"
    info = ydl.extract_info(request["url"], download=False)
    if info is None:
        raise Stop(_worst(ydl.skipped))
    if info.get("_type") in {"playlist", "multi_video"}:
        entries = [entry for entry in info.get("entries") or [] if entry]
        if not ydl.params["noplaylist"]:
            return _plan_of_list(info, entries)
        if len(entries) > 1:
            raise _is_playlist(info.get("playlist_count"))
        if not entries:
            raise _stop("source_not_found", "the page holds no video")
        info = entries[0]
        if info.get("_type") in {"url", "url_transparent"}:
            info = ydl.process_ie_result(info, download=False)
    check_item(info)
    size, certain = size_of(info)
    if size is None:
        size = _ask_sizes(ydl, info)
        certain = size is not None
    return {
        "title": _title(info),
        "ext": str(info.get("ext") or ""),
        "identity": f"{info.get('extractor_key')}:{info.get('id')}:{info.get('format_id')}",
        "size": size,
        "is_estimate": not certain,
        "merged": len(info.get("requested_formats") or ()) > 1,
    }


def _title(info: dict[str, Any]) -> str:
    """The title of an item. yt-dlp numbers the videos in a page, also the only one."""
    title = str(info.get("title") or info.get("id") or "video")
    alone = info.get("extractor_key") == "HTML5MediaEmbed" and not info.get("playlist_index")
    return title.removesuffix(" (1)") if alone else title


def _plan_of_list(info: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = info.get("requested_entries") or range(1, len(entries) + 1)
    return {
        "title": str(info.get("title") or info.get("id") or "playlist"),
        "identity": f"{info.get('extractor_key')}:{info.get('id')}",
        "count": info.get("playlist_count"),
        "entries": [
            {"index": number - 1, "title": str(entry.get("title") or entry.get("id") or number)}
            for number, entry in zip(numbers, entries, strict=False)
        ],
    }


def _ask_sizes(ydl: Any, info: dict[str, Any]) -> int | None:
    """What the servers say of plain files, where the page did not."""
    from yt_dlp.networking import HEADRequest
    from yt_dlp.networking.exceptions import HTTPError

    total = 0
    for part in info.get("requested_formats") or [info]:
        if part.get("protocol") not in {"http", "https"}:
            return None
        try:
            answer = ydl.urlopen(HEADRequest(part["url"], headers=part.get("http_headers") or {}))
        except HTTPError:
            return None
        length = answer.headers.get("Content-Length", "")
        answer.close()
        if not length.isdigit():
            return None
        total += int(length)
    return total


# Downloading


def fetch(ydl: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Download; which files lie in the directory for which item."""
    directory = Path(request["directory"])
    mend(directory)
    keep_lengths()
    _refuse_live_playlists()
    info = ydl.extract_info(request["url"], download=True)
    if info is None:
        raise Stop(_worst(ydl.skipped))
    several = info.get("_type") in {"playlist", "multi_video"}
    entries = [entry for entry in info.get("entries") or [] if entry] if several else [info]
    items = [item for item in (_item(entry, directory) for entry in entries) if item]
    if not items:
        raise Stop(_worst(ydl.skipped))
    return {
        "title": _title(info),
        "playlist": several and not ydl.params["noplaylist"],
        "items": items,
        "skipped": ydl.skipped,
    }


def _refuse_live_playlists() -> None:
    """A playlist that may still grow would be cut off in silence (RFC 8216, 4.3.3.4 and .5)."""
    from yt_dlp.downloader.hls import HlsFD

    can = HlsFD.can_download

    def checking(manifest: str, *others: Any, **named: Any) -> Any:
        ends = "#EXT-X-ENDLIST" in manifest or "#EXT-X-PLAYLIST-TYPE:VOD" in manifest
        if "#EXTINF" in manifest and not ends:
            check_item({"is_live": True})
        return can(manifest, *others, **named)

    HlsFD.can_download = staticmethod(checking)


def _item(info: dict[str, Any], directory: Path) -> dict[str, Any] | None:
    """What an entry left: its main file and those that go with it, by name."""
    downloads = info.get("requested_downloads") or [{}]
    main = Path(str(downloads[0].get("filepath") or "")).name
    if not main or not (directory / main).is_file():
        return None
    base = main.rpartition(".")[0]
    others = [
        name
        for name in sorted(path.name for path in directory.iterdir())
        if name.startswith(f"{base}.") and name != main and _BESIDE.search(name)
    ]
    return {
        "index": int(info.get("playlist_index") or 0),
        "title": _title(info),
        "base": base,
        "main": main,
        "others": others,
    }


def _worst(skipped: list[dict[str, str]]) -> dict[str, str]:
    if skipped:
        return skipped[0]
    return {"code": "source_not_found", "message": "the page holds no video that can be had"}

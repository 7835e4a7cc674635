"""A real, tiny video, and pages around it as video sites have them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.http import HttpServer
from tests.servers.routes import Directory, OnDisk, Page, Resource


@dataclass(frozen=True)
class Media:
    """`video` is an MP4; `playlist` an HLS playlist next to its segments. Two seconds of each."""

    video: Path
    playlist: Path


def make(directory: Path, seconds: int = 2) -> Media:
    """Make the files with the ffmpeg of this environment, unless they are there."""
    media = Media(directory / "video.mp4", directory / "hls" / "index.m3u8")
    if media.video.exists() and media.playlist.exists():
        return media
    media.playlist.parent.mkdir(parents=True, exist_ok=True)
    size = f"duration={seconds}:size=160x120:rate=10"
    _ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc={size}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-c:a", "aac", "-shortest"),
        *("-movflags", "+faststart", str(media.video)),
    )
    _ffmpeg(
        *("-i", str(media.video), "-c", "copy", "-f", "hls", "-hls_time", "1"),
        *("-hls_playlist_type", "vod", str(media.playlist)),
    )
    return media


def ffmpeg() -> str:
    """The ffmpeg of this environment."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _ffmpeg(*arguments: str) -> None:
    command = [ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)


def publish(server: HttpServer, media: Media, prefix: str = "/watch") -> str:
    """Serve a page with a `<video>`, its MP4, and the HLS files; returns the page's URL.

    Under the prefix: the page itself, `/video.mp4`, `/hls/index.m3u8` and, with the playlist in its
    `<video>`, `/live`.
    """
    server.add(f"{prefix}/video.mp4", Resource(OnDisk(media.video), "video/mp4"))
    server.mount(f"{prefix}/hls/", Directory(media.playlist.parent, f"{prefix}/hls/"))
    server.add(f"{prefix}/live", _page(f"{prefix}/hls/index.m3u8", "application/x-mpegURL"))
    return server.add(prefix, _page(f"{prefix}/video.mp4", "video/mp4"))


def _page(source: str, kind: str) -> Page:
    return Page(
        "<!doctype html><html><head><title>A test video</title></head><body>"
        f'<video controls><source src="{source}" type="{kind}"></video></body></html>'
    )

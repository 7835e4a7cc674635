"""Which links are pages of well-known video sites, told from the link alone.

yt-dlp itself knows thousands, but importing it costs the service tens of megabytes; the others are
reached by the prefix ``ytdlp:`` or by naming the engine.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: Before a URL it says that yt-dlp is meant.
PREFIX = "ytdlp:"

#: Host (its subdomains too) to the paths that are pages of it; a file on such a host is a file.
_SITES: dict[str, str] = {
    "youtube.com": r"/(watch|shorts/|playlist|live/|embed/|clip/|channel/|c/|user/|v/|@).*",
    "youtu.be": r"/[\w-]{6,}.*",
    "youtube-nocookie.com": r"/(embed|v|watch).*",
    "music.youtube.com": r"/(watch|playlist).*",
    "vimeo.com": r"/.*\d+.*|/showcase/.*|/ondemand/.*",
    "dailymotion.com": r"/(video|embed/video|playlist)/.*",
    "dai.ly": r"/\w+",
    "twitch.tv": r"/videos/\d+.*|/[\w]+/(clip|v|video)/.*",
    "clips.twitch.tv": r"/[\w-]+",
    "soundcloud.com": r"/[\w-]+/.+",
    "bandcamp.com": r"/(track|album)/.*",
    "mixcloud.com": r"/[^/]+/.+",
    "tiktok.com": r"/(@[^/]+/(video|photo)/.*|t/.*|v/.*|Z\w+/?)",
    "twitter.com": r"/[^/]+/status/\d+.*|/i/(status|spaces|broadcasts)/.*",
    "x.com": r"/[^/]+/status/\d+.*|/i/(status|spaces|broadcasts)/.*",
    "instagram.com": r"/(p|tv|reels?|stories)/.*|/[^/]+/(p|reel)/.*",
    "facebook.com": r"/(watch|reel/|share/[vr]/|[^/]+/videos/|video\.php).*",
    "fb.watch": r"/.+",
    "reddit.com": r"/r/[^/]+/(comments|s)/.*|/user/[^/]+/comments/.*",
    "v.redd.it": r"/\w+/?",
    "bilibili.com": r"/(video|bangumi/play|festival|audio|list)/.*",
    "b23.tv": r"/\w+",
    "nicovideo.jp": r"/(watch|series|mylist)/.*",
    "rumble.com": r"/(v[\w]+-.*|embed/.*)",
    "odysee.com": r"/@.*",
    "bitchute.com": r"/(video|embed)/.*",
    "vk.com": r"/(video|clip|wall).*",
    "vkvideo.ru": r"/(video|clip|playlist).*",
    "ok.ru": r"/(video|live)/.*",
    "rutube.ru": r"/(video|play|shorts)/.*",
    "streamable.com": r"/(e/|o/|s/)?\w+",
    "ted.com": r"/talks/.*",
    "archive.org": r"/(details|embed)/.*",
    "media.ccc.de": r"/v/.*",
    "bbc.co.uk": r"/(iplayer|sounds|programmes)/.*",
    "arte.tv": r"/.*videos/.*",
    "ardmediathek.de": r"/(video|player|live)/.*",
    "zdf.de": r"/(play|video|serien|filme|dokus|reportagen|nachrichten).*",
    "kick.com": r"/[^/]+/(videos|clips)/.*",
    "imgur.com": r"/(a|gallery)/.*",
    "9gag.com": r"/gag/.*",
    "pinterest.com": r"/pin/.*",
    "linkedin.com": r"/(posts|feed|learning)/.*",
    "tumblr.com": r"/.*(post/)?\d{8,}.*",
    "peertube.tv": r"/(w|videos/watch)/.*",
    "nebula.tv": r"/videos/.*",
    "floatplane.com": r"/post/.*",
    "loom.com": r"/(share|embed)/.*",
    "podcasts.apple.com": r"/.*podcast/.*",
}
_FILE = re.compile(
    r"\.(mp4|mkv|webm|mov|avi|mp3|m4a|flac|ogg|wav|zip|rar|7z|tar|gz|xz|bz2|iso|img|exe|apk|pdf"
    r"|jpe?g|png|gif|webp|torrent)$",
    re.IGNORECASE,
)


def page_of_a_site(source: str) -> bool:
    """Whether ``source`` is a page of one of the sites."""
    try:
        parts = urlsplit(source)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or _FILE.search(parts.path):
        return False
    labels = host.split(".")
    for start in range(len(labels) - 1):
        pattern = _SITES.get(".".join(labels[start:]))
        if pattern is not None:
            return re.fullmatch(pattern, parts.path or "/") is not None
    return False


def url_of(source: str) -> str:
    """The URL that ``source`` means, without the prefix."""
    if source[: len(PREFIX)].lower() == PREFIX:
        return source[len(PREFIX) :].strip()
    return source

"""The engines, as the settings want them."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bot.config import Settings
from bot.domain.ports import Engine
from bot.domain.task import TaskOptions
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.engines.http import HttpEngine
from bot.engines.local import LocalEngine
from bot.engines.rclone import RcloneEngine
from bot.engines.registry import Engines
from bot.engines.torrent import TorrentEngine
from bot.engines.ytdlp import YtdlpEngine
from bot.transfers.steps import find_programs

_MAX_TORRENT = 32 * 1024 * 1024  # bytes of a .torrent behind a URL


async def build_engines(settings: Settings, stack: AsyncExitStack) -> Engines:
    """All of them; ``stack`` closes them."""
    policy = EgressPolicy(settings.egress_allow)
    curl = CurlLoop(policy, ca_file=settings.http_ca_file)
    stack.push_async_callback(curl.close)
    programs = find_programs(sevenzip=settings.sevenzip_path, ffmpeg=settings.ffmpeg_path)
    http = HttpEngine(
        curl,
        policy,
        max_connections=settings.http_max_connections,
        connect_timeout=settings.http_connect_timeout,
        stall_timeout=settings.http_stall_timeout,
        max_redirects=settings.http_max_redirects,
        user_agent=settings.http_user_agent,
        known_hosts=settings.sftp_known_hosts,
    )

    async def fetch_torrent(url: str, options: TaskOptions) -> bytes:
        return await http.read(url, options, max_size=_MAX_TORRENT)

    engines: list[Engine] = [
        http,
        TorrentEngine(
            policy,
            settings.data_dir / "torrents",
            fetch_torrent=fetch_torrent,
            port=settings.torrent_port,
            dht=settings.torrent_dht,
            stall_timeout=settings.torrent_stall_timeout,
            max_connections=settings.torrent_max_connections,
            seed_ratio=settings.torrent_seed_ratio,
            seed_time=settings.torrent_seed_time,
        ),
        YtdlpEngine(
            policy,
            format=settings.ytdlp_format,
            cookies=settings.ytdlp_cookies,
            max_items=settings.ytdlp_max_items,
            ffmpeg=programs.ffmpeg,
            stall_timeout=settings.http_stall_timeout,
        ),
        rclone_engine(settings, curl),
        LocalEngine(settings.local_roots),
    ]
    found = Engines(engines)
    stack.push_async_callback(found.close)
    return found


def rclone_engine(settings: Settings, curl: CurlLoop) -> RcloneEngine:
    """The engine for remotes; for what needs no other, too."""
    return RcloneEngine(
        curl,
        settings.data_dir / "rclone",
        config=settings.rclone_config,
        transfers=settings.rclone_transfers,
    )

"""Every setting, declared once: name, type, default, help, secret or not.

The order of the sources, the first that names a setting wins: the environment, ``.env`` in the
working directory, ``config.py`` in the working directory, the default. ``load`` is the only place
of the project that reads the environment. The parser, ``mltb config``, the table in
``docs/settings.md`` and the redaction all read the declarations in ``Settings``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ByteSize, Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot.config_access import AccessSettings
from bot.config_dashboard import DashboardSettings
from bot.config_graphql import GraphqlSettings
from bot.config_operations import OperationsSettings
from bot.config_plugins import PluginSettings
from bot.config_sources import NESTED, Declared, from_config_py, from_dotenv, from_names
from bot.config_types import (
    EgressEntry,
    NestedModel,
    OptionalSize,
    Place,
    Rate,
    Seconds,
    Size,
    shown,
    split_at,
)
from bot.errors import ConfigError

__all__ = ["Loaded", "NestedModel", "Rate", "Settings", "load", "shown"]


class Settings(
    OperationsSettings, PluginSettings, GraphqlSettings, AccessSettings, DashboardSettings
):
    """The effective settings. A field ``data_dir`` is the setting ``DATA_DIR``."""

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    model_config = SettingsConfigDict(
        extra="ignore", env_nested_delimiter=NESTED, frozen=True, validate_default=True
    )

    # Places
    data_dir: Place = Field(
        Path("data"),
        description="Where the service keeps its state: database, tokens, sockets.",
    )
    download_dir: Place = Field(
        Path("downloads"),
        description="Where files go when a submission names no destination.",
    )
    local_roots: Annotated[list[Place], split_at(":")] = Field(
        [],
        description="Directories, colon separated, under which a local destination may lie. "
        "Empty means DOWNLOAD_DIR alone.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="SQLite or PostgreSQL, such as postgresql://user:password@host/name. "
        "Empty means SQLite in DATA_DIR.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey for the cache. Empty means memory."
    )

    # The HTTP surface
    web_host: str = Field("127.0.0.1", description="The address that the service listens on.")
    web_port: int = Field(8000, ge=0, le=65535, description="The port; 0 takes a free one.")

    # The queue
    max_active: int = Field(8, ge=1, le=10_000, description="Tasks that run at the same time.")
    max_active_per_user: int | None = Field(
        None,
        ge=1,
        description="Tasks of one user that run at the same time; empty: no limit.",
    )
    max_queued_per_user: int | None = Field(
        None,
        ge=1,
        description="Unfinished tasks that one user may have; empty: no limit.",
    )
    user_daily_bytes: OptionalSize = Field(
        None,
        description="Bytes that one user may have delivered in 24 hours; empty: no limit.",
    )
    retry_attempts: int = Field(
        5, ge=1, le=100, description="Tries of one stage before its task fails."
    )
    retry_base: Seconds = Field(2.0, description="Seconds before the second try; then doubled.")
    retry_max: Seconds = Field(
        300.0,
        description="The longest wait between two tries, seconds; a server may ask for a longer "
        "one, of up to a day.",
    )

    # Disk and bandwidth
    disk_reserve: Size = Field(
        ByteSize(256 * 1024 * 1024),
        description="Bytes that always stay free on each filesystem.",
    )
    disk_wait: Seconds = Field(
        3600.0,
        description="Seconds that a task waits for room before it fails with the figures.",
    )
    stream_max_size: Size = Field(
        ByteSize(64 * 1024 * 1024),
        description="Up to this size a file that needs no step goes straight to its remote, "
        "without a copy on disk (and starts over when it is interrupted); larger ones do so when "
        "the disk has no room for them.",
    )
    bandwidth_limit: Rate = Field(
        None,
        description="Bytes a second for all transfers together, such as 10M; empty: none.",
    )
    bandwidth_timetable: str = Field(
        "",
        description="Other limits by local time, such as "
        "'Mon-Fri 08:00-18:00 2M; Sat,Sun 00:00-24:00 off'. The first that fits wins.",
    )

    # Egress
    egress_allow: Annotated[list[EgressEntry], split_at(",")] = Field(
        [],
        description="Addresses, CIDRs and hosts, comma separated, that transfers may reach "
        "although they are private, loopback, link-local or otherwise refused.",
    )

    # HTTP, FTP, SFTP
    http_max_connections: int = Field(
        16, ge=1, le=64, description="Connections for one file, where segments pay."
    )
    http_connect_timeout: Seconds = Field(20.0, description="Seconds to connect.")
    http_stall_timeout: Seconds = Field(
        60.0, description="Seconds without a byte after which a connection is given up."
    )
    http_max_redirects: int = Field(10, ge=0, le=50, description="Redirects that are followed.")
    http_user_agent: str = Field("mltb", description="The User-Agent that servers see.")
    http_ca_file: Place | None = Field(
        None, description="PEM file of more certificate authorities to trust."
    )
    sftp_known_hosts: Place | None = Field(
        None,
        description="OpenSSH known_hosts file; an SFTP host that is not in it is refused.",
    )

    # Torrents
    torrent_port: int = Field(0, ge=0, le=65535, description="Port for peers; 0 takes a free one.")
    torrent_dht: bool = Field(True, description="Find peers through the DHT.")
    torrent_stall_timeout: Seconds = Field(
        600.0,
        description="Seconds without metadata or a piece after which a torrent fails.",
    )
    torrent_seed_ratio: float = Field(
        0.0,
        ge=0,
        description="Seed until this ratio unless a submission says otherwise; 0: never.",
    )
    torrent_seed_time: Seconds = Field(0.0, description="Seed at most for these seconds; 0: never.")
    torrent_max_connections: int = Field(200, ge=2, description="Peers over all torrents.")

    # Video pages
    ytdlp_format: str = Field("bv*+ba/b", description="Format that yt-dlp picks by default.")
    ytdlp_cookies: Place | None = Field(None, description="Netscape cookie file for yt-dlp.")
    ytdlp_max_items: int = Field(200, ge=1, description="Items that are taken of a playlist.")

    # Cloud remotes
    rclone_config: Place | None = Field(
        None,
        description="rclone.conf with the remotes. Empty means rclone's usual places.",
    )
    rclone_transfers: int = Field(4, ge=1, le=64, description="Files that rclone moves at once.")

    # Steps
    archive_max_size: Size = Field(
        ByteSize(200 * 1024**3), description="Bytes that an archive may unpack to."
    )
    archive_max_files: int = Field(100_000, ge=1, description="Files that an archive may hold.")
    archive_max_ratio: float = Field(
        200.0, ge=1, description="How many times its size an archive may unpack to."
    )
    archive_max_depth: int = Field(3, ge=1, le=10, description="Archives within archives.")
    step_timeout: Seconds = Field(6 * 3600.0, description="Seconds that one step may run.")
    sevenzip_path: Place | None = Field(None, description="7-Zip program; empty: the one found.")
    ffmpeg_path: Place | None = Field(None, description="ffmpeg program; empty: the one found.")

    # Housekeeping
    keep_partial: Seconds = Field(
        7 * 86400.0,
        description="Seconds that the files of a failed task are kept, so that a retry goes on "
        "from them.",
    )
    keep_finished: int = Field(
        1_000_000,
        ge=0,
        description="Finished tasks that are kept; the oldest go first.",
    )

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each setting that was set comes from, by its name in lower case."""
        return self._origins

    @model_validator(mode="after")
    def _roots(self) -> Settings:
        if not self.local_roots:
            object.__setattr__(self, "local_roots", [self.download_dir])
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``load`` hands over: it has merged the sources."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and for each name that was set where it came from."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """``(NAME, value, origin)`` of every setting, ``GROUP__KEY`` for what is in a dictionary,
        secrets redacted."""
        rows = []
        for leaf in Declared(type(self.settings)).leaves():
            group, _, key = leaf.partition(NESTED)
            value = getattr(self.settings, group)
            value = getattr(value, key) if key else value
            rows.append((leaf.upper(), shown(value), self.origins.get(leaf, "default")))
        return rows


def load(
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    kind: type[Settings] = Settings,
) -> Loaded:
    """Read the settings; ConfigError names every wrong name and value at once.

    ``directory`` is where ``.env`` and ``config.py`` are looked for (the working directory);
    ``overrides`` (by field name) come before everything: the options of the command line.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    declared = Declared(kind)
    problems: list[str] = []
    layers = {
        "config.py": from_config_py(directory / "config.py", declared, problems),
        ".env": from_dotenv(directory / ".env", declared, problems),
        "environment": from_names(environ, "environment", declared, problems, strict=False),
        "command line": dict(overrides or {}),
    }
    leaves: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers.items():
        leaves |= layer
        origins |= dict.fromkeys(layer, origin)
    settings = None
    try:
        settings = kind(**declared.nested(leaves))
    except ValidationError as error:
        problems += [declared.wrong(item, origins) for item in error.errors(include_url=False)]
    if problems or settings is None:
        raise ConfigError("the settings can't be used:\n  " + "\n  ".join(problems))
    settings._origins = origins
    return Loaded(settings, origins)

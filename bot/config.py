"""Every setting, declared once: name, type, default, help, secret or not.

The order of the sources, the first that names a setting wins: the environment, ``.env`` in the
working directory, ``config.py`` in the working directory, the default. ``load`` is the only place
of the project that reads the environment. The parser, ``mltb config``, the table in
``docs/settings.md`` and the redaction all read the declarations in ``Settings``.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot.errors import ConfigError

NESTED = "__"
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?")
_SECRET_IN_URL = re.compile(r"(?<=://)([^/@:]*):([^/@]*)@")


def _split(separator: str) -> BeforeValidator:
    """Accept a string of values with ``separator`` between them where a list is meant."""

    def split(value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(separator) if part.strip()]
        return value

    return BeforeValidator(split)


def _egress_entry(value: str) -> str:
    """An address, a CIDR or a host (``*.example.org`` for its subdomains), in canonical form."""
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        if _HOST.fullmatch(value) and not re.fullmatch(r"[\d./:]+", value):
            return value.lower().rstrip(".")
    raise ValueError(f"{value!r} is neither an address, a CIDR nor a host name")


def _rate(value: object) -> object:
    """``10M``, ``512K`` and ``1.5 MiB/s`` are bytes a second; ``off`` and empty are no limit."""
    if isinstance(value, str):
        text = value.strip().removesuffix("/s").strip()
        if text.lower() in {"", "off", "none", "0"}:
            return None
        return re.sub(r"(?i)(?<=\d)\s*([kmgt])$", r"\1iB", text)
    return value


Rate = Annotated[ByteSize | None, BeforeValidator(_rate)]
EgressEntry = Annotated[str, AfterValidator(_egress_entry)]
Seconds = Annotated[float, Field(ge=0)]


class Settings(BaseSettings):
    """The effective settings. A field ``data_dir`` is the setting ``DATA_DIR``."""

    model_config = SettingsConfigDict(
        extra="ignore", env_nested_delimiter=NESTED, frozen=True, validate_default=True
    )

    # Places
    data_dir: Path = Field(
        Path("data"),
        description="Where the service keeps its state: database, tokens, sockets.",
    )
    download_dir: Path = Field(
        Path("downloads"),
        description="Where files go when a submission names no destination.",
    )
    local_roots: Annotated[list[Path], _split(":")] = Field(
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
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level of the log lines that are written."
    )

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
    user_daily_bytes: ByteSize | None = Field(
        None,
        description="Bytes that one user may have delivered in 24 hours; empty: no limit.",
    )
    retry_attempts: int = Field(
        5, ge=1, le=100, description="Tries of one stage before its task fails."
    )
    retry_base: Seconds = Field(2.0, description="Seconds before the second try; then doubled.")
    retry_max: Seconds = Field(300.0, description="The longest wait between two tries, seconds.")

    # Disk and bandwidth
    disk_reserve: ByteSize = Field(
        ByteSize(256 * 1024 * 1024),
        description="Bytes that always stay free on each filesystem.",
    )
    disk_wait: Seconds = Field(
        3600.0,
        description="Seconds that a task waits for room before it fails with the figures.",
    )
    stream_max_size: ByteSize = Field(
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
    egress_allow: Annotated[list[EgressEntry], _split(",")] = Field(
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
    http_ca_file: Path | None = Field(
        None, description="PEM file of more certificate authorities to trust."
    )
    sftp_known_hosts: Path | None = Field(
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
    ytdlp_cookies: Path | None = Field(None, description="Netscape cookie file for yt-dlp.")
    ytdlp_max_items: int = Field(200, ge=1, description="Items that are taken of a playlist.")

    # Cloud remotes
    rclone_config: Path | None = Field(
        None,
        description="rclone.conf with the remotes. Empty means rclone's usual places.",
    )
    rclone_transfers: int = Field(4, ge=1, le=64, description="Files that rclone moves at once.")

    # Steps
    archive_max_size: ByteSize = Field(
        ByteSize(200 * 1024**3), description="Bytes that an archive may unpack to."
    )
    archive_max_files: int = Field(100_000, ge=1, description="Files that an archive may hold.")
    archive_max_ratio: float = Field(
        200.0, ge=1, description="How many times its size an archive may unpack to."
    )
    archive_max_depth: int = Field(3, ge=1, le=10, description="Archives within archives.")
    step_timeout: Seconds = Field(6 * 3600.0, description="Seconds that one step may run.")
    sevenzip_path: Path | None = Field(None, description="7-Zip program; empty: the one found.")
    ffmpeg_path: Path | None = Field(None, description="ffmpeg program; empty: the one found.")

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

    @model_validator(mode="after")
    def _absolute(self) -> Settings:
        """Make every place absolute, so that a later change of directory changes nothing."""
        for name in ("data_dir", "download_dir"):
            object.__setattr__(self, name, getattr(self, name).expanduser().absolute())
        roots = [root.expanduser().absolute() for root in self.local_roots]
        object.__setattr__(self, "local_roots", roots or [self.download_dir])
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


class NestedModel(BaseModel):
    """Base of a setting that is a dictionary: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and for each name that was set where it came from."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """``(NAME, value, origin)`` of every setting, secrets redacted."""
        return [
            (
                name.upper(),
                shown(getattr(self.settings, name)),
                self.origins.get(name, "default"),
            )
            for name in type(self.settings).model_fields
        ]


def shown(value: object) -> str:
    """A value as ``mltb config`` prints it; of a secret URL all but the password, else stars."""
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return _SECRET_IN_URL.sub(r"\1:***@", text) if "://" in text else "***"
    if isinstance(value, list):
        return (":" if value and isinstance(value[0], Path) else ",").join(map(str, value))
    return "" if value is None else str(value)


def load(
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read the settings; ConfigError names every wrong name and value at once.

    ``directory`` is where ``.env`` and ``config.py`` are looked for (the working directory);
    ``overrides`` (by field name) come before everything: the options of the command line.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    problems: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    layers = (
        ("config.py", _from_config_py(directory / "config.py", problems)),
        (
            ".env",
            _from_names(_dotenv(directory / ".env"), ".env", problems, strict=True),
        ),
        ("environment", _from_names(environ, "environment", problems, strict=False)),
        ("command line", dict(overrides or {})),
    )
    for origin, layer in layers:
        for name, value in layer.items():
            nested = isinstance(value, dict) and isinstance(values.get(name), dict)
            values[name] = {**values[name], **value} if nested else value
            origins[name] = f"{origins[name]}, {origin}" if nested else origin
    settings = None
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [_wrong(item, origins) for item in error.errors(include_url=False)]
    if problems or settings is None:
        raise ConfigError("the settings can't be used:\n  " + "\n  ".join(problems))
    return Loaded(settings, origins)


def _fields() -> dict[str, type[BaseModel] | None]:
    """Every field name; with its model where it is a dictionary."""
    found: dict[str, type[BaseModel] | None] = {}
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        found[name] = kind if nested else None  # type: ignore[assignment]
    return found


def _dotenv(path: Path) -> dict[str, str]:
    """The names and values of a ``.env`` file; nothing where there is none."""
    if not path.is_file():
        return {}
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}


def _from_names(
    names: Mapping[str, str], origin: str, problems: list[str], *, strict: bool
) -> dict[str, Any]:
    """The settings among ``names``; an unknown one is a problem where ``strict``.

    ``GROUP__KEY`` is always ours when GROUP is a dictionary setting, so a wrong KEY is a problem
    in the environment as well.
    """
    fields = _fields()
    found: dict[str, Any] = {}
    for raw, value in names.items():
        group, _, key = raw.lower().partition(NESTED)
        if not raw.isupper() or group not in fields:
            if strict:
                problems.append(_unknown(raw, origin))
            continue
        model = fields[group]
        if not key:
            if value.strip() or model is None:
                found[group] = _blank(group, value)
        elif model is not None and key in model.model_fields:
            found.setdefault(group, {})[key] = value
        elif model is not None or strict:
            problems.append(_unknown(raw, origin))
    return {name: value for name, value in found.items() if value is not _UNSET}


_UNSET = object()


def _blank(name: str, value: str) -> object:
    """An empty value means the default, as in a compose file that passes every name on."""
    return value if value.strip() else _UNSET


def _from_config_py(path: Path, problems: list[str]) -> dict[str, Any]:
    """The upper-case names of the operator's ``config.py``.

    The dictionary settings are there already, so that ``GROUP["key"] = value`` works. The file is
    code that runs with the rights of the service, so nobody else may be able to write it.
    """
    if not path.is_file():
        return {}
    info = path.stat()
    if info.st_uid not in {0, os.getuid()} or info.st_mode & stat.S_IWOTH:
        problems.append(
            f"{path}: is run as code, but another user can write it; "
            "give it to the user of the service and chmod o-w it"
        )
        return {}
    fields = _fields()
    namespace: dict[str, Any] = {
        name.upper(): {} for name, model in fields.items() if model is not None
    }
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)  # noqa: S102
    except Exception as error:  # noqa: BLE001 - the operator's code may raise anything
        problems.append(f"{path}: {type(error).__name__}: {error}")
        return {}
    found: dict[str, Any] = {}
    for raw, value in namespace.items():
        if not raw.isupper() or raw.startswith("_"):
            continue
        if raw.lower() not in fields:
            problems.append(_unknown(raw, "config.py"))
        elif value != {} or fields[raw.lower()] is None:
            found[raw.lower()] = value
    return found


def _unknown(name: str, origin: str) -> str:
    known = [field.upper() for field in Settings.model_fields]
    for field, model in _fields().items():
        known += [f"{field}{NESTED}{key}".upper() for key in (model.model_fields if model else ())]
    near = difflib.get_close_matches(name.upper(), known, n=1)
    did = f"; did you mean {near[0]}?" if near else "; `mltb config` lists the known names"
    return f"{name} ({origin}): no setting has that name{did}"


def _wrong(item: Any, origins: Mapping[str, str]) -> str:
    """One line about a wrong value: name, origin, value, what is allowed."""
    field = str(item["loc"][0]) if item["loc"] else "settings"
    name = NESTED.join(str(part) for part in item["loc"][:2] if isinstance(part, str)).upper()
    declared = Settings.model_fields.get(field)
    value = item.get("input")
    secret = declared is not None and "SecretStr" in str(declared.annotation)
    given = "***" if secret else repr(value)
    return f"{name} ({origins.get(field, 'default')}): {given} is wrong: {item['msg']}"

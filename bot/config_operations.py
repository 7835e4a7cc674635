"""The settings of what watches over the service: logs, metrics, alerts, backups.

Declared here, read in ``bot/app`` like those in ``config``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ByteSize, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings

from bot.config_types import (
    AnyCase,
    HeaderSecret,
    NestedModel,
    Place,
    Rate,
    Seconds,
    Size,
    WebAddress,
    split_at,
)

_Severity = Literal["critical", "high", "medium", "low"]
_Recipient = Annotated[str, StringConstraints(pattern=r"^age1[0-9a-z]{58}$")]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")]


class AlertRule(NestedModel):
    """A rule of ALERT_RULES; one with the name of a built-in rule changes that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    enabled: bool | None = None
    severity: _Severity | None = None
    title: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    reading: str | None = None
    comparison: Literal["<", "<=", ">", ">=", "==", "!="] | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    clear: Annotated[float, Field(allow_inf_nan=False)] | None = None
    hold: Seconds | None = Field(None, alias="for")
    missing: Literal["keep", "ok", "fire"] | None = None
    event: str | None = None
    keep: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class AlertChannel(NestedModel):
    """A channel of ALERT_CHANNELS."""

    name: _Name
    url: SecretStr
    min_severity: _Severity = "low"
    severities: tuple[_Severity, ...] = ()
    rules: tuple[str, ...] = ()
    resolved: bool = True
    per_minute: Annotated[int, Field(ge=1, le=600)] = 10


class DashboardThresholds(NestedModel):
    """What the dashboard shows at most."""

    max_historical_points: int = Field(
        1000, ge=10, le=10_000, description="Points of a series of the history in one answer."
    )
    data_compression: bool = Field(
        True, description="Compress live messages for clients that can read that."
    )


class OperationsSettings(BaseSettings):
    """The part of ``Settings`` that is about operations."""

    # Logs
    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = Field(
        "info", description="The least level of the log lines that are written."
    )
    log_to_file: bool = Field(
        True,
        description="Keep the log of `mltb serve` in files too, as JSON lines; `mltb logs` reads "
        "them.",
    )
    log_dir: Place | None = Field(
        None, description="Where the files of the log are. Empty means `logs` in DATA_DIR."
    )
    log_max_size: Size = Field(
        ByteSize(10 * 1024**2),
        ge=1024**2,
        description="Bytes after which a new file of the log begins.",
    )
    log_max_age: Seconds = Field(
        86400.0, ge=60, description="Seconds after which a new file of the log begins."
    )
    log_total_size: Size = Field(
        ByteSize(200 * 1024**2),
        ge=2 * 1024**2,
        description="Bytes of all files of the log together; the oldest go first.",
    )

    # Metrics
    enable_advanced_metrics: bool = Field(
        True,
        description="Count by engine, stage, error, route and more for /metrics, and export what "
        "is counted. Without it /metrics shows the stored tasks and the readings alone.",
    )

    metrics_batch_interval: Annotated[float, Field(ge=1, le=3600)] = Field(
        60.0, description="Seconds between two exports of all metrics."
    )
    metrics_batch_size: int = Field(
        500, ge=1, le=10_000, description="Points in one request of an export, at most."
    )
    metrics_buffer_size: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="Points that wait for an endpoint that is down; the oldest make room.",
    )
    external_metrics_url: WebAddress | None = Field(
        None, description="Where metrics are sent as JSON, by POST (http or https)."
    )
    external_metrics_token: HeaderSecret | None = Field(
        None, description="Sent there as bearer token."
    )
    otlp_url: WebAddress | None = Field(
        None,
        description="Where metrics are sent by OTLP over HTTP, such as "
        "http://collector:4318/v1/metrics; needs the extra otlp.",
    )
    otlp_token: HeaderSecret | None = Field(None, description="Sent there as bearer token.")
    datadog_enabled: bool = Field(
        False, description="Send metrics to a DogStatsD agent; needs the extra datadog."
    )
    dogstatsd_host: str = Field("127.0.0.1", description="The host of that agent.")
    dogstatsd_port: int = Field(8125, ge=1, le=65535, description="Its UDP port.")

    # History of metrics
    metrics_sample_interval: int = Field(
        10, ge=1, le=300, description="Seconds between two samples of the history of metrics."
    )
    metrics_retention: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days that the history of metrics is kept, in buckets of a minute and of 15 "
        "minutes; the samples themselves are kept for two.",
    )
    enable_live_metrics: bool = Field(
        True, description="Whether /api/v3/ws/live-metrics and /api/v3/sse/live-metrics are there."
    )
    dashboard_refresh: int = Field(
        5,
        ge=1,
        le=60,
        description="Seconds between two live messages, unless a client chooses others.",
    )
    max_dashboard_connections: int = Field(
        1000, ge=1, description="Clients of the live metrics at the same time."
    )
    dashboard_thresholds: DashboardThresholds = Field(
        DashboardThresholds(), description="What the dashboard shows at most."
    )

    # Profiler
    enable_profiler: bool = Field(
        True, description="Keep figures of how long operations take (about 2 µs a run)."
    )
    profiler_slow_threshold: Seconds = Field(
        1.0, description="Seconds from which on a run of an operation counts as slow."
    )

    # Alerts
    alert_rules: list[AlertRule] = Field(
        [],
        description="Rules, and changes of built-in ones, as a list of dictionaries (JSON in the "
        'environment), such as [{"name": "disk_low", "threshold": 0.1}]; see alerts.md.',
    )
    alert_built_in: bool = Field(True, description="Use the built-in rules (`mltb alerts rules`).")
    alert_channels: list[AlertChannel] = Field(
        [],
        description="Where alerts are told, as a list of dictionaries (JSON in the environment), "
        'such as [{"name": "ops", "url": "json://host/path", "min_severity": "high"}]; the URLs '
        "are those of apprise.",
    )
    alert_interval: Annotated[float, Field(ge=1, le=3600)] = Field(
        10.0, description="Seconds between two looks at the readings."
    )
    alert_group_wait: Seconds = Field(
        5.0,
        description="Seconds from the first alert of a rule to its notification; those that come "
        "meanwhile are told with it.",
    )
    alert_group_interval: Seconds = Field(
        60.0, description="The least seconds between two notifications of one rule."
    )
    alert_retry_for: Seconds = Field(
        86400.0,
        description="Seconds for which a notification is tried before it counts as failed.",
    )
    alert_keep: Seconds = Field(
        30 * 86400.0, description="Seconds that alerts which are over are kept."
    )
    alert_certificates: Annotated[list[Place], split_at(":")] = Field(
        [],
        description="PEM files, colon separated, whose certificates are watched for their end.",
    )

    # Backups
    backup_dir: Place | None = Field(
        None, description="Where backups of the state lie. Empty means backups in DATA_DIR."
    )
    backup_destinations: Annotated[list[str], split_at(",")] = Field(
        [],
        description="Places remote:path, comma separated, that get a copy of each backup.",
    )
    backup_interval: Seconds = Field(
        86400.0, description="Seconds from one backup to the next; 0: only when asked for."
    )
    backup_verify: bool = Field(
        True,
        description="Restore each new backup into a scratch place and open it, right after it was "
        "made (of an encrypted one, where BACKUP_PASSPHRASE or BACKUP_AGE_IDENTITY opens it).",
    )
    backup_keep_last: int = Field(7, ge=1, description="The newest backups that are kept.")
    backup_keep_daily: int = Field(
        7, ge=0, description="Days (UTC) of which the newest backup is kept."
    )
    backup_keep_weekly: int = Field(4, ge=0, description="Weeks of which the newest is kept.")
    backup_keep_monthly: int = Field(6, ge=0, description="Months of which the newest is kept.")
    backup_keep_replaced: int = Field(
        3, ge=1, description="States that a restore replaced which are kept, the newest ones."
    )
    backup_age_recipients: Annotated[list[_Recipient], split_at(",")] = Field(
        [],
        description="age recipients (age1...), comma separated, to whom backups are encrypted.",
    )
    backup_passphrase: SecretStr | None = Field(
        None, description="Backups are encrypted with this; it opens them, too."
    )
    backup_age_identity: Place | None = Field(
        None,
        description="File of age identities (AGE-SECRET-KEY-...) that open encrypted backups.",
    )
    pg_dump_path: Place | None = Field(
        None, description="pg_dump program, for backups of PostgreSQL; empty: the one found."
    )
    pg_restore_path: Place | None = Field(
        None, description="pg_restore program; empty: the one found."
    )

    # Integrity
    integrity_interval: Seconds = Field(
        0.0,
        description="Seconds between two checks of delivered files against their receipts; 0: only "
        "on demand, as a file that was moved on purpose is reported by every check.",
    )
    integrity_batch: int = Field(
        1000,
        ge=1,
        description="Receipts that one check on schedule looks at; the next goes on after them.",
    )
    integrity_rate: Rate = Field(
        ByteSize(64 * 1024 * 1024),
        description="Bytes a second that a check reads, such as 64M; off: no limit.",
    )
    integrity_history: int = Field(
        200, ge=1, description="Checks, and starts of the service, that are remembered."
    )

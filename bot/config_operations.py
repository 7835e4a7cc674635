"""The settings of what watches over the service: logs, metrics, alerts, backups.

Declared here, read in ``bot/app`` like those in ``config``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from bot.config_types import AnyCase, Seconds


class OperationsSettings(BaseSettings):
    """The part of ``Settings`` that is about operations."""

    # Logs
    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = Field(
        "info", description="The least level of the log lines that are written."
    )

    # Metrics
    enable_advanced_metrics: bool = Field(
        True,
        description="Count by engine, stage, error, route and more for /metrics, and export what "
        "is counted. Without it /metrics shows the stored tasks and the readings alone.",
    )

    # Profiler
    enable_profiler: bool = Field(
        True, description="Keep figures of how long operations take (about 2 µs a run)."
    )
    profiler_slow_threshold: Seconds = Field(
        1.0, description="Seconds from which on a run of an operation counts as slow."
    )

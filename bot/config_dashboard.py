"""The settings of the dashboard, under the names that the guide gives them."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class DashboardSettings(BaseSettings):
    """The part of ``Settings`` that is about the dashboard."""

    # Dashboard
    enable_advanced_dashboard: bool = Field(
        True, description="Whether there is a page for browsers, and live metrics for it."
    )

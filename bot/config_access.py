"""The settings of who gets in, and from where, under the names that the guide gives them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from bot.config_types import NestedModel

_Long = Annotated[float, Field(ge=60, allow_inf_nan=False)]


class DashboardSecurity(NestedModel):
    """How browsers are let in."""

    session_idle: _Long = Field(
        86_400.0, description="Seconds without a request after which a session is over."
    )
    session_lifetime: _Long = Field(
        7 * 86_400.0, description="Seconds after which a session is over in any case."
    )


class AccessSettings(BaseSettings):
    """The part of ``Settings`` that is about access."""

    # Access
    dashboard_auth: bool = Field(
        True,
        description="Whether one has to log in; else anybody may look at the page and at what it "
        "shows, and change nothing.",
    )
    dashboard_security: DashboardSecurity = Field(
        DashboardSecurity(), description="How browsers are let in."
    )
    audit_retention: int = Field(
        365, ge=1, le=36_500, description="Days that the record of every write is kept."
    )

"""The settings of who gets in, and from where, under the names that the guide gives them."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from bot.config_types import NestedModel, split_at

_Long = Annotated[float, Field(ge=60, allow_inf_nan=False)]


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is neither an address nor a CIDR") from None


def _origin(value: str) -> str:
    found = urlsplit(value)
    if (
        found.scheme not in {"http", "https"}
        or not found.netloc
        or value.rstrip("/") != (f"{found.scheme}://{found.netloc}")
    ):
        raise ValueError(f"{value!r} is no origin, such as https://example.org")
    return value.rstrip("/").lower()


class DashboardSecurity(NestedModel):
    """How requests are let in."""

    require_https: bool = Field(
        False,
        description="Whether plain HTTP is refused (but /healthz and /readyz); a proxy that ends "
        "HTTPS has to be in TRUSTED_PROXIES.",
    )
    rate_limit: bool = Field(True, description="Whether max_requests_per_second holds.")
    max_requests_per_second: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        100.0,
        description="Requests of one address in the long run, of one network of 64 bits with IPv6; "
        "those of ten seconds may come at once.",
    )

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
        DashboardSecurity(), description="How requests are let in."
    )
    trusted_proxies: Annotated[list[Annotated[str, AfterValidator(_network)]], split_at(",")] = (
        Field(
            [],
            description="Addresses and CIDRs, comma separated, of proxies whose X-Forwarded-For, "
            "-Proto and -Host are believed; of all others they are not looked at.",
        )
    )
    cors_origins: Annotated[list[Annotated[str, AfterValidator(_origin)]], split_at(",")] = Field(
        [],
        description="Origins, comma separated, whose pages may read answers, with a token: such "
        "as https://example.org.",
    )
    audit_retention: int = Field(
        365, ge=1, le=36_500, description="Days that the record of every write is kept."
    )

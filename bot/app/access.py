"""Who gets in, built from the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bot.app.parts import Base
from bot.config import Settings
from bot.domain.ports import Clock
from bot.domain.throttle import Throttle
from bot.services import Audit, Caller, Scope, Sessions, Tokens, Users
from bot.store.access import Access
from bot.web.gate import Rules

_AT_ONCE = 10.0  # seconds whose requests may come together: a page loads many things


@dataclass(frozen=True, slots=True)
class Opened:
    """The services of access."""

    sessions: Sessions
    users: Users
    audit: Audit


@asynccontextmanager
async def opened_access(base: Base, tokens: Tokens) -> AsyncIterator[Opened]:
    """Sessions, users and the record of what they change, which is whole at the end."""
    settings, store = base.settings, Access(base.store.database)
    nobody = Caller("anonymous", Scope.VIEW, via="nobody", looks=True)
    sessions = Sessions(
        store,
        tokens,
        base.clock,
        idle=settings.dashboard_security.session_idle,
        lifetime=settings.dashboard_security.session_lifetime,
        anonymous=None if settings.dashboard_auth else nobody,
    )
    audit = Audit(store, base.clock, keep_days=settings.audit_retention)
    try:
        yield Opened(sessions, Users(store, sessions, tokens, base.clock), audit)
    finally:
        await audit.settle()


def gate_rules(settings: Settings, clock: Clock) -> Rules:
    """What passes the gate."""
    security = settings.dashboard_security
    rate = security.max_requests_per_second
    return Rules(
        proxies=[ipaddress.ip_network(each) for each in settings.trusted_proxies],
        origins=frozenset(settings.cors_origins),
        require_https=security.require_https,
        throttle=Throttle(rate, rate * _AT_ONCE, clock) if security.rate_limit else None,
    )

"""Who gets in, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bot.app.parts import Base
from bot.services import Audit, Caller, Scope, Sessions, Tokens, Users
from bot.store.access import Access


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
    nobody = Caller("anonymous", Scope.VIEW, via="nobody")
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

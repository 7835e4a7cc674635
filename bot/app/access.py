"""Who gets in, built from the settings."""

from __future__ import annotations

from bot.app.parts import Base
from bot.services import Caller, Scope, Sessions, Tokens
from bot.store.access import Access


def build_sessions(base: Base, tokens: Tokens) -> Sessions:
    """The sessions of browsers."""
    security = base.settings.dashboard_security
    return Sessions(
        Access(base.store.database),
        tokens,
        base.clock,
        idle=security.session_idle,
        lifetime=security.session_lifetime,
        anonymous=None if base.settings.dashboard_auth else Caller("anonymous", Scope.VIEW),
    )

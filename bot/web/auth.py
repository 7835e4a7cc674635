"""Who asks: the bearer token of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request

from bot.services import Caller, Scope

_SCHEME = "bearer"


def bearer(request: Request) -> str | None:
    """The token of the Authorization header (RFC 6750, section 2.1), or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None


def needs(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that gives the caller, or refuses one whose token does not reach so far."""

    async def caller(request: Request) -> Caller:
        found: Caller = await request.app.state.services.tokens.authenticate(bearer(request))
        found.require(scope)
        return found

    return caller

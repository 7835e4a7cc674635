"""Who connects: by what came with the handshake, or by a token in the first message."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bot.services import Caller, Scope, Services

_SCHEME = "bearer"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who it is. ``key`` tells one credential from another, ``check`` who holds it now."""

    caller: Caller
    key: str
    check: Callable[[], Awaitable[Caller]]


async def by_token(services: Services, token: str | None) -> Visitor:
    """The holder of a token. Unauthenticated, Forbidden."""

    async def check() -> Caller:
        caller = await services.tokens.authenticate(token)
        caller.require(Scope.VIEW)
        return caller

    key = hashlib.sha256((token or "").encode()).hexdigest()
    return Visitor(await check(), key, check)


async def by_handshake(services: Services, headers: Mapping[bytes, bytes]) -> Visitor | None:
    """Who the headers say it is, None where they say nothing."""
    given = headers.get(b"authorization")
    if given is None:
        return None
    scheme, _, token = given.decode("latin-1").partition(" ")
    return await by_token(services, token.strip() if scheme.lower() == _SCHEME else None)


def is_same_site(headers: Mapping[bytes, bytes], scheme: str) -> bool:
    """Whether the page that connects, if it is one, came from here (RFC 6455, section 10.2)."""
    origin = headers.get(b"origin")
    if origin is None:
        return True
    host = headers.get(b"host", b"").decode("latin-1").lower()
    secure = scheme in {"wss", "https"}
    return origin.decode("latin-1").lower() == f"{'https' if secure else 'http'}://{host}"

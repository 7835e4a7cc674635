"""Who connects: by what came with the handshake, or by a token in the first message."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bot.services import Caller, Scope, Services
from bot.web.auth import COOKIE, identify_socket

_AUTHORIZATION = b"authorization"
_TELLING = (_AUTHORIZATION, b"cookie")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who it is. ``key`` tells one credential from another, ``check`` says who holds it now, or
    raises Unauthenticated or Forbidden."""

    caller: Caller
    key: bytes
    check: Callable[[], Awaitable[Caller]]


def says_who(services: Services, headers: Mapping[bytes, bytes]) -> bool:
    """Whether those headers are enough to know who it is, or nobody has to be known."""
    return (
        _AUTHORIZATION in headers
        or f"{COOKIE}=".encode() in headers.get(b"cookie", b"")
        or services.sessions.anonymous is not None
    )


async def visitor_of(services: Services, headers: Mapping[bytes, bytes]) -> Visitor:
    """Who sent those headers. Forged where a page of another site did; Unauthenticated,
    Forbidden."""

    async def check() -> Caller:
        found = await identify_socket(services, headers, anonymous=services.sessions.anonymous)
        found.caller.require(Scope.VIEW)
        return found.caller

    given = b"\0".join(headers.get(name, b"") for name in _TELLING)
    return Visitor(await check(), hashlib.sha256(given).digest(), check)


def with_token(headers: Mapping[bytes, bytes], token: str) -> Mapping[bytes, bytes]:
    """As if that token had come with them."""
    return {**headers, _AUTHORIZATION: b"Bearer " + token.encode("latin-1", "replace")}

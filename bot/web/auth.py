"""Who asks: the bearer token of a request, or the cookie of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request

from bot.errors import Forged, Unauthenticated
from bot.services import Caller, Scope, Services
from bot.services.sessions import csrf_of, is_csrf
from bot.web.attached import served_of

COOKIE = "mltb_session"
CSRF = "X-CSRF-Token"
_SCHEME = b"bearer "
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. ``session`` is the secret of their session, where their browser said who they are
    by itself, with a cookie."""

    caller: Caller
    session: str | None = None

    @property
    def ambient(self) -> bool:
        """Whether a page of another site could have made the browser say it."""
        return self.session is not None

    @property
    def csrf(self) -> str | None:
        """What their writes have to carry."""
        return None if self.session is None else csrf_of(self.session)


async def identify(
    services: Services, headers: Headers, *, anonymous: Caller | None = None
) -> Identity:
    """Who sent those headers (lower-case names); ``anonymous`` where nobody says, if that is
    allowed. Unauthenticated."""
    given = headers.get(b"authorization", b"")
    if given[: len(_SCHEME)].lower() == _SCHEME:
        token = given[len(_SCHEME) :].strip().decode("latin-1")
        return Identity(await services.tokens.authenticate(token))
    if not given and (session := _cookie(headers.get(b"cookie", b""))):
        try:
            return Identity(await services.sessions.authenticate(session), session)
        except Unauthenticated:
            if anonymous is None:
                raise
    if anonymous is not None and not given:
        return Identity(anonymous)
    return Identity(await services.tokens.authenticate(None))


async def identify_socket(
    services: Services, headers: Headers, *, anonymous: Caller | None = None
) -> Identity:
    """Who opens a WebSocket or follows events. Forged where a page of another site does;
    Unauthenticated."""
    if not same_site(headers):
        raise Forged("a page of another site asked", hint="open it from the page of this service")
    return await identify(services, headers, anonymous=anonymous)


def same_site(headers: Headers) -> bool:
    """Whether the page that asks, if one does, came from this service (RFC 6455, section 10.2):
    its browser says so in Sec-Fetch-Site, or else in Origin."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site in {b"same-origin", b"none"}
    origin = headers.get(b"origin")
    if origin is None:
        return True
    return urlsplit(origin.decode("latin-1")).netloc == headers.get(b"host", b"").decode("latin-1")


def check_write(identity: Identity, method: str, headers: Headers) -> None:
    """Forged where another site may have made a browser send it."""
    if identity.session is None or method in _SAFE:
        return
    given = headers.get(CSRF.lower().encode(), b"").decode("latin-1")
    if not same_site(headers) or not is_csrf(identity.session, given):
        raise Forged(
            f"with a session, a write needs the header {CSRF}",
            hint="GET /api/v3/session answers its value",
        )


def services_of(request: Request) -> Services:
    """Those that the application is for; in one that is not ours, those that run here."""
    return served_of(request.app).services


def needs(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that gives the caller, or refuses one who may not do so much."""

    async def caller(request: Request) -> Caller:
        services, headers = services_of(request), dict(request.scope["headers"])
        identity = await identify(services, headers, anonymous=services.sessions.anonymous)
        request.state.caller = identity.caller
        check_write(identity, request.method, headers)
        identity.caller.require(scope)
        return identity.caller

    return caller


def _cookie(header: bytes) -> str | None:
    """The secret of the session, if there is one."""
    for part in header.split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == COOKIE.encode():
            return value.strip(b'"').decode("latin-1") or None
    return None

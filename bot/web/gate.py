"""What everything that comes over the network passes first: who really sent it, whether they may
send that much, whether it is encrypted, and which pages of other sites may read the answer.

In front of the REST application and of GraphQL alike, so it does nothing to a request that it has
no business with: it costs some microseconds, and the answer is touched only where it must be.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.domain.throttle import Throttle, network_of
from bot.errors import Forbidden, MltbError, TooMany
from bot.web.problems import problem

Header = tuple[bytes, bytes]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: On every answer that says nothing else of itself.
HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_OPEN = frozenset({"/healthz", "/readyz"})  # a watchman asks these, from within
_SECURE = frozenset({"https", "wss"})
_OF_BROWSERS = frozenset({b"origin", b"cookie"})
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_SENT = b"Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-ID"
_READ = b"ETag, Location, Retry-After, X-Request-ID"
_DAY = b"86400"


@dataclass(frozen=True, slots=True)
class Rules:
    """From the settings. ``throttle`` counts requests by address, None: nobody counts."""

    proxies: Sequence[Network]
    origins: frozenset[str]
    require_https: bool
    throttle: Throttle | None


class Gate:
    """ASGI middleware, outside of everything else."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._networks = tuple(rules.proxies)
        self._is_proxy = functools.lru_cache(4096)(self._within)
        self._network = functools.lru_cache(4096)(network_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        client = scope.get("client")
        if client is None or scope["type"] not in {"http", "websocket"}:
            # The unix socket, which is for this user alone.
            await self._app(scope, receive, send)
            return
        if self._networks and self._is_proxy(client[0]):
            scope = self._forwarded(scope)
        try:
            self._check(scope)
        except MltbError as error:
            await _refuse(scope, receive, send, error)
            return
        origin = self._listed(scope) if self._rules.origins else None
        if origin is not None and _is_preflight(scope):
            await _allow(send, origin)
            return
        more = [_HSTS] if scope["scheme"] in _SECURE else []
        if origin is not None:
            # Nothing behind us has to know it; and it comes with a token, not with a cookie.
            kept = [each for each in scope["headers"] if each[0] not in _OF_BROWSERS]
            scope = {**scope, "headers": kept}
            more += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _READ),
                (b"vary", b"Origin"),
            ]
        await self._app(scope, receive, _adding(send, more) if more else send)

    def _check(self, scope: Scope) -> None:
        rules = self._rules
        if rules.require_https and scope["scheme"] not in _SECURE and scope["path"] not in _OPEN:
            raise Forbidden(
                "this service wants HTTPS",
                hint="use https://; a proxy that ends it has to be in TRUSTED_PROXIES",
            )
        if rules.throttle is not None and scope["client"] is not None:
            wait = rules.throttle.take(self._network(scope["client"][0]))
            if wait:
                raise TooMany(
                    "too many requests from this address",
                    hint="DASHBOARD_SECURITY__MAX_REQUESTS_PER_SECOND is the limit",
                    retry_after=int(wait) + 1,
                )

    def _within(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self._networks)

    def _forwarded(self, scope: Scope) -> Scope:
        """The request as the proxy got it: the last address that is none of the proxies' sent it,
        for what stands before that may be invented."""
        changed = dict(scope)
        headers = dict(scope["headers"])
        sources = _words(headers.get(b"x-forwarded-for", b""))
        for address in reversed(sources):
            changed["client"] = (address, 0)
            if not self._is_proxy(address):
                break
        protocols = _words(headers.get(b"x-forwarded-proto", b""))
        if protocols and protocols[-1].lower() in {"http", "https"}:
            secure = protocols[-1].lower() == "https"
            is_socket = scope["type"] == "websocket"
            changed["scheme"] = ("ws" if is_socket else "http") + ("s" if secure else "")
        hosts = _words(headers.get(b"x-forwarded-host", b""))
        if hosts:
            rest = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [(b"host", hosts[-1].encode("latin-1")), *rest]
        return changed

    def _listed(self, scope: Scope) -> bytes | None:
        origin: bytes | None = dict(scope["headers"]).get(b"origin")
        if origin is None or origin.decode("latin-1") not in self._rules.origins:
            return None
        return origin


def _words(header: bytes) -> list[str]:
    return [word for word in (part.strip() for part in header.decode("latin-1").split(",")) if word]


def _is_preflight(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "OPTIONS"
        and any(name == b"access-control-request-method" for name, _ in scope["headers"])
    )


async def _allow(send: Send, origin: bytes) -> None:
    """The answer to a browser that asks whether a page of a listed site may (Fetch, 3.2). With a
    token, not with cookies."""
    headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _SENT),
        (b"access-control-max-age", _DAY),
        (b"vary", b"Origin"),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _adding(send: Send, more: list[Header]) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sent


async def _refuse(scope: Scope, receive: Receive, send: Send, error: MltbError) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1008, "reason": error.message})
        return
    await problem(error)(scope, receive, _adding(send, list(HEADERS)))

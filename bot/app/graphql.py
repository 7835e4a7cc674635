"""The GraphQL door, as the settings want it. It is built when somebody asks for the first time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.app.parts import Base
from bot.cache import open_cache
from bot.config import Settings
from bot.core.graphql_api import graphql_app
from bot.errors import ConfigError
from bot.services import Caller, Services
from bot.web.switch import ByType

if TYPE_CHECKING:
    from bot.graphql.desk import Desk, Options
    from bot.graphql.rates import SharedCount
    from bot.graphql.types.service import CacheStats, HotQuery

_MB = 1024 * 1024
_ONCE = 8 * _MB  # of answers that are kept for who asks twice with one Idempotency-Key


@asynccontextmanager
async def opened_graphql(base: Base, services: Services) -> AsyncIterator[Graphql | None]:
    """The application of ``/graphql``; None where it is off."""
    if not base.settings.enable_graphql_api:
        yield None
        return
    _check(base.settings)
    async with AsyncExitStack() as stack:
        later = Graphql(base, services, stack)
        with graphql_app.attached(later):
            yield later


def _check(settings: Settings) -> None:
    if settings.query_cache_backend == "redis" and settings.redis_url is None:
        raise ConfigError(
            "QUERY_CACHE_BACKEND is redis, and there is no REDIS_URL",
            hint="give REDIS_URL, or write QUERY_CACHE_BACKEND=memory",
        )


class Graphql:
    """Loads the library (25 MB) with the first request, and hands everything on."""

    def __init__(self, base: Base, services: Services, stack: AsyncExitStack) -> None:
        self._base = base
        self._services = services
        self._stack = stack
        self._building = asyncio.Lock()
        self._built: tuple[ASGIApp, Desk] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        app, _ = self._built or await self._loaded()
        await app(scope, receive, send)

    async def execute(
        self, query: str, variables: Mapping[str, Any], operation: str | None, caller: Caller
    ) -> dict[str, Any]:
        """The answer to a query or a mutation."""
        from bot.graphql.desk import Request

        _, desk = self._built or await self._loaded()
        found = await desk.ask(caller, Request(query, dict(variables), operation))
        answer: dict[str, Any] = msgspec.json.decode(found.body)
        return answer

    async def changed(self) -> None:
        """Another door changed something, which kept answers may be about."""
        if self._built is not None:
            await self._built[1].changed()

    async def let_go(self) -> None:
        """End what clients follow, and begin no more of it."""
        if self._built is not None:
            await self._built[1].let_go()

    async def cache_stats(self, caller: Caller) -> CacheStats:
        """What the cache of answers did since the start."""
        _, desk = self._built or await self._loaded()
        return desk.cache_stats(caller)

    async def hot_queries(self, caller: Caller, limit: int) -> list[HotQuery]:
        """The queries that are asked most often."""
        _, desk = self._built or await self._loaded()
        return desk.hot_queries(caller, limit)

    async def invalidate(self, caller: Caller, tags: Sequence[str] | None) -> Sequence[str]:
        """Forget the answers about those, or all; the tags."""
        _, desk = self._built or await self._loaded()
        return await desk.invalidate(caller, tags)

    async def _loaded(self) -> tuple[ASGIApp, Desk]:
        async with self._building:
            if self._built is None:
                self._built = await self._build()
        return self._built

    async def _build(self) -> tuple[ASGIApp, Desk]:
        await asyncio.to_thread(_load)
        from bot.graphql.desk import Desk
        from bot.graphql.http import GraphqlHttp
        from bot.graphql.identity import Identify
        from bot.graphql.presence import Presence
        from bot.graphql.rates import Rates
        from bot.graphql.socket import GraphqlSocket

        base, settings, services = self._base, self._base.settings, self._services
        security = settings.graphql_security
        kept_in_redis = settings.query_cache_backend == "redis" and settings.redis_url
        redis = kept_in_redis.get_secret_value() if kept_in_redis else None
        cache = await open_cache(
            redis,
            prefix=settings.cache_key_prefix,
            max_bytes=settings.query_cache_size * _MB,
            clock=base.clock.monotonic,
        )
        self._stack.push_async_callback(cache.close)
        # Not among the answers: those make room for each other, and are forgotten on demand.
        once = await open_cache(redis, prefix=f"{settings.cache_key_prefix}once_", max_bytes=_ONCE)
        self._stack.push_async_callback(once.close)
        desk = Desk(
            services,
            cache,
            _options(settings),
            hub=base.hub,
            profiler=base.profiler,
            clock=base.clock,
        )
        await self._stack.enter_async_context(desk.open())
        services.metrics.queries(desk.stats)
        rates, most = None, security.max_queries_per_minute
        if security.rate_limit_queries:
            prefix = f"{settings.cache_key_prefix}rate"
            rates = Rates(most, base.clock, None if redis is None else _shared(most, redis, prefix))
            self._stack.push_async_callback(rates.close)
        authenticate = Identify(services, required=security.require_authentication)
        count = None if rates is None else rates.count
        presence = Presence(security.max_connections)
        http = GraphqlHttp(
            desk,
            authenticate=authenticate,
            count=count,
            note=partial(services.metrics.answered, "/graphql"),
            once=once,
            presence=presence,
            max_body=security.max_body,
        )
        socket = GraphqlSocket(
            desk,
            authenticate=authenticate,
            count=count,
            presence=presence,
            max_message=security.max_body,
            most=security.max_subscriptions,
        )
        return ByType({"http": http, "websocket": socket}), desk


def _shared(most: int, redis: str, prefix: str) -> SharedCount:
    # The libraries are loaded only where they are used, as the client of the cache is.
    from bot.graphql.rates_redis import RedisCount

    return RedisCount(most, redis, prefix)


def _load() -> None:
    """Import and build the schema, which takes half a second."""
    from bot.graphql import schema

    schema.build()


def _options(settings: Settings) -> Options:
    from bot.graphql.desk import Options
    from bot.graphql.guards import Limits

    security = settings.graphql_security
    return Options(
        limits=Limits(
            depth=security.max_depth if security.block_deeply_nested_queries else None,
            length=security.max_length,
            tokens=security.max_tokens,
            aliases=security.max_aliases,
            directives=security.max_directives,
            fields=security.max_fields,
            cost=security.max_cost,
        ),
        introspection=settings.graphql_introspection,
        suggestions=security.suggestions,
        keeps=settings.query_cache_enabled,
        ttl=settings.query_cache_ttl,
        backend=settings.query_cache_backend,
        max_bytes=settings.query_cache_size * _MB,
        timeout=settings.graphql_timeout,
        optimises=settings.enable_query_optimization,
        renews=settings.index_hot_queries and settings.query_cache_enabled,
        trusted=_trusted(settings.graphql_trusted_documents),
    )


def _trusted(directory: Path | None) -> Mapping[str, str] | None:
    """The documents of a directory by their SHA-256."""
    if directory is None:
        return None
    try:
        texts = [path.read_text("utf-8") for path in sorted(directory.rglob("*.graphql"))]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"GRAPHQL_TRUSTED_DOCUMENTS: {directory}: {error}") from None
    return {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}

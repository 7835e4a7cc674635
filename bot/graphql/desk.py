"""Where a request meets guards, kept answers and the executor, whatever transport brought it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec
from graphql import GraphQLError, OperationType

from bot.cache import Cache
from bot.cache import CacheStats as Counted
from bot.domain import events
from bot.domain.ports import Clock, Profiler
from bot.errors import MltbError, NotFound
from bot.graphql import freshness, shaping
from bot.graphql.answers import Answers, key_of
from bot.graphql.context import Context
from bot.graphql.declaring import instant
from bot.graphql.documents import Document, Documents, Operation, fingerprint_of
from bot.graphql.execution import Answer, Executor, failed, refusal
from bot.graphql.guards import Limits, Refused
from bot.graphql.hot import HotQueries, Kept
from bot.graphql.schema import core
from bot.graphql.streams import Follower, Streams
from bot.graphql.types.service import CacheStats, HotQuery
from bot.services import Caller, Scope, Services

log = logging.getLogger(__name__)

_DOCUMENTS = 500  # that are kept read and checked
_LOOK = 1.0  # seconds between two looks for answers that expire


class Request(msgspec.Struct, frozen=True):
    """What a client asks. ``document_id`` is the SHA-256 of a trusted document."""

    query: str | None
    variables: dict[str, Any]
    operation: str | None = None
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """From the settings. ``ttl`` and ``timeout`` in seconds, ``max_bytes`` of kept answers;
    ``trusted`` are the only documents that are taken, by their SHA-256, None for all."""

    limits: Limits
    introspection: bool
    suggestions: bool
    keeps: bool
    ttl: float
    backend: str
    max_bytes: int
    timeout: float
    optimises: bool
    renews: bool
    trusted: Mapping[str, str] | None


class Asked(NamedTuple):
    """A query that was read and checked, with the key of its answer for one role."""

    document: Document
    operation: Operation
    variables: Mapping[str, Any]
    key: str


class Desk:
    """One for a service."""

    def __init__(
        self,
        services: Services,
        cache: Cache,
        options: Options,
        *,
        hub: events.EventHub,
        profiler: Profiler,
        clock: Clock,
    ) -> None:
        self.options = options
        self._services = services
        self._hub = hub
        self._profiler = profiler
        self._clock = clock
        self._answers = Answers(cache if options.keeps else None)
        self._hot = HotQueries()
        schema = core()
        self._executor = Executor(schema, options.timeout)
        self._documents = Documents(
            schema,
            options.limits,
            introspection=options.introspection,
            suggestions=options.suggestions,
            longest=options.ttl,
            kept=_DOCUMENTS if options.optimises else 0,
            profiler=profiler,
        )
        self._streams = Streams(self._executor)
        #: What is outdated, and about to be dropped.
        self._old: set[str] = set()
        self._dropping: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """At work: what changes drops answers, and hot ones are renewed."""
        deaf = self._hub.listen(self._hear)
        renewing = asyncio.ensure_future(self._renew()) if self.options.renews else None
        try:
            yield
        finally:
            deaf()
            await self._streams.close()
            if renewing is not None:
                renewing.cancel()
            await asyncio.gather(*self._dropping, *filter(None, [renewing]), return_exceptions=True)

    # Requests

    def read(self, request: Request) -> Document:
        """The document that a request is about. Refused or GraphQLError where it is none."""
        return self._documents.read(self._text(request))

    def _text(self, request: Request) -> str:
        trusted = self.options.trusted
        if request.document_id is not None:
            found = None if trusted is None else trusted.get(request.document_id)
            if found is None:
                raise Refused(
                    "unknown_document", f"there is no document {request.document_id[:64]!r}"
                )
            return found
        if request.query is None:
            raise Refused("no_query", "the request has no query")
        if trusted is not None and fingerprint_of(request.query) not in trusted:
            raise Refused("untrusted_document", "only documents that were trusted before are taken")
        return request.query

    def changes(self, request: Request) -> bool:
        """Whether a request is a mutation, as far as it can be read."""
        try:
            return self.read(request).operation(request.operation).kind is OperationType.MUTATION
        except (Refused, GraphQLError):
            return False

    async def ask(self, caller: Caller, request: Request, *, reads_only: bool = False) -> Answer:
        """The answer to a query or a mutation. ``reads_only`` refuses what changes something."""
        try:
            document = self.read(request)
            if document.errors:
                return refusal(*map(shaping.shaped, document.errors))
            operation = document.operation(request.operation)
            if operation.kind is OperationType.SUBSCRIPTION:
                raise Refused("subscription", "a subscription needs a WebSocket, or SSE")
            if reads_only and operation.kind is not OperationType.QUERY:
                raise NotByGet
            if operation.kind is OperationType.MUTATION:
                self._hot.asked(document, operation, self._clock.now())
                make = partial(self._make, caller, document, operation, request.variables)
                return await self._changed(operation, make)
            return await self._kept(caller, _asked(caller, document, operation, request))
        except Refused as error:
            return refusal(shaping.refused(error))
        except GraphQLError as error:
            return failed(error)

    def remembered(self, caller: Caller, request: Request) -> Asked | None:
        """A request that was answered, so that ``again`` need not look at it; None where it is not
        to be remembered."""
        if not self.options.optimises:
            return None
        document = self.read(request)
        operation = document.operation(request.operation)
        if operation.kind is not OperationType.QUERY:
            return None
        return _asked(caller, document, operation, request)

    async def again(self, caller: Caller, asked: Asked) -> Answer:
        """The answer to what is ``remembered`` of that caller."""
        try:
            return await self._kept(caller, asked)
        except Refused as error:
            return refusal(shaping.refused(error))
        except GraphQLError as error:
            return failed(error)

    async def _kept(self, caller: Caller, asked: Asked) -> Answer:
        """The answer to a query, from the kept ones where it is there."""
        document, operation, variables, key = asked
        heat = self._hot.asked(document, operation, self._clock.now())
        make = partial(self._make, caller, document, operation, variables)
        found, was_there = await self._answers.get(key, operation.freshness, make)
        if was_there:
            heat.hits += 1
            self._hot.hit(key)
        elif found.clean and operation.freshness.ttl and self.options.renews:
            kept = Kept(
                document,
                operation,
                variables,
                caller,
                operation.freshness.ttl,
                self._clock.monotonic(),
            )
            self._hot.keep(key, kept)
        return found

    async def _changed(self, operation: Operation, make: partial[Any]) -> Answer:
        """A mutation, and no kept answer about what it changed after it."""
        tags = [tag for root in operation.roots for tag in freshness.CHANGES.get(root, frozenset())]
        found: Answer = await make()
        await self._forget(tags)
        return found

    async def _make(
        self,
        caller: Caller,
        document: Document,
        operation: Operation,
        variables: Mapping[str, Any],
    ) -> Answer:
        begun = time.perf_counter()
        found: Answer | None = None
        try:
            self._documents.check_cost(document, operation, variables)
            context = self._context(caller, document)
            found = await self._executor.execute(document, operation, variables, context)
        finally:
            seconds = time.perf_counter() - begun
            self._hot.made(document, seconds)
            outcome = "refused" if found is None else "ok" if found.clean else "error"
            self._hub.publish(
                events.OperationExecuted(self._clock.now(), operation.kind.value, outcome, seconds)
            )
            self._profiler.record(
                f"graphql.{operation.kind.value}",
                seconds,
                failed=found is None or not found.clean,
                fingerprint=document.fingerprint,
                operation=operation.name,
                document=document.text[:1000],
            )
        return found

    def _context(self, caller: Caller, document: Document) -> Context:
        return Context.of(
            caller,
            self._services,
            self,
            self._hub,
            self._clock,
            profiler=self._profiler,
            fingerprint=document.fingerprint,
        )

    @asynccontextmanager
    async def follow(
        self, caller: Caller, request: Request, *, reads_only: bool = False
    ) -> AsyncIterator[Follower | Answer]:
        """What a subscription tells; the answer where it is a query or a mutation, or can't
        begin."""
        try:
            document = self.read(request)
            operation = None if document.errors else document.operation(request.operation)
            if operation is not None and operation.kind is OperationType.SUBSCRIPTION:
                self._documents.check_cost(document, operation, request.variables)
                key = _asked(caller, document, operation, request).key
        except Refused as error:
            yield refusal(shaping.refused(error))
            return
        except GraphQLError as error:
            yield failed(error)
            return
        if operation is None or operation.kind is not OperationType.SUBSCRIPTION:
            yield await self.ask(caller, request, reads_only=reads_only)
            return
        self._hot.asked(document, operation, self._clock.now())
        async with self._streams.follow(
            key, document, operation, request.variables, self._context(caller, document)
        ) as found:
            yield found

    async def let_go(self) -> None:
        """End the subscriptions, and begin no more."""
        await self._streams.close()

    # What is old

    def _hear(self, event: events.Event) -> None:
        tags = freshness.changed_by(event) - self._old
        if not tags:
            return  # nobody gets what it makes old since an event before it
        self._answers.outdate(tags)
        is_coming = bool(self._old)
        self._old |= tags
        if not is_coming:
            task = asyncio.get_running_loop().create_task(self._drop_old())
            self._dropping.add(task)
            task.add_done_callback(self._dropping.discard)

    async def _drop_old(self) -> None:
        """Drop at once what the events of one turn of the loop made old: there may be thousands."""
        tags, self._old = list(self._old), set()
        await self._answers.drop(tags)

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(_LOOK)
            for key, kept in self._hot.due(self._clock.monotonic()):
                kept.asked, kept.made_at = 0, self._clock.monotonic()
                make = partial(
                    self._make, kept.caller, kept.document, kept.operation, kept.variables
                )
                try:
                    await self._answers.renew(key, kept.operation.freshness, make)
                except (MltbError, Refused, GraphQLError) as error:
                    log.warning("a hot query could not be asked again: %s", error)

    # What others ask

    def stats(self) -> Counted:
        """What the cache of answers did."""
        return self._answers.stats()

    def cache_stats(self, caller: Caller) -> CacheStats:
        """What the cache of answers did."""
        caller.require(Scope.VIEW)
        return CacheStats.of(
            self._answers.stats(),
            enabled=self.options.keeps,
            backend=self.options.backend,
            max_bytes=self.options.max_bytes,
        )

    def hot_queries(self, caller: Caller, limit: int) -> list[HotQuery]:
        """The queries that are asked most often."""
        caller.require(Scope.ADMIN)
        return [
            HotQuery(
                fingerprint=heat.fingerprint,
                operation=heat.operation,
                document=heat.document,
                count=heat.count,
                hits=heat.hits,
                mean=heat.seconds / heat.made if heat.made else 0.0,
                max=heat.longest,
                last_at=instant(heat.last_at),
            )
            for heat in self._hot.hottest(limit)
        ]

    async def invalidate(self, caller: Caller, tags: Sequence[str] | None) -> Sequence[str]:
        """Forget the answers about those, or all. NotFound names a tag that there is not."""
        caller.require(Scope.ADMIN)
        if tags is None:
            await self._answers.clear()
            return []
        for tag in tags:
            if tag not in freshness.TAGS:
                raise NotFound(
                    f"nothing is about {tag[:100]!r}",
                    hint=f"there are {', '.join(sorted(freshness.TAGS))}",
                )
        await self._forget(tags)
        return list(tags)

    async def changed(self) -> None:
        """Another door changed something: no kept answer is told any more."""
        await self._forget(freshness.TAGS)

    async def _forget(self, tags: Collection[str]) -> None:
        self._answers.outdate(tags)
        await self._answers.drop(tuple(tags))


def _asked(caller: Caller, document: Document, operation: Operation, request: Request) -> Asked:
    try:
        key = key_of(document.fingerprint, operation.name, request.variables, caller)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise Refused("variables", "the variables can't be read") from None
    return Asked(document, operation, request.variables, key)


class NotByGet(Exception):
    """A mutation came by a method that promises to change nothing."""

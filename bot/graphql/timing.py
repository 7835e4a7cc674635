"""How long the root fields take, for the profiler: their names are those of the schema, so they are
few."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from graphql import GraphQLSchema, default_field_resolver

from bot.graphql.context import Context

_Resolve = Callable[..., Any]


def time_roots(schema: GraphQLSchema) -> None:
    """Let the profiler know each root field of queries and mutations as
    ``graphql.field.Query.tasks``."""
    for kind in (schema.query_type, schema.mutation_type):
        if kind is not None:
            for name, field in kind.fields.items():
                resolve = field.resolve or default_field_resolver
                field.resolve = _timed(f"graphql.field.{kind.name}.{name}", resolve)


def _timed(name: str, resolve: _Resolve) -> _Resolve:
    @functools.wraps(resolve)
    def timed(source: Any, info: Any, /, **arguments: Any) -> Any:
        context: Context = info.context
        if not context.profiler.enabled:
            return resolve(source, info, **arguments)
        begun, over = perf_counter(), False
        try:
            found = resolve(source, info, **arguments)
            over = True
        finally:
            if not over:
                _record(context, name, begun, failed=True)
        if inspect.isawaitable(found):
            return _awaited(found, context, name, begun)
        _record(context, name, begun, failed=False)
        return found

    return timed


async def _awaited(found: Awaitable[Any], context: Context, name: str, begun: float) -> Any:
    failed = True
    try:
        value = await found
        failed = False
    finally:
        _record(context, name, begun, failed=failed)
    return value


def _record(context: Context, name: str, begun: float, *, failed: bool) -> None:
    context.profiler.record(
        name, perf_counter() - begun, failed=failed, fingerprint=context.fingerprint
    )

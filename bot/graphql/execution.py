"""One operation, executed: the only place that knows how."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, subscribe

from bot.graphql.context import Context
from bot.graphql.documents import Document, Operation
from bot.graphql.guards import Refused
from bot.graphql.shaping import refused, shaped

_encoder = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True):
    """The body of an answer. ``clean`` says that it has no errors, ``begun`` that something was
    executed (so that there is an entry ``data``)."""

    body: bytes
    clean: bool
    begun: bool


def refusal(*errors: dict[str, Any]) -> Answer:
    """An answer of errors alone."""
    return Answer(_encoder.encode({"errors": list(errors)}), clean=False, begun=False)


def answer(result: ExecutionResult) -> Answer:
    """The body of a result. An error without a path came before the execution began."""
    errors = result.errors or []
    if result.data is None and any(error.path is None for error in errors):
        return refusal(*map(shaped, errors))
    content: dict[str, Any] = {"errors": [shaped(error) for error in errors]} if errors else {}
    content["data"] = result.data
    return Answer(_encoder.encode(content), clean=not errors, begun=True)


class Executor:
    """Executes documents that were checked. ``timeout`` is in seconds."""

    def __init__(self, schema: GraphQLSchema, timeout: float) -> None:
        self._schema = schema
        self._timeout = timeout

    async def execute(
        self,
        document: Document,
        operation: Operation,
        variables: Mapping[str, Any],
        context: Context,
    ) -> Answer:
        """The answer to a query or a mutation."""
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                found = execute(
                    self._schema,
                    document.ast,
                    context_value=context,
                    variable_values=dict(variables),
                    operation_name=operation.name,
                    hide_suggestions=True,
                )
                if inspect.isawaitable(found):
                    found = await found
        except TimeoutError:
            if not limit.expired():
                raise
            error = Refused("timeout", f"it took longer than {self._timeout:g} seconds")
            return refusal(refused(error))
        return answer(found)

    async def subscribe(
        self,
        document: Document,
        operation: Operation,
        variables: Mapping[str, Any],
        context: Context,
    ) -> AsyncIterator[ExecutionResult] | ExecutionResult:
        """The answers to a subscription; a result where it could not begin."""
        found = subscribe(
            self._schema,
            document.ast,
            context_value=context,
            variable_values=dict(variables),
            operation_name=operation.name,
            hide_suggestions=True,
        )
        return await found if inspect.isawaitable(found) else found


def failed(error: GraphQLError) -> Answer:
    """An answer to a document that is none."""
    return refusal(shaped(error))

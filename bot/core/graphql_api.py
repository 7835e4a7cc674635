"""The GraphQL interface of the service that runs in this process, for code beside it.

``graphql_app`` can be mounted into another Starlette or FastAPI application:

    app.mount("/graphql", graphql_app)

``schema`` is built when it is asked for first; the library takes 25 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from starlette.types import Receive, Scope, Send

from bot.core.present import Present
from bot.errors import Unavailable

if TYPE_CHECKING:
    import strawberry

    from bot.services import Caller

    #: Built on first use, see ``__getattr__``.
    schema: strawberry.Schema

__all__ = ["execute", "graphql_app", "schema"]


class Served(Protocol):
    """The GraphQL door of a service."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

    async def execute(
        self, query: str, variables: Mapping[str, Any], operation: str | None, caller: Caller
    ) -> dict[str, Any]:
        """The answer to a query or a mutation."""


class GraphqlApp:
    """The ASGI application of the service that runs here; Unavailable (503) where none does."""

    def __init__(self) -> None:
        self._served: Present[Served] = Present()

    def attached(self, served: Served) -> AbstractContextManager[None]:
        """Serve from there for as long as this is entered; the newest one counts."""
        return self._served.attached(served)

    @property
    def served(self) -> Served:
        """The door of the service that runs here."""
        served = self._served.newest
        if served is None:
            raise Unavailable(
                "no service with GraphQL runs in this process",
                hint="start it first; ENABLE_GRAPHQL_API turns GraphQL on",
            )
        return served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            served = self.served
        except Unavailable as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1013, "reason": error.message})
                return
            await _refuse(send, error)
            return
        await served(scope, receive, send)


#: The one of this process.
graphql_app = GraphqlApp()


async def execute(
    query: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
    *,
    caller: Caller | None = None,
) -> dict[str, Any]:
    """The answer (``data``, ``errors``) of the service that runs here, under the same guards as
    over HTTP. Without a caller it is asked as the owner of the machine."""
    from bot.services import OWNER

    return await graphql_app.served.execute(query, variables or {}, operation_name, caller or OWNER)


async def _refuse(send: Send, error: Unavailable) -> None:
    import msgspec

    shaped = {"message": error.message, "extensions": {"code": error.code, "hint": error.hint}}
    body = msgspec.json.encode({"errors": [shaped]})
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def __getattr__(name: str) -> Any:
    if name == "schema":
        from bot.graphql.schema import build

        return build()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

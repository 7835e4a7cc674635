"""The GraphQL door over a rig, in this process, under a clock that a test moves.

async with asking(tmp_path) as it:
    assert (await it.data("{ viewer { user } }")) == {"viewer": {"user": "admin"}}
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bot.app import App
from bot.app.graphql import opened_graphql
from bot.app.operations import opened_operations
from bot.app.plugins import opened_plugins
from bot.config import load
from bot.services import Scope, Services
from bot.web.attached import Served
from tests.rig import ManualClock, Rig, rig

Json = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """An answer over ASGI."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Asking:
    """A service, and tokens for whoever asks."""

    rig: Rig
    services: Services
    app: App
    web: Any = None
    _tokens: dict[tuple[str, Scope], str] = field(default_factory=dict)

    async def token(self, user: str = "admin", scope: Scope = Scope.ADMIN) -> str:
        """A secret of that user."""
        found = self._tokens.get((user, scope))
        if found is None:
            found, _ = await self.services.tokens.create("test", scope, user=user)
            self._tokens[user, scope] = found
        return found

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Told:
        """A request to this service; as an admin, unless a token is given ("" for none)."""
        secret = await self.token() if token is None else token
        given = {"content-type": "application/json", **(headers or {})}
        if secret:
            given["authorization"] = f"Bearer {secret}"
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        }
        content = b"" if body is None else json.dumps(body).encode()
        sent: list[Any] = []

        async def receive() -> Json:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.web(scope, receive, send)
        return Told(
            sent[0]["status"],
            {name.decode(): value.decode() for name, value in sent[0]["headers"]},
            b"".join(each.get("body", b"") for each in sent[1:]),
        )

    async def ask(
        self, query: str, variables: Json | None = None, *, token: str | None = None
    ) -> Told:
        """A GraphQL request."""
        body = {"query": query, "variables": variables or {}}
        return await self.call("POST", "/graphql", body, token=token)

    async def data(self, query: str, *, token: str | None = None, **variables: Any) -> Any:
        """What a query or a mutation gives; there may be no errors."""
        found = await self.ask(query, variables, token=token)
        assert found.status == 200, found
        assert "errors" not in found.json, found.body
        return found.json["data"]

    async def rest(self, method: str, path: str, body: object = None) -> Any:
        """A REST request that goes well."""
        found = await self.call(method, f"/api/v3{path}", body)
        assert 200 <= found.status < 300, found
        return found.json if found.body else None

    @property
    def made(self) -> int:
        """How many queries were executed: those that had no kept answer."""
        return self.count("graphql.query")

    def count(self, operation: str) -> int:
        """How often an operation ran, as the profiler knows it."""
        return sum(each.count for each in self.rig.profiler.stats(operation))

    @property
    def clock(self) -> ManualClock:
        return self.rig.clock


@asynccontextmanager
async def asking(directory: Path, **settings: str) -> AsyncIterator[Asking]:
    """A service with these settings; without a limit of requests, unless they say so."""
    async with rig(directory) as it:
        environ = {
            "DATA_DIR": str(directory / "data"),
            "DOWNLOAD_DIR": str(it.root),
            "PLUGINS_DIR": str(directory / "plugins"),
            "INTEGRITY_INTERVAL": "0",
            "GRAPHQL_SECURITY__RATE_LIMIT_QUERIES": "false",
            **settings,
        }
        base = replace(it.base, settings=load(environ, directory).settings)
        async with (
            opened_plugins(base, it.transfers, None) as host,
            opened_operations(
                base, it.transfers, it.tasks, it.tokens, host, is_open=lambda: it.scheduler.open
            ) as services,
            opened_graphql(base, services) as graphql,
        ):
            served = Served(services)
            app = App(base.settings, it.transfers, services, it.hub, it.profiler, graphql, served)
            asked = Asking(it, services, app)
            asked.web = app.web()
            yield asked

"""The GraphQL door of a served service, as a client meets it.

graph = Graph(service)
assert graph.data("{ viewer { user } }") == {"viewer": {"user": "admin"}}
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import websockets

from tests.serving import Service

Json = dict[str, Any]
PROTOCOL = "graphql-transport-ws"


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found

    @property
    def codes(self) -> list[str]:
        """The codes of its errors."""
        return [each["extensions"]["code"] for each in self.json.get("errors", [])]


class Graph:
    """``token`` None sends none; left out, it is that of this machine, an admin's."""

    def __init__(self, service: Service, token: str | None = "") -> None:
        self.service = service
        self.token = (service.data / "token").read_text().strip() if token == "" else token

    def as_(self, scope: str, user: str = "admin") -> Graph:
        """The same door with a new token."""
        body = {"name": "test", "scope": scope, "user": user}
        return Graph(self.service, self.service.client.post("/tokens", body)["secret"])

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def send(
        self,
        method: str = "POST",
        path: str = "/graphql",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Whatever is given, as it is."""
        connection = http.client.HTTPConnection(urlsplit(self.service.url).netloc, timeout=60)
        given = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, {**given, **self.headers, **(headers or {})})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return Reply(response.status, content, {k.lower(): v for k, v in response.getheaders()})

    def post(
        self,
        query: str | None,
        variables: Json | None = None,
        *,
        also: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A request in a body; ``also`` are further members of it."""
        asked = {"query": query, "variables": variables, **(also or {})}
        return self.send("POST", body=json.dumps(asked).encode(), headers=headers)

    def get(self, query: str, headers: Mapping[str, str] | None = None, **more: str) -> Reply:
        """A request in a query string."""
        return self.send("GET", f"/graphql?{urlencode({'query': query, **more})}", headers=headers)

    def data(self, query: str, **variables: Any) -> Any:
        """What a query or a mutation gives; there may be no errors."""
        reply = self.post(query, variables)
        assert reply.status == 200, reply
        assert "errors" not in reply.json, reply.body
        return reply.json["data"]

    def codes(self, query: str, **variables: Any) -> list[str]:
        """The codes of the errors that a query gives."""
        return self.post(query, variables).codes

    def connect(
        self, headers: Mapping[str, str] | None = None, protocol: str | None = PROTOCOL, **more: Any
    ) -> AbstractAsyncContextManager[websockets.ClientConnection]:
        """A WebSocket; nothing is said yet."""
        return websockets.connect(
            self.service.url.replace("http", "ws", 1) + "/graphql",
            subprotocols=None if protocol is None else [websockets.Subprotocol(protocol)],
            additional_headers=self.headers if headers is None else headers,
            proxy=None,
            **more,
        )


class Wire:
    """A WebSocket of graphql-transport-ws."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def say(self, kind: str, **members: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **members}))

    async def hear(self) -> Json:
        found: Json = json.loads(await self.socket.recv())
        return found

    async def begin(self, payload: Json | None = None) -> None:
        """Say who it is, and hear that it is welcome."""
        await self.say("connection_init", **({} if payload is None else {"payload": payload}))
        assert await self.hear() == {"type": "connection_ack"}

    async def subscribe(self, name: str, query: str, **variables: Any) -> None:
        await self.say("subscribe", id=name, payload={"query": query, "variables": variables})

    async def next(self, name: str) -> Any:
        """The data of the next answer to an operation, which is the next message."""
        found = await self.hear()
        assert (found["type"], found["id"]) == ("next", name), found
        assert "errors" not in found["payload"], found
        return found["payload"]["data"]

    async def ended(self) -> tuple[int | None, str | None]:
        """Why the other side closed; nothing may come before."""
        await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason

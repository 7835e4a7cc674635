"""What came over HTTP, as a request: or what is wrong with it."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Scope

from bot.graphql.desk import Request

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
EVENTS = b"text/event-stream"


class Bad(Exception):
    """A request that is none. ``status`` is that of HTTP."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class _Body(msgspec.Struct):
    query: str | None = None
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - the specification's name
    extensions: dict[str, Any] | None = None
    documentId: str | None = None  # noqa: N815 - the specification's name


_bodies = msgspec.json.Decoder(_Body)


@functools.lru_cache(256)
def media_of(accept: bytes) -> str | None:
    """The media type of the answer; None where the client takes none of ours."""
    if not accept:
        return JSON
    for part in accept.decode("latin-1").lower().split(","):
        kind = part.partition(";")[0].strip()
        if kind == GRAPHQL:
            return GRAPHQL
        if kind in {JSON, "*/*", "application/*"}:
            return JSON
    return None


def check_type(content_type: bytes) -> None:
    """Bad where a body is no JSON in UTF-8."""
    if content_type == b"application/json":
        return
    kind, _, charset = content_type.decode("latin-1").partition(";")
    if kind.strip().lower() != JSON:
        raise Bad(415, "media_type", f"a request is {JSON}")
    if "charset" in charset.lower() and "utf-8" not in charset.lower().replace("utf8", "utf-8"):
        raise Bad(415, "media_type", "a request is in UTF-8")


def from_body(body: bytes) -> Request:
    """What a body asks. Bad where it asks nothing."""
    if body[:64].lstrip()[:1] == b"[":
        raise Bad(400, "batching_off", "send one operation at a time")
    try:
        found = _bodies.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Bad(400, "bad_request", f"the body is no request: {error}"[:300]) from None
    return _request(found)


def from_query(scope: Scope) -> Request:
    """What a query string asks. Bad where it asks nothing."""
    try:
        given = parse_qs(scope["query_string"].decode("ascii"), errors="strict", max_num_fields=10)
        plain: dict[str, Any] = {name: values[-1] for name, values in given.items()}
        for name in ("variables", "extensions"):
            if plain.get(name):
                plain[name] = msgspec.json.decode(plain[name])
        found = msgspec.convert(plain, _Body)
    except (ValueError, RecursionError) as error:
        raise Bad(400, "bad_request", f"the query string is no request: {error}"[:300]) from None
    return _request(found)


def _request(found: _Body) -> Request:
    persisted = (found.extensions or {}).get("persistedQuery")
    hashed = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    document = found.documentId or (hashed if isinstance(hashed, str) else None)
    if found.query is None and document is None:
        raise Bad(400, "no_query", "the request has no query")
    if found.query is not None:
        document = None
    return Request(found.query, found.variables or {}, found.operationName, document)

"""The short way: a request that is byte for byte like one before, from the same caller.

What its headers ask for, its document and the key of its answer were worked out then. Who sends it
and how often is looked at each time, and the answer is asked for as ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from bot.graphql.desk import Asked
from bot.services import Caller

_LARGEST, _MOST = 8192, 500  # bytes of requests that are remembered, and how many

#: The body, and the headers that say who asks for what, and from where.
_Bytes = tuple[bytes | None, ...]


class Way(NamedTuple):
    """What is known of a request."""

    caller: Caller
    asked: Asked
    media: str


class ShortWays:
    """Requests that are remembered: those that were new last."""

    def __init__(self) -> None:
        self._ways: OrderedDict[_Bytes, Way] = OrderedDict()

    def find(self, headers: Mapping[bytes, bytes], message: Mapping[str, Any]) -> Way | None:
        """What is known of the request whose first part that message is."""
        if message.get("more_body") or b"idempotency-key" in headers:
            return None
        return self._ways.get(_bytes(headers, message.get("body", b"")))

    def learn(self, headers: Mapping[bytes, bytes], body: bytes, way: Way) -> None:
        """That request had a good answer."""
        key = _bytes(headers, body)
        if sum(map(len, filter(None, key))) <= _LARGEST and b"idempotency-key" not in headers:
            self._ways[key] = way
            if len(self._ways) > _MOST:
                self._ways.popitem(last=False)


def _bytes(headers: Mapping[bytes, bytes], body: bytes) -> _Bytes:
    get = headers.get
    return (
        body,
        get(b"authorization"),
        get(b"accept"),
        get(b"content-type"),
        get(b"host"),
        get(b"origin"),
        get(b"sec-fetch-site"),
    )

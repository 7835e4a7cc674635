"""What a plugin may ask its host for: HTTP to the hosts that it was granted, and its values."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from bot.engines.curl_handle import Response
from bot.engines.http_heads import request_headers
from bot.errors import InvalidInput, PolicyRefused
from bot.plugins.desk import Desks
from bot.plugins.values import Values

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_MAX_BODY = 8 * 1024 * 1024  # bytes of a request or of an answer
_MAX_KEY = 255
_PORTS = {"http": 80, "https": 443}


class HttpPort(Protocol):
    """Sends one request under the egress policy, without following redirects."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        max_size: int = _MAX_BODY,
    ) -> Response:
        """The whole answer, whatever its status. Raises a TransferError."""


class _Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    url: Annotated[str, msgspec.Meta(max_length=8192)]
    headers: dict[str, str] = {}
    body: bytes = b""
    timeout: Annotated[float, msgspec.Meta(gt=0, le=300)] = 30.0


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_KEY)]
    value: Any = None


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class Broker:
    """Serves one plugin. ``net`` are the ``host:port`` that it was granted, ``lent`` are those
    that it has while a call lasts, ``desks`` are those of its steps."""

    def __init__(
        self,
        plugin: str,
        *,
        net: list[str],
        http: HttpPort,
        values: Values,
        desks: Desks,
        lent: list[str],
    ) -> None:
        self._plugin = plugin
        self._net = net
        self._lent = lent
        self._http = http
        self._values = values
        self._verbs: dict[str, Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]] = {
            "http": self._send,
            "state_get": self._get,
            "state_set": self._set,
            "state_delete": self._delete,
            "state_keys": self._keys,
            **desks.verbs,
        }

    async def __call__(self, method: str, arguments: dict[str, Any]) -> Any:
        """Do what the plugin asks. Raises an MltbError, which it is told."""
        verb = self._verbs.get(method)
        if verb is None:
            raise InvalidInput(f"a plugin can't ask for {method[:50]!r}")
        try:
            return await verb(arguments)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{method}: {error}") from None

    async def _send(self, arguments: dict[str, Any]) -> Any:
        wanted = msgspec.convert(arguments, _Http)
        if wanted.method not in _METHODS:
            raise InvalidInput(f"method {wanted.method[:20]!r}: use one of {sorted(_METHODS)}")
        self._check(wanted.url)
        if len(wanted.body) > _MAX_BODY:
            raise InvalidInput(f"a body of {len(wanted.body)} bytes; at most {_MAX_BODY}")
        request_headers(wanted.headers)
        reply = await self._http.request(
            wanted.method,
            wanted.url,
            body=wanted.body or (b"" if wanted.method in _WITH_BODY else None),
            headers=wanted.headers,
            timeout=wanted.timeout,
        )
        return {"status": reply.status, "headers": dict(reply.headers), "body": reply.body}

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)
        except ValueError as error:
            raise InvalidInput(f"{url[:100]!r} is no URL: {error}") from None
        if parts.scheme not in _PORTS:
            raise PolicyRefused(f"{parts.scheme[:20]!r}: plugins reach http and https alone")
        if not any(_covers(granted, host, port) for granted in [*self._net, *self._lent]):
            raise PolicyRefused(
                f"plugin {self._plugin} may not reach {host}:{port}",
                hint=f"it was granted {', '.join(self._net) or 'no host'} (rights.net)",
            )

    async def _get(self, arguments: dict[str, Any]) -> Any:
        found = await self._values.get(msgspec.convert(arguments, _Key).key)
        return None if found is None else {"value": msgspec.json.decode(found)}

    async def _set(self, arguments: dict[str, Any]) -> None:
        wanted = msgspec.convert(arguments, _Key)
        value = msgspec.json.encode(wanted.value)
        await self._values.set(wanted.key, value)

    async def _delete(self, arguments: dict[str, Any]) -> None:
        await self._values.delete(msgspec.convert(arguments, _Key).key)

    async def _keys(self, arguments: dict[str, Any]) -> Any:
        msgspec.convert(arguments, _Nothing)
        return await self._values.keys()


def _covers(granted: str, host: str, port: int | None) -> bool:
    name, _, allowed = granted.rpartition(":")
    if str(port) != allowed:
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name

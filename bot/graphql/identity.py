"""Who sends a request: the holder of a bearer token, or nobody where that is allowed."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from bot.graphql.http import Identity
from bot.services import Caller, Scope, Tokens

_NOBODY = Identity(Caller("anonymous", Scope.VIEW))
_SCHEME = b"bearer "


class Identify:
    """Says whose token it is; without one, nobody where none is ``required``. An
    ``Authenticator``."""

    def __init__(self, tokens: Tokens, *, required: bool) -> None:
        self._tokens = tokens
        self._required = required

    async def __call__(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Unauthenticated where nobody did."""
        given = headers.get(b"authorization", b"")
        secret = _secret(given)
        if secret is not None:
            return Identity(await self._tokens.authenticate(secret))
        if not self._required and not given:
            return _NOBODY
        return Identity(await self._tokens.authenticate(None))

    def known(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        """The holder of a bearer token that was looked up a moment ago."""
        secret = _secret(headers.get(b"authorization", b""))
        return None if secret is None else self._tokens.known(secret)


@functools.lru_cache(256)
def _secret(given: bytes) -> str | None:
    if given[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return given[len(_SCHEME) :].strip().decode("latin-1")

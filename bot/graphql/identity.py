"""Who sends a request: the holder of a bearer token, or nobody where that is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from bot.graphql.http import Authenticator, Identity
from bot.services import Caller, Scope, Tokens

_NOBODY = Identity(Caller("anonymous", Scope.VIEW))
_SCHEME = b"bearer "


def identify(tokens: Tokens, *, required: bool) -> Authenticator:
    """Says whose token it is; without one, nobody where none is ``required``."""

    async def authenticate(headers: Mapping[bytes, bytes]) -> Identity:
        given = headers.get(b"authorization", b"")
        if given[: len(_SCHEME)].lower() == _SCHEME:
            secret = given[len(_SCHEME) :].strip().decode("latin-1")
            return Identity(await tokens.authenticate(secret))
        if not required and not given:
            return _NOBODY
        return Identity(await tokens.authenticate(None))

    return authenticate

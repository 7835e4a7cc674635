"""Who sends a request: as for REST, or nobody where that is allowed."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from bot.services import Caller, Scope, Services
from bot.web.auth import Identity, identify

_NOBODY = Caller("anonymous", Scope.VIEW)
_SCHEME = b"bearer "


class Identify:
    """Says whose token or session it is; without one, nobody where none is ``required``. An
    ``Authenticator``."""

    def __init__(self, services: Services, *, required: bool) -> None:
        self._services = services
        self._anonymous = None if required else _NOBODY

    async def __call__(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Unauthenticated where nobody did."""
        return await identify(self._services, headers, anonymous=self._anonymous)

    def known(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        """The holder of a bearer token that was looked up a moment ago."""
        secret = _secret(headers.get(b"authorization", b""))
        return None if secret is None else self._services.tokens.known(secret)


@functools.lru_cache(256)
def _secret(given: bytes) -> str | None:
    if given[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return given[len(_SCHEME) :].strip().decode("latin-1")

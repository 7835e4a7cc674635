"""Who sends a request: as for REST, or nobody where that is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from bot.graphql.http import Authenticator
from bot.services import Caller, Scope, Services
from bot.web.auth import Identity, identify

_NOBODY = Caller("anonymous", Scope.VIEW)


def authenticator(services: Services, *, required: bool) -> Authenticator:
    """Says whose token or session it is; without one, nobody where none is ``required``."""
    anonymous = None if required else _NOBODY

    async def authenticate(headers: Mapping[bytes, bytes]) -> Identity:
        return await identify(services, headers, anonymous=anonymous)

    return authenticate

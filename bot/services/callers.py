"""Who asks, and how far their token reaches."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from bot.errors import Forbidden


class Scope(IntEnum):
    """How far a token reaches; each includes those below."""

    VIEW = 1
    OPERATE = 2
    ADMIN = 3


class Caller(msgspec.Struct, frozen=True):
    """Who asks. ``via`` is how they said so: ``token``, ``session`` or ``nobody``; ``looks`` says
    that they may look at what is everybody's, although they are no admin."""

    user: str
    scope: Scope
    token_id: str | None = None
    via: str = "token"
    looks: bool = False

    @property
    def sees_all(self) -> bool:
        """Whether they see what belongs to others."""
        return self.looks or self.scope is Scope.ADMIN

    def require(self, scope: Scope) -> None:
        """Forbidden where the token does not reach that far."""
        if self.scope < scope:
            raise Forbidden(
                f"this needs the scope {scope.name.lower()}",
                hint=f"the token has the scope {self.scope.name.lower()}",
            )


#: The command line on the machine of the service, without a service running.
OWNER = Caller("admin", Scope.ADMIN)

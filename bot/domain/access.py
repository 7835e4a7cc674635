"""Who may use the service: people, their sessions, and the record of what was changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec


class Session(msgspec.Struct, frozen=True):
    """Somebody who is logged in, without the secret. ``token`` is the id of the token that they
    logged in with, None where it was a password."""

    id: str
    user: str
    scope: str
    token: str | None
    created_at: float
    seen_at: float
    expires_at: float
    address: str | None = None
    agent: str | None = None


class SessionStore(Protocol):
    """Durable sessions, by the SHA-256 of their secret."""

    async def add_session(self, session: Session, digest: bytes) -> None:
        """Store one."""

    async def find_session(self, digest: bytes, now: float) -> Session | None:
        """The session whose secret has that digest, with the role of now; None where there is
        none, it is over, or what it was begun with (token, user) is gone."""

    async def touch_session(self, session_id: str, at: float) -> None:
        """Remember when it was used last."""

    async def delete_session(self, digest: bytes) -> bool:
        """Whether there was one to end."""

    async def delete_sessions(self, user: str) -> int:
        """End all of a user; how many there were."""

    async def delete_old_sessions(self, expired: float, unseen: float) -> int:
        """End those that were to end before ``expired``, and those not seen since ``unseen``."""


class Account(msgspec.Struct, frozen=True):
    """Somebody who can log in with a password. ``role`` is ``viewer``, ``operator`` or
    ``admin``."""

    name: str
    role: str
    created_at: float
    changed_at: float


class AccountStore(Protocol):
    """Durable accounts."""

    async def add_account(self, account: Account, password: str) -> None:
        """Store one with the hash of its password; Duplicate where the name is taken."""

    async def find_account(self, name: str) -> tuple[Account, str] | None:
        """The account and the hash of its password, or None."""

    async def list_accounts(self) -> Sequence[Account]:
        """All of them, by name."""

    async def change_account(
        self, name: str, at: float, *, role: str | None = None, password: str | None = None
    ) -> bool:
        """Change the role, or the hash of the password (which ends the sessions); whether there
        is one of that name."""

    async def delete_account(self, name: str) -> bool:
        """Remove it and end its sessions; whether there was one."""


class Deed(msgspec.Struct, frozen=True):
    """Something that was changed, or that was refused: who, what, from where, and how it ended.

    ``via`` is how they said who they are (``token``, ``session``, ``machine``, ``nobody``);
    ``outcome`` the status of HTTP.
    """

    at: float
    user: str
    via: str
    action: str
    target: str | None
    address: str | None
    outcome: int
    request: str | None = None
    details: dict[str, Any] = {}
    seq: int = 0


class DeedStore(Protocol):
    """The durable record of deeds."""

    async def add_deeds(self, deeds: Sequence[Deed]) -> None:
        """Store them in one transaction."""

    async def find_deeds(
        self, *, user: str | None, action: str | None, since: float, before: int | None, limit: int
    ) -> Sequence[Deed]:
        """The newest, those before the number ``before`` where it is given."""

    async def delete_deeds(self, before: float) -> int:
        """Forget those from before then (UNIX seconds)."""

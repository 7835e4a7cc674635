"""Sessions: what a browser has instead of a token. Stored as digests only."""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec

from bot.domain.access import Session, SessionStore
from bot.domain.ids import IdSource
from bot.domain.ports import Clock
from bot.errors import Unauthenticated
from bot.services.callers import Caller, Scope
from bot.services.tokens import Tokens

_MEMORY = 5.0  # seconds for which a session that another process ended may still be let in
_TOUCH = 60.0  # seconds between two notes that a session is in use
_LONGEST = 200  # characters of what a browser says of itself


class Sessions:
    """Begun with a token or a password, ended by logging out, by disuse (``idle`` seconds) and in
    any case after ``lifetime`` seconds; with the token, and when the password changes.

    ``anonymous`` is who somebody without a session is, where the page is open to all.
    """

    def __init__(
        self,
        store: SessionStore,
        tokens: Tokens,
        clock: Clock,
        *,
        idle: float,
        lifetime: float,
        anonymous: Caller | None,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._idle = idle
        self._lifetime = lifetime
        self.anonymous = anonymous
        self._known: dict[bytes, tuple[float, int, Session]] = {}
        self._new_id = IdSource()

    async def open(
        self, caller: Caller, address: str | None, agent: str | None
    ) -> tuple[str, Caller]:
        """The secret of a new session of somebody who has proved who they are."""
        now = self._clock.now()
        await self._store.delete_old_sessions(now, now - self._idle)
        secret = secrets.token_urlsafe(32)
        session = Session(
            id=self._new_id(),
            user=caller.user,
            scope=caller.scope.name.lower(),
            token=caller.token_id,
            created_at=now,
            seen_at=now,
            expires_at=now + self._lifetime,
            address=address,
            agent=None if agent is None else agent[:_LONGEST],
        )
        await self._store.add_session(session, _digest(secret))
        return secret, msgspec.structs.replace(caller, via="session")

    async def authenticate(self, secret: str) -> Caller:
        """Who holds that secret; Unauthenticated where nobody does any more."""
        digest, now, ended = _digest(secret), self._clock.now(), self._tokens.revocations
        known = self._known.get(digest)
        if known is None or now - known[0] > _MEMORY or known[1] != ended:
            self._known.pop(digest, None)
            found = await self._store.find_session(digest, now)
            if found is None or found.seen_at <= now - self._idle:
                raise _over()
            if found.seen_at < now - _TOUCH:
                await self._store.touch_session(found.id, now)
            self._known[digest] = known = (now, ended, found)
        session = known[2]
        if session.expires_at <= now:
            raise _over()
        return Caller(session.user, Scope[session.scope.upper()], session.token, "session")

    async def close(self, secret: str) -> None:
        """Log out; Unauthenticated where nobody is logged in with that."""
        digest = _digest(secret)
        self._known.pop(digest, None)
        if not await self._store.delete_session(digest):
            raise _over()

    async def close_all(self, user: str) -> int:
        """Log a user out everywhere; from how many places."""
        self.forget()
        return await self._store.delete_sessions(user)

    def forget(self) -> None:
        """Look at the store again: something was changed there."""
        self._known.clear()


def csrf_of(secret: str) -> str:
    """What a page of ours sends with a write, and one of another site can't know."""
    return hashlib.sha256(b"mltb csrf " + secret.encode("utf-8", "replace")).hexdigest()


def is_csrf(secret: str, given: str) -> bool:
    """Whether it is that of the session."""
    return hmac.compare_digest(csrf_of(secret).encode(), given.encode("utf-8", "replace"))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _over() -> Unauthenticated:
    return Unauthenticated("nobody is logged in", hint="the session is over; log in again")

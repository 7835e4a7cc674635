"""Access tokens: made here, stored as digests only."""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Sequence

from bot.domain.ids import IdSource
from bot.domain.ports import Clock, Token, TokenStore
from bot.errors import NotFound, Unauthenticated
from bot.services.callers import Caller, Scope

_PREFIX = "mltb_"
_TOKEN_MEMORY = 5.0  # seconds for which a revoked token may still be let in


class Tokens:
    """Access tokens: made here, stored as digests only."""

    def __init__(self, store: TokenStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[bytes, tuple[float, float | None, Caller]] = {}
        self._new_id = IdSource()
        #: How many were revoked: what was made of a token before that may be over.
        self.revocations = 0

    async def create(
        self,
        name: str,
        scope: Scope,
        *,
        user: str = "admin",
        lifetime: float | None = None,
    ) -> tuple[str, Token]:
        """A new secret, shown this once, and its token. ``lifetime`` in seconds."""
        now = self._clock.now()
        secret = _PREFIX + secrets.token_urlsafe(32)
        expires = None if lifetime is None else now + lifetime
        token = Token(self._new_id(), name, scope.name.lower(), user, now, expires)
        await self._store.add_token(token, _digest(secret))
        return secret, token

    async def list(self) -> Sequence[Token]:
        """Every token, without its secret."""
        return await self._store.list_tokens()

    async def revoke(self, token_id: str) -> None:
        """End a token; NotFound where there is none."""
        if not await self._store.delete_token(token_id):
            raise NotFound(f"there is no token {token_id!r}", hint="mltb token list shows them")
        self._known.clear()
        self.revocations += 1

    async def authenticate(self, secret: str | None) -> Caller:
        """Who holds that secret; Unauthenticated where nobody does any more."""
        if not secret or not secret.startswith(_PREFIX) or len(secret) > 200:
            raise Unauthenticated(
                "no valid token came with the request",
                hint="send Authorization: Bearer TOKEN; mltb token create makes one",
            )
        caller = self.known(secret)
        if caller is not None:
            return caller
        digest, now = _digest(secret), self._clock.now()
        token = await self._store.find_token(digest)
        if token is None:
            self._known.pop(digest, None)
            raise Unauthenticated("the token is unknown", hint="it was revoked, or mistyped")
        caller = Caller(token.user, Scope[token.scope.upper()], token.id)
        self._known[digest] = now, token.expires_at, caller
        await self._store.touch_token(token.id, now)
        if token.expires_at is not None and token.expires_at <= now:
            raise Unauthenticated("the token is expired", hint="mltb token create makes a new one")
        return caller

    def known(self, secret: str) -> Caller | None:
        """Who held that secret a moment ago; None where it has to be looked up."""
        found = self._known.get(_digest(secret))
        if found is None:
            return None
        seen, expires, caller = found
        now = self._clock.now()
        if now - seen > _TOKEN_MEMORY or (expires is not None and expires <= now):
            return None
        return caller


@functools.lru_cache(256)
def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()

"""Passwords, as Argon2id keeps them (RFC 9106; the parameters are those of OWASP).

The library takes 9 MB, so it is loaded with the first password.
"""

from __future__ import annotations

import asyncio
import secrets

from bot.errors import InvalidInput

SHORTEST, LONGEST = 10, 256  # characters
_KIB, _PASSES = 19 * 1024, 2
_AT_ONCE = 2  # each takes 19 MiB


class Passwords:
    """Makes and checks hashes, a few at a time and beside the loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """What is stored of it. InvalidInput where it is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise InvalidInput(
                f"the password has {len(password)} characters",
                hint=f"{SHORTEST} to {LONGEST} characters",
            )
        async with self._turns:
            return await asyncio.to_thread(_hash, password)

    async def check(self, password: str, known: str | None) -> bool:
        """Whether it is that one. Where nobody is known, it takes as long to say no."""
        if known is None and self._nobodys is None:
            self._nobodys = await self.hash(secrets.token_urlsafe())
        async with self._turns:
            right = await asyncio.to_thread(_check, password, known or self._nobodys or "")
        return right and known is not None


def _hash(password: str) -> str:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    made = Argon2id(
        salt=secrets.token_bytes(16), length=32, iterations=_PASSES, lanes=1, memory_cost=_KIB
    )
    return made.derive_phc_encoded(_bytes(password))


def _check(password: str, known: str) -> bool:
    from cryptography.exceptions import InvalidKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        Argon2id.verify_phc_encoded(_bytes(password), known)
    except (InvalidKey, ValueError):
        return False
    return True


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")

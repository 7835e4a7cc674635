"""Identifiers of tasks: sortable by time, short enough to read aloud."""

from __future__ import annotations

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in order, lower case
_RANDOM_BITS = 32


class IdSource:
    """Makes identifiers of 16 characters: 48 bits of milliseconds, then 32 random bits.

    Two identifiers of one source are always different and sort in the order they were made, also
    within one millisecond and when the clock steps back.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """The next identifier."""
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        with self._lock:
            self._last = fresh if fresh > self._last else self._last + 1
            value = self._last
        return "".join(_ALPHABET[value >> shift & 31] for shift in range(75, -5, -5))

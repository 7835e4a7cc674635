"""Bytes that need no disk: any size, any range, the same for the same seed.

Each block carries its own number, so that a range written at the wrong place changes the hash.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

Seed = int | str

BLOCK = 256 * 1024
_STAMP = 8


@lru_cache(maxsize=64)
def _base(seed: Seed) -> memoryview:
    digest = hashlib.shake_128(str(seed).encode()).digest(BLOCK)
    return memoryview(digest)


def blocks(seed: Seed, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from `start` up to, not including, `stop`, in blocks of at most `BLOCK`."""
    base = _base(seed)
    while start < stop:
        number, low = divmod(start, BLOCK)
        high = min(BLOCK, low + stop - start)
        if low >= _STAMP:
            yield bytes(base[low:high])
        else:
            stamp = number.to_bytes(_STAMP, "big")
            yield b"".join((stamp[low:high], base[max(low, _STAMP) : high]))
        start += high - low


def content(seed: Seed, size: int, start: int = 0, stop: int | None = None) -> bytes:
    """A part of the `size` bytes of a seed; without `start` and `stop`, all of them."""
    return b"".join(blocks(seed, start, size if stop is None else min(stop, size)))


@lru_cache(maxsize=256)
def sha256_of(seed: Seed, size: int) -> str:
    """The SHA-256 of all `size` bytes, in hex."""
    digest = hashlib.sha256()
    for block in blocks(seed, 0, size):
        digest.update(block)
    return digest.hexdigest()

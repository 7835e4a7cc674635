"""The cache in Redis or Valkey."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from bot.cache.flights import Flight, Flights
from bot.cache.port import MAX_TTL, CacheStats, Make
from bot.errors import ConfigError

log = logging.getLogger(__name__)

_TIMEOUT = 1.0
_PAUSE = 2.0
_WARN_EVERY = 60.0
_MAX_OWED = 10_000

_Command = tuple[str | bytes | int, ...]

#: The tags of an entry with the mark that each had when the value was made, then the value. A tag
#: is dropped by giving it another mark, which costs the same for any number of entries.
_Stored = tuple[dict[str, bytes | None], bytes]

_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(_Stored)


#: The tag that every entry has: dropping it clears the cache.
_EVERY = ""


def connect(url: str) -> Redis:
    """A client that connects when it is used first. ConfigError where the URL is none of Redis."""
    try:
        client: Redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            # Once more at once, for a connection that died while it was idle.
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError as error:
        raise ConfigError(
            f"REDIS_URL can't be used: {error}",
            hint="write it as redis://HOST:6379/0, rediss://... or unix:///path",
        ) from error
    return client


class RedisCache:
    """Entries in Redis or Valkey, shared by every process with the same prefix. See ``Cache``.

    What is asked for while an answer is awaited goes out together, over one connection.
    """

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._max_bytes = max_bytes
        self._clock = clock
        self._flights = Flights()
        self._waiting: list[tuple[_Command, asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._down_until: float | None = None
        self._warned_at: float | None = None
        # What the server must forget, and could not be told: it is not believed before.
        self._owed_tags: set[str] = set()
        self._owed_keys: set[str] = set()
        self._hits = self._misses = 0

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        found = await self._ask(("MGET", self._value(key), self._tag(_EVERY)))
        value = None if found is None else await self._valid(*found)
        if value is None:
            self._misses += 1
        else:
            self._hits += 1
        return value

    async def _valid(self, stored: bytes | None, every: bytes | None) -> bytes | None:
        """The value of an entry, if none of its tags was dropped since it was made."""
        if stored is None:
            return None
        try:
            marks, value = _unpack.decode(stored)
        except msgspec.MsgspecError:
            return None
        if marks.pop(_EVERY, None) != every:
            return None
        return value if not marks or await self._marks(marks) == marks else None

    async def _marks(self, tags: Iterable[str]) -> dict[str, bytes | None] | None:
        names = tuple(tags)
        found = await self._ask(("MGET", *map(self._tag, names)))
        return None if found is None else dict(zip(names, found, strict=True))

    async def set(self, key: str, value: bytes, *, ttl: float, tags: Sequence[str] = ()) -> None:
        """Keep a value, unless it is too large or has no time to live."""
        await self._store(key, value, ttl, await self._marks({_EVERY, *tags}))

    async def _store(
        self, key: str, value: bytes, ttl: float, marks: dict[str, bytes | None] | None
    ) -> None:
        life = int(min(ttl, MAX_TTL) * 1000)
        if marks is not None and life > 0 and len(value) <= self._max_bytes:
            stored = _pack.encode((marks, value))
            await self._ask(("SET", self._value(key), stored, "PX", life))

    async def drop(self, tags: Iterable[str]) -> None:
        """Forget every entry that has one of ``tags``."""
        gone = frozenset(tags)
        self._flights.outdate(tags=gone)
        self._owed_tags |= gone
        await self._pay()

    async def delete(self, keys: Iterable[str]) -> None:
        """Forget those entries."""
        gone = frozenset(keys)
        self._flights.outdate(keys=gone)
        self._owed_keys |= gone
        await self._pay()

    async def clear(self) -> None:
        """Forget everything under the prefix; its memory comes back as the entries expire."""
        self._flights.outdate_all()
        self._owed_tags.add(_EVERY)
        await self._pay()

    async def _pay(self) -> None:
        if len(self._owed_tags) + len(self._owed_keys) > _MAX_OWED:
            self._owed_tags, self._owed_keys = {_EVERY}, set()
        if self._owed_tags or self._owed_keys:
            await self._ask(("PING",))

    async def single_flight(
        self, key: str, *, ttl: float, make: Make, tags: Sequence[str] = ()
    ) -> bytes:
        """The value of ``key``, made once in this process where it is not there."""

        async def work(flight: Flight) -> bytes:
            known = await self.get(key)
            if known is not None:
                return known
            # What is dropped by whoever while the value is made has another mark afterwards.
            marks = await self._marks({_EVERY, *tags})
            value = await make()
            if not flight.stale:
                await self._store(key, value, ttl, marks)
            return value

        return await self._flights.join(key, tags, work)

    def stats(self) -> CacheStats:
        """The hits and misses of this process."""
        return CacheStats(self._hits, self._misses, 0, None, None)

    async def close(self) -> None:
        """Cancel what is being made and close the connection."""
        await self._flights.close()
        if self._sender is not None:
            await asyncio.wait([self._sender])
        await self._client.aclose()

    def _value(self, key: str) -> str:
        return f"{self._prefix}v:{key}"

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}t:{tag}"

    async def _ask(self, command: _Command) -> Any:
        """The answer to a command; None where the server does not give one."""
        if self._down_until is not None and self._clock() < self._down_until:
            return None
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send(), name="cache sender")
        return await answer

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            answers: Sequence[Any] = ()
            try:
                answers = await self._exchange([command for command, _ in batch])
            finally:
                for number, (_, waiter) in enumerate(batch):
                    if not waiter.done():
                        waiter.set_result(answers[number] if answers else None)

    async def _exchange(self, commands: Sequence[_Command]) -> Sequence[Any]:
        """The answers to the commands, None for each that failed; nothing when none is good."""
        tags, self._owed_tags = self._owed_tags, set()
        keys, self._owed_keys = self._owed_keys, set()
        debts = self._debts(tags, keys)
        answers = await self._pipeline([*debts, *commands])
        paid, answers = answers[: len(debts)], answers[len(debts) :]
        if not answers or None in paid:
            self._owed_tags |= tags
            self._owed_keys |= keys
            return ()
        return answers

    def _debts(self, tags: Iterable[str], keys: Iterable[str]) -> list[_Command]:
        life = int(2 * MAX_TTL * 1000)
        debts: list[_Command] = [
            ("SET", self._tag(tag), secrets.token_bytes(8), "PX", life) for tag in tags
        ]
        debts += [("DEL", self._value(key)) for key in keys]
        return debts

    async def _pipeline(self, commands: Sequence[_Command]) -> Sequence[Any]:
        pipe = self._client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        try:
            answers = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            self._down_until = self._clock() + _PAUSE
            self._warn(error)
            return ()
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if failed:
            self._warn(failed[0])
        elif self._down_until is not None:
            self._down_until = self._warned_at = None
            log.info("cache: Redis answers again")
        return [None if isinstance(answer, Exception) else answer for answer in answers]

    def _warn(self, error: Exception) -> None:
        now = self._clock()
        if self._warned_at is None or now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            log.warning("cache: Redis gives no answer, so nothing is cached for now: %s", error)

"""Subscriptions: executed once for everybody who follows the same thing in the same role.

The answer to each event is made and encoded once, and the same text goes to all. A follower that
does not keep up loses the oldest answers, and is let go when it has lost too many.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from graphql import ExecutionResult, GraphQLError

from bot.errors import TooMany, Unavailable
from bot.graphql.context import Context
from bot.graphql.documents import Document, Operation
from bot.graphql.execution import Answer, Executor, answer
from bot.graphql.shaping import Shaped, plain, shaped
from bot.graphql.subscriptions import STATES

_BUFFER = 256  # answers that wait for one follower
_LOST = 4096  # of them that it may lose


class Broken(Exception):
    """A subscription ended with errors, in their shape."""

    def __init__(self, error: Shaped) -> None:
        super().__init__(error["message"])
        self.errors = [error]


class Follower:
    """An async iterator over answers (JSON text). Broken where it does not keep up, or where what
    it follows fails."""

    def __init__(self) -> None:
        self._queue: deque[str] = deque(maxlen=_BUFFER)
        self._ready = asyncio.Event()
        self._over = False
        self._error: Shaped | None = None
        self._lost = 0

    def push(self, text: str) -> None:
        """One answer more."""
        if len(self._queue) == _BUFFER:
            self._lost += 1
        self._queue.append(text)
        self._ready.set()

    def end(self, error: Shaped | None = None) -> None:
        """No more answers, because of an error where there is one."""
        self._over, self._error = True, error
        self._ready.set()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while not self._queue:
            if self._error is not None:
                raise Broken(self._error)
            if self._over:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        if self._lost > _LOST:
            lost = TooMany(
                f"{self._lost} answers were lost, since they were not read in time",
                hint="subscribe again, to less or from nearer",
            )
            raise Broken(plain(lost))
        return self._queue.popleft()


@dataclass(slots=True)
class _Stream:
    """One execution and who follows it."""

    followers: set[Follower] = field(default_factory=set)
    last: str | None = None
    task: asyncio.Task[None] | None = None


class Streams:
    """The subscriptions under way."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._streams: dict[str, _Stream] = {}
        self._closed = False

    @contextlib.asynccontextmanager
    async def follow(
        self,
        key: str,
        document: Document,
        operation: Operation,
        variables: dict[str, object],
        on: Context,
    ) -> AsyncIterator[Follower | Answer]:
        """A follower of what has that key; an answer with errors where the subscription can't
        begin. Unavailable while the service stops."""
        if self._closed:
            raise Unavailable("the service stops")
        stream = self._streams.get(key)
        if stream is None:
            found = await self._executor.subscribe(document, operation, variables, on)
            if isinstance(found, ExecutionResult):
                yield answer(found)
                return
            stream = self._streams.get(key)
            if stream is None:
                stream = self._streams[key] = _Stream()
                replays = bool(operation.roots & STATES)
                stream.task = asyncio.ensure_future(self._pump(key, stream, found, replays))
            else:
                await _close(found)
        follower = Follower()
        stream.followers.add(follower)
        if stream.last is not None:
            follower.push(stream.last)
        try:
            yield follower
        finally:
            stream.followers.discard(follower)
            if not stream.followers and stream.task is not None:
                self._forget(key, stream)
                stream.task.cancel()
                await asyncio.gather(stream.task, return_exceptions=True)

    async def _pump(
        self, key: str, stream: _Stream, results: AsyncIterator[ExecutionResult], replays: bool
    ) -> None:
        error: Shaped | None = None
        try:
            async for result in results:
                text = answer(result).body.decode()
                if replays:
                    stream.last = text
                for follower in stream.followers:
                    follower.push(text)
        except Exception as raised:  # noqa: BLE001 - it is told to who follows, and logged
            error = shaped(GraphQLError(str(raised), original_error=raised))
        finally:
            self._forget(key, stream)
            for follower in stream.followers:
                follower.end(error)
            await _close(results)

    def _forget(self, key: str, stream: _Stream) -> None:
        if self._streams.get(key) is stream:
            del self._streams[key]

    async def close(self) -> None:
        """End all of them, and begin no more."""
        self._closed = True
        streams = list(self._streams.values())
        tasks = [each.task for each in streams if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for follower in (each for stream in streams for each in stream.followers):
            follower.end()  # of one whose task had not even begun


async def _close(results: object) -> None:
    close = getattr(results, "aclose", None)
    if close is not None:
        await close()

"""A child process of ours that serves many jobs: it starts when it is needed, answers calls over
its pipes, is started anew after it crashed, and ends when nobody needed it for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bot import errors
from bot.engines import children
from bot.engines.wire import Splitter, pack
from bot.errors import InternalFailure, NetworkFailed, TransferError

_CHUNK = 256 * 1024
_LAST_WORDS = 5
_GRACE = 10.0

#: The failures that a child may name in an answer, by their code.
FAILURES: Mapping[str, type[TransferError]] = {
    kind.code: kind
    for kind in (
        errors.NetworkFailed,
        errors.Refused,
        errors.SourceNotFound,
        errors.NoSpace,
        errors.Corrupt,
        errors.Unsupported,
        errors.PolicyRefused,
        errors.InternalFailure,
    )
}


def failure(code: str, message: str) -> TransferError:
    """The error that a child means by ``code``; InternalFailure for a code nobody knows."""
    return FAILURES.get(code, InternalFailure)(message)


class _Child:
    """One run of the process: its pipes, the calls that wait, its last words."""

    def __init__(self, process: Process) -> None:
        if process.stdout is None or process.stderr is None:
            raise InternalFailure("a companion was started without its pipes")
        self.process = process
        self.output = process.stdout
        self.errors = process.stderr
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.words: deque[str] = deque(maxlen=_LAST_WORDS)
        self.reader: asyncio.Task[None] | None = None
        self.listener: asyncio.Task[None] | None = None
        self.expected = False

    def send(self, message: dict[str, Any]) -> None:
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(pack(message))


class Companion:
    """Calls and events of one long-lived child.

    ``opening`` gives the arguments of the first call to a fresh child, ``open``. ``on_event`` gets
    every message that answers no call; ``on_lost`` the error when the child ended and was not
    asked to. Belongs to one event loop, in a thread that outlives it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        opening: Callable[[], dict[str, Any]],
        on_event: Callable[[dict[str, Any]], None],
        on_lost: Callable[[TransferError], None],
        idle: float = 60.0,
    ) -> None:
        self._argv = argv
        self._name = name
        self._opening = opening
        self._on_event = on_event
        self._on_lost = on_lost
        self._idle = idle
        self._child: _Child | None = None
        self._lock = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._holders = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.process.pid if self._child else None

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the child from ending for want of work; it starts at the first call."""
        self._holders += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._idle, self._expire)

    async def call(self, op: str, **arguments: Any) -> Any:
        """Ask the child to do ``op``; its answer. Raises the TransferError that it names.

        NetworkFailed (the stage may be tried again) where it ends instead of answering.
        """
        async with self._lock:
            child = self._child or await self._start()
        return await self._ask(child, op, arguments)

    def post(self, op: str, **arguments: Any) -> None:
        """Tell a running child something; nothing happens where there is none."""
        if self._child is not None:
            self._child.send({"op": op, **arguments})

    async def kill(self) -> None:
        """End the child at once; what waits for it fails."""
        child = self._child
        if child is not None:
            children.signal_group(child.process, signal.SIGKILL)
            await child.process.wait()

    async def close(self) -> None:
        """End the child in good order, and wait until it is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        async with self._lock:
            await self._end()
        if self._ending is not None:
            await self._ending

    async def _start(self) -> _Child:
        process = await children.spawn(self._argv, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        child = _Child(process)
        child.listener = asyncio.create_task(self._listen(child))
        child.reader = asyncio.create_task(self._read(child))
        self._child = child
        try:
            await self._ask(child, "open", self._opening())
        except TransferError:
            await self._end()
            raise
        return child

    async def _ask(self, child: _Child, op: str, arguments: dict[str, Any]) -> Any:
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        child.waiting[number] = answer
        if child is not self._child:
            raise self._lost(child)
        child.send({"id": number, "op": op, **arguments})
        try:
            return await answer
        finally:
            child.waiting.pop(number, None)

    async def _read(self, child: _Child) -> None:
        splitter = Splitter()
        try:
            while data := await child.output.read(_CHUNK):
                for message in splitter.feed(data):
                    self._take(child, message)
        except ValueError as error:
            child.words.append(f"it wrote {error}")
        finally:
            children.signal_group(child.process, signal.SIGKILL)
            await child.process.wait()
            if child.listener is not None:
                await child.listener
            self._forget(child)

    def _take(self, child: _Child, message: dict[str, Any]) -> None:
        number = message.get("id")
        if number is None:
            self._on_event(message)
            return
        answer = child.waiting.get(number)
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(failure(message["error"], message["message"]))
        else:
            answer.set_result(message.get("result"))

    async def _listen(self, child: _Child) -> None:
        """Keep the last lines of its standard error, for the message about its end."""
        with contextlib.suppress(ValueError):  # a line beyond the reader's limit
            while line := await child.errors.readline():
                child.words.append(line.decode(errors="replace").strip()[:500])

    def _forget(self, child: _Child) -> None:
        if self._child is child:
            self._child = None
        lost = self._lost(child)
        for answer in child.waiting.values():
            if not answer.done():
                answer.set_exception(lost)
        if not child.expected:
            self._on_lost(lost)

    def _lost(self, child: _Child) -> TransferError:
        status = child.process.returncode
        how = "ended"
        if status is not None and status < 0:
            how = f"was killed by signal {-status} ({signal.strsignal(-status)})"
        elif status:
            how = f"ended with status {status}"
        words = f": {' / '.join(child.words)}" if child.words else ""
        return NetworkFailed(
            f"the process of the {self._name} engine {how}{words}",
            hint="it is started anew at the next try, which goes on from the last checkpoint",
        )

    def _expire(self) -> None:
        self._timer = None
        if not self._holders:
            self._ending = asyncio.create_task(self._retire())

    async def _retire(self) -> None:
        async with self._lock:
            if not self._holders:
                await self._end()

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.expected = True
        await children.stop(child.process, _GRACE)
        if child.reader is not None:
            await child.reader

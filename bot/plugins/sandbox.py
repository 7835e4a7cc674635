"""The host's end of the sandbox: the zygotes, and the workers that they fork."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import signal
import socket
import stat
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.engines import children
from bot.errors import MltbError, PluginFailed, Unavailable
from bot.plugins import tiers, wire
from bot.plugins.channel import HUNG_UP, Channel, close_all
from bot.plugins.desk import handed
from bot.plugins.output import Output
from bot.plugins.pending import Pending
from bot.plugins.tiers import Tier
from bot.plugins.worker import Spec
from bot.plugins.zygote import Ended, Start, Started

_MESSAGE = 4096
_WORDS = 2000  # characters of what a zygote said last
_MAX_ASKING = 64  # calls of one plugin to the host at the same time
_GRACE = 2.0  # seconds for a zygote to end
#: One arena: every other costs address space, which is limited.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}

#: What plugins import; it is there before they are.
_PRELOADED = ("bot.core.plugin_manager",)

#: Serves a call of a plugin to the host: its method and its arguments.
Broker = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Zygote:
    """A process that forks workers. ``code`` and ``state`` are directories that bubblewrap lets
    them see, where the tier has it.
    """

    def __init__(self, tier: Tier, *, code: Sequence[str], state: Sequence[str]) -> None:
        self.tier = tier
        self._code = code
        self._state = state
        self._process: Process | None = None
        self._control: socket.socket | None = None
        self._numbers = itertools.count(1)
        self._starting: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, Callable[[int], None]] = {}
        self._lock = asyncio.Lock()
        self._words = ""

    async def fork(
        self, spec: Spec, channel: int, errors: int, ended: Callable[[int], None]
    ) -> int:
        """A new worker with these descriptors; its pidfd, which is the caller's to close.

        ``ended`` is called once, with the exit status (negative: the signal).
        """
        async with self._lock:
            if self._control is None:
                await self._begin()
        control = self._control
        if control is None:
            raise Unavailable("the process that plugins are started from is gone")
        number = next(self._numbers)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._starting[number] = answer
        self._ended[number] = ended
        frame = msgspec.msgpack.encode(Start(number, spec))
        try:
            socket.send_fds(control, [frame], [channel, errors])
            return await answer
        except OSError as error:
            self._ended.pop(number, None)
            raise Unavailable(f"no plugin can be started: {error}") from error
        finally:
            self._starting.pop(number, None)

    async def close(self) -> None:
        """End it, and so every worker of it."""
        process, self._process = self._process, None
        self._hang_up("closed")
        if process is not None:
            await children.stop(process, _GRACE)

    async def _begin(self) -> None:
        """Start it; one that hung up is ended before."""
        process, self._process = self._process, None
        if process is not None:
            await children.stop(process, _GRACE)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [sys.executable, "-P", "-m", "bot.plugins.zygote", *_PRELOADED]
        if self.tier.wrapped:
            program = tiers.bubblewrap_path()
            if program is None:
                raise Unavailable("bubblewrap is gone")
            argv = [*tiers.wrapping(program, self._code, self._state), *argv]
        with theirs:
            process = await children.spawn(
                argv, env=_ENVIRONMENT, stdin=theirs.fileno(), stdout=DEVNULL, stderr=PIPE
            )
        ours.setblocking(False)
        self._process, self._control, self._words = process, ours, ""
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._readable, ours)
        self._reading = loop.create_task(self._read_errors(process))

    async def _read_errors(self, process: Process) -> None:
        assert process.stderr is not None
        while data := await process.stderr.read(_MESSAGE):
            self._words = (self._words + data.decode(errors="replace"))[-_WORDS:]

    def _readable(self, control: socket.socket) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(control, _MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._hang_up(self._words.strip() or "it ended")
            return
        message = msgspec.msgpack.decode(data, type=Started | Ended)
        if isinstance(message, Ended):
            self._ended.pop(message.id, _ignore)(message.status)
            return
        answer = self._starting.get(message.id)
        if answer is None or answer.done():
            for fd in fds:
                os.close(fd)
        else:
            answer.set_result(fds[0])

    def _hang_up(self, reason: str) -> None:
        control, self._control = self._control, None
        if control is None:
            return
        asyncio.get_running_loop().remove_reader(control)
        control.close()
        error = Unavailable(f"the process that plugins are started from is gone: {reason}")
        for answer in self._starting.values():
            if not answer.done():
                answer.set_exception(error)
        ended, self._ended = self._ended, {}
        for call in ended.values():
            call(-signal.SIGKILL)


class Worker:
    """A plugin that runs. ``broker`` serves what it asks the host for, ``log`` gets its lines."""

    def __init__(
        self,
        spec: Spec,
        *,
        broker: Broker,
        log: Callable[[str], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.description: dict[str, Any] = {}
        self._broker = broker
        self._log = log
        self._on_end = on_end
        self._pending = Pending(self.kill)
        self._asking: set[asyncio.Task[None]] = set()
        self._channel: Channel | None = None
        self._pidfd: int | None = None
        self._output: Output | None = None
        self._why: str | None = None
        #: Whether it was this side that ended it.
        self.is_killed = False
        self._gone = asyncio.Event()

    async def start(self, zygote: Zygote, timeout: float) -> None:
        """Fork it and load the plugin. PluginFailed where that fails, or takes too long."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        errors, their_errors = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = Channel(ours, loop, on_message=self._take, on_end=self._hung_up)
        self._output = Output(errors, self._log)
        try:
            with theirs, their_errors:
                self._pidfd = await zygote.fork(
                    self.spec, theirs.fileno(), their_errors.fileno(), self._ended
                )
            self.description = await self.call("load", timeout=timeout)
        except (MltbError, OSError, asyncio.CancelledError):
            await self.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can be called."""
        return self._why is None and self._channel is not None

    @property
    def end(self) -> str | None:
        """How it ended; None while it is there."""
        return self._why if self._gone.is_set() else None

    @property
    def pid(self) -> int | None:
        """Its number among the processes of the host; None where it is gone."""
        if self._pidfd is None:
            return None
        info = Path(f"/proc/self/fdinfo/{self._pidfd}").read_text(encoding="ascii")
        number = int(info.partition("\nPid:")[2].split()[0])
        return number if number > 0 else None

    async def call(
        self,
        method: str,
        *args: Any,
        data: Mapping[str, Any] | None = None,
        timeout: float,
        fds: Sequence[int] = (),
    ) -> Any:
        """Call a method of the plugin with ``args`` and, by name, ``data``; what it gives. ``fds``
        are duplicated for it.

        PluginFailed where it raises, ends, or does not answer within ``timeout`` seconds: then it
        is killed.
        """
        if not self.alive or self._channel is None:
            raise self._lost()
        self._check_handed(fds)
        duplicates = [os.dup(fd) for fd in fds] if fds else ()
        answer = self._pending.add(method, timeout)
        try:
            frame = wire.pack(
                wire.Call(answer.number, method, list(args), dict(data or {}), len(fds))
            )
        except (TypeError, ValueError) as error:
            self._pending.drop(answer)
            for fd in duplicates:
                os.close(fd)
            raise PluginFailed(
                f"plugin {self.spec.plugin} can't be handed that: {error}"
            ) from error
        self._channel.send(frame, duplicates)
        try:
            return await answer
        except asyncio.CancelledError:
            self._pending.abandon(answer)
            raise

    def kill(self, why: str) -> None:
        """End it at once; what waits for it fails with that reason."""
        if self._why is None:
            self._why, self.is_killed = why, True
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def stop(self, grace: float = 0.0) -> None:
        """End it. Where ``grace`` (seconds) is given, calls under way may end, and then
        ``shutdown`` is called, each within that time. Waits until it is gone."""
        if grace:
            self.signal(signal.SIGCONT)  # whoever stopped it
        if grace and self.alive and self._pending.waiting:
            await asyncio.wait(self._pending.waiting, timeout=grace)
        if grace and self.alive:
            with contextlib.suppress(PluginFailed):
                await self.call("shutdown", timeout=grace)
        self.kill("it was stopped")
        if self._pidfd is not None:
            await self._gone.wait()
        self._finish()

    async def idle(self) -> None:
        """Wait until no call is under way. Each ends in its time: it answers, or is overdue."""
        self.signal(signal.SIGCONT)  # whoever stopped it
        while self._pending.waiting:
            await asyncio.wait(self._pending.waiting)
            await asyncio.sleep(0)  # those that waited for the answers take them

    def _take(self, message: wire.Message, _: list[int]) -> None:
        if isinstance(message, wire.Call):
            if len(self._asking) >= _MAX_ASKING:
                self.kill(f"it asked for more than {_MAX_ASKING} things at once")
                return
            task = asyncio.get_running_loop().create_task(self._serve(message))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            return
        answer = self._pending.pop(message.id)
        if answer is None:
            self.kill(f"it answered a call that nobody made ({message.id})")
        elif not answer.done():
            if isinstance(message, wire.Failure):
                answer.set_exception(_raised(self.spec.plugin, message))
            else:
                answer.set_result(message.result)

    async def _serve(self, call: wire.Call) -> None:
        fds: list[int] = []
        try:
            result, fds = handed(await self._broker(call.method, call.kwargs))
            self._check_handed(fds)
            frame = wire.pack(wire.Answer(call.id, result, len(fds)))
        except (MltbError, TypeError, ValueError) as error:
            close_all(fds)
            fds = []  # a failure has none
            code = error.code if isinstance(error, MltbError) else "invalid_input"
            frame = wire.pack(wire.Failure(call.id, code, str(error)))
        if self._channel is not None:
            self._channel.send(frame, fds)
        else:
            close_all(fds)

    def _check_handed(self, fds: Sequence[int]) -> None:
        """Without Landlock a worker has /proc, where it could open a file that it was handed once
        more, and for writing. A pipe or a socket gives it nothing new, nor does a file that it may
        write into anyway. PluginFailed."""
        if not self.spec.confined or self.spec.landlock:
            return
        for fd in fds:
            mode = os.fstat(fd).st_mode
            is_file = not stat.S_ISFIFO(mode) and not stat.S_ISSOCK(mode)
            if is_file and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise PluginFailed(
                    f"plugin {self.spec.plugin}: without Landlock it is handed pipes alone"
                )

    def _hung_up(self, reason: str) -> None:
        """The connection ended; how the process did is known in a moment, and is told then."""
        if self._why is None and reason != HUNG_UP:
            self._why, self.is_killed = reason, True
        self.signal(signal.SIGKILL)

    def _ended(self, status: int) -> None:
        if self._output is not None:
            self._output.end()
        if self._why is None:
            self._why = _how(status)
        for answer in self._pending.waiting:
            if not answer.done():
                answer.set_exception(self._lost())
        self._gone.set()
        self._finish()
        self._on_end(self._why)

    def _finish(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close(self._why or "it ended")
        if self._output is not None:
            self._output.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        for task in self._asking:
            task.cancel()
        self._pending.close()

    def _lost(self) -> PluginFailed:
        return PluginFailed(f"plugin {self.spec.plugin}: {self._why or 'it does not run'}")


def _raised(plugin: str, failure: wire.Failure) -> PluginFailed:
    return PluginFailed(f"plugin {plugin}: {failure.kind}: {failure.message}", kind=failure.kind)


def _how(status: int) -> str:
    if status < 0:
        return f"it was killed by signal {-status} ({signal.strsignal(-status)})"
    return f"it ended with status {status}"


def _ignore(_: int) -> None:
    """For the end of a worker that nobody waits for any more."""

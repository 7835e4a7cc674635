"""One plugin in its process: confined first, then loaded, then called until the host hangs up.

Standard library and msgspec only. Whatever a plugin does here, the worst that happens is the end of
this process.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from bot.plugins import confine, hooks, wire
from bot.plugins.api import Archive, BackupPlugin, BasePlugin, Host, TaskFiles
from bot.plugins.channel import Channel
from bot.plugins.loading import Loaded, load_plugin

_STACK = 256 * 1024  # bytes of a thread's stack; address space is limited
_TRACE = 2000  # characters of an error's message


class Spec(msgspec.Struct, frozen=True):
    """What a worker is told at its start. ``directory`` is the plugin's own."""

    plugin: str
    module: str
    code: str
    directory: str
    memory: int
    disk: int
    open_files: int
    readable: list[str]
    landlock: bool
    confined: bool = True
    imports: list[str] | None = None
    config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


def run(spec: Spec, channel: socket.socket, parent: int) -> None:
    """The life of a worker, in a process that was forked for it."""
    confine.die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    random.seed()
    threading.stack_size(_STACK)
    # Those of the zygote belong to what it had as descriptor 1 and 2.
    sys.stdout = sys.stderr = os.fdopen(
        os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace"
    )
    os.umask(0o077)
    os.chdir(spec.directory)
    tempfile.tempdir = spec.directory  # there is no other place
    # It makes its pair of sockets now: later there are none.
    loop = asyncio.new_event_loop()
    confine.confine(
        confine.Walls(
            memory=spec.memory,
            file_size=spec.disk,
            open_files=spec.open_files,
            readable=spec.readable,
            writable=[spec.directory],
            landlock=spec.landlock,
            confined=spec.confined,
        )
    )
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_Worker(spec, channel, loop).serve())
    os._exit(0)


class _Worker:
    """Answers the calls of the host, and carries those of the plugin to it."""

    def __init__(self, spec: Spec, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._spec = spec
        self._loop = loop
        self._ended = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._running: dict[int, asyncio.Task[None]] = {}
        self._loaded: Loaded | None = None
        self._channel = Channel(
            sock,
            loop,
            on_message=self._take,
            on_end=lambda _: self._ended.set(),
            takes_fds=True,
        )

    async def serve(self) -> None:
        """Until the host hangs up."""
        await self._ended.wait()

    def _take(self, message: wire.Message, fds: list[int]) -> None:
        if isinstance(message, wire.Call):
            # Held here until it is done: the loop alone does not keep it.
            self._running[message.id] = self._loop.create_task(self._answer(message, fds))
            return
        answer = self._waiting.pop(message.id, None)
        if answer is None or answer.done():
            for fd in fds:
                _close(fd)
        elif isinstance(message, wire.Failure):
            answer.set_exception(HostRefused(message.message))
        else:
            answer.set_result(fds[0] if fds else message.result)

    async def _answer(self, call: wire.Call, fds: list[int]) -> None:
        try:
            frame = wire.pack(wire.Answer(call.id, await self._do(call, fds)))
        except (SystemExit, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the plugin raised is its answer
            kind = type(error).__name__[:100]
            frame = wire.pack(wire.Failure(call.id, kind, _words(error)))
        finally:
            for fd in fds:
                _close(fd)
            self._running.pop(call.id, None)
        self._channel.send(frame)

    async def _do(self, call: wire.Call, fds: list[int]) -> Any:
        if call.method == "load":
            self._loaded = load_plugin(self._spec, _Host(self))
            return self._loaded.description
        if self._loaded is None:
            raise RuntimeError("the plugin is not loaded")
        if call.method == "hook":
            name, payload = call.args
            hook = _method(self._loaded.plugin, name)
            return await _awaited(hook(hooks.payload(name, payload)))
        if call.method == "backup":
            name, facts = call.args
            taker = _backup_plugin(self._loaded.plugin)
            return await taker.hand_archive(Archive(name, **facts), *fds)
        if call.method == "step":
            job, files, params = call.args
            execute = _method(self._loaded.plugin, "execute")
            return await _awaited(execute(TaskFiles(_Host(self), job, files), params))
        method = _method(self._loaded.plugin, call.method)
        return await _awaited(method(*call.args, *fds, **call.kwargs))

    async def ask(self, method: str, arguments: dict[str, Any]) -> Any:
        """A call to the host; its answer. HostRefused where it does not do it."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = answer
        self._channel.send(wire.pack(wire.Call(number, method, [], arguments)))
        return await answer


class HostRefused(Exception):
    """The host did not do what the plugin asked for; the message says why."""


class _Host(Host):
    """What a plugin can ask of its host."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker

    async def ask(self, what: str, /, **arguments: Any) -> Any:
        return await self._worker.ask(what, arguments)


async def _awaited(result: Any) -> Any:
    return await result if asyncio.iscoroutine(result) else result


def _backup_plugin(plugin: BasePlugin) -> BackupPlugin:
    if not isinstance(plugin, BackupPlugin):
        raise TypeError(f"{type(plugin).__name__} is no BackupPlugin")
    return plugin


def _method(plugin: BasePlugin, name: str) -> Callable[..., Any]:
    method = None if name.startswith("_") else getattr(plugin, name, None)
    if not callable(method):
        raise AttributeError(f"{type(plugin).__name__} has no method {name}")
    found: Callable[..., Any] = method
    return found


def _words(error: BaseException) -> str:
    try:
        return str(error)[:_TRACE]
    except Exception:  # noqa: BLE001 - an exception of the plugin may raise in its own text
        return "its message can't be shown"


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return  # the plugin closed it

"""The process that workers are forked from: it has imported what they need, and does nothing else.

It speaks to the host over a socket that keeps messages apart (``SOCK_SEQPACKET``). A start comes
with two descriptors, the worker's channel and its standard error, and is answered with a pidfd:
unlike a number it never means another process, and it works across PID namespaces.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from typing import Any

import msgspec

from bot.plugins import confine, worker
from bot.plugins.worker import Spec

_MESSAGE = 128 * 1024


class Start(msgspec.Struct, tag="start", frozen=True):
    """Fork a worker."""

    id: int
    spec: Spec


class Started(msgspec.Struct, tag="started", frozen=True):
    """It was forked; its pidfd comes along."""

    id: int


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """It is gone; ``status`` is its exit status, negative for a signal."""

    id: int
    status: int


def main() -> None:
    """Serve the host over the socket that is our standard input, until it hangs up.

    The command line names modules that every worker shall find imported.
    """
    confine.hide()
    control = socket.socket(fileno=0)
    # Without TLS: who has no network needs none, and it is a tenth of what workers share.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    importlib.import_module("asyncio")
    del sys.modules["ssl"]
    for name in sys.argv[1:]:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what is shared stays shared: no collection writes into it
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    children: dict[int, tuple[int, int]] = {}  # by pidfd: the id and the pid
    encoder = msgspec.msgpack.Encoder()
    while True:
        for key, _ in selector.select():
            if key.fileobj is control:
                data, fds, _, _ = socket.recv_fds(control, _MESSAGE, 2)
                if not data:
                    os._exit(0)
                start = msgspec.msgpack.decode(data, type=Start)
                pid, pidfd = _fork(start.spec, fds, control, selector, children)
                children[pidfd] = (start.id, pid)
                selector.register(pidfd, selectors.EVENT_READ)
                socket.send_fds(control, [encoder.encode(Started(start.id))], [pidfd])
            else:
                pidfd = key.fd
                number, pid = children.pop(pidfd)
                selector.unregister(pidfd)
                _, status = os.waitpid(pid, 0)
                os.close(pidfd)
                code = os.waitstatus_to_exitcode(status)
                control.send(encoder.encode(Ended(number, code)))


def _fork(
    spec: Spec,
    fds: list[int],
    control: socket.socket,
    selector: selectors.BaseSelector,
    others: dict[int, Any],
) -> tuple[int, int]:
    """The pid and the pidfd of a new worker."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        for fd in fds:
            os.close(fd)
        return pid, os.pidfd_open(pid)
    status = 1
    try:
        selector.close()
        control.detach()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for pidfd in others:
            os.close(pidfd)
        os.setsid()
        channel = socket.socket(fileno=os.dup(fds[0]))
        os.dup2(fds[1], 1)
        os.dup2(fds[1], 2)
        for fd in fds:
            os.close(fd)
        worker.run(spec, channel, parent)
        status = 0
    except BaseException as error:  # noqa: BLE001 - there is nobody above to tell
        os.write(2, f"the worker could not start: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()

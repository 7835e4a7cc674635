"""A plugin that does whatever it is told, and what such plugins try."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.errors import InvalidInput
from bot.plugins import landlock, tiers
from bot.plugins.desk import Handed
from bot.plugins.sandbox import Worker, Zygote
from bot.plugins.tiers import Tier
from bot.plugins.worker import Spec

MIB = 1024 * 1024
SECRET = "a secret of the host"
CODE = """
import os, sys
from bot.core.plugin_manager import BasePlugin

class Hostile(BasePlugin):
    async def execute(self, code="", value=None):
        names = {"self": self, "value": value}
        exec(code, names)
        result = names.get("result")
        return await result if hasattr(result, "__await__") else result

    async def reopen(self, fd):
        try:
            with open(f"/proc/self/fd/{fd}", "r+b", buffering=0) as file:
                return ["opened", file.write(b"planted")]
        except OSError as error:
            return ["refused", type(error).__name__]

    async def reopen_what_it_asked_for(self):
        return await self.reopen(await self._host.ask("file"))

    async def read(self, fd):
        return os.read(fd, 100).decode()

    async def nap(self, seconds):
        import asyncio
        await asyncio.sleep(seconds)
        return seconds
"""


def missing(tier: Tier) -> str | None:
    """Why this machine can't build that tier; None where it can."""
    if tier.landlock and landlock.version() < landlock.OLDEST:
        return f"this kernel has Landlock {landlock.version()}"
    if tier.wrapped and not tiers.bubblewrap_works():
        return "bubblewrap can't make namespaces here"
    return None


class Den:
    """A zygote, and what its workers may see."""

    def __init__(self, directory: Path, tier: Tier) -> None:
        self.code, self.state = directory / "code", directory / "state"
        self.secret = directory / "secret.txt"
        self.code.mkdir()
        (self.state / "hostile").mkdir(parents=True)
        self.secret.write_text(SECRET)
        (self.state / "hostile/there").symlink_to(self.secret)
        (self.code / "hostile.py").write_text(CODE)
        self.zygote = Zygote(tier, code=[str(self.code)], state=[str(self.state)])
        self.lines: list[str] = []
        self.ended: list[str] = []
        self.asked: list[str] = []
        self.spec = Spec(
            plugin="hostile",
            module="hostile",
            code=str(self.code / "hostile.py"),
            directory=str(self.state / "hostile"),
            memory=128 * MIB,
            disk=4 * MIB,
            open_files=64,
            readable=[*tiers.readable(), str(self.code)],
            landlock=tier.landlock,
        )

    async def broker(self, method: str, arguments: dict[str, Any]) -> Any:
        self.asked.append(method)
        if method == "slow":
            await asyncio.sleep(3600)
        if method == "file":
            return Handed(os.open(self.secret, os.O_RDONLY | os.O_CLOEXEC))
        if method != "echo":
            raise InvalidInput(f"nobody does {method}")
        return arguments

    async def worker(self) -> Worker:
        worker = Worker(
            self.spec, broker=self.broker, log=self.lines.append, on_end=self.ended.append
        )
        await worker.start(self.zygote, 30)
        return worker


@asynccontextmanager
async def den(directory: Path, tier: Tier) -> AsyncIterator[Den]:
    it = Den(directory, tier)
    try:
        yield it
    finally:
        await it.zygote.close()


async def run(worker: Worker, code: str, value: object = None, timeout: float = 30) -> Any:
    return await worker.call("execute", code, value, timeout=timeout)


#: Each has to raise inside; ``value`` is the path of the secret, ``{pid}`` the host's number.
REFUSED = {
    "read a secret": "open(value).read()",
    "read through a symlink": "open('there').read()",
    "write through a symlink": "open('there', 'w').write('x')",
    "list a directory": "result = os.listdir(os.path.dirname(value))",
    "read a password file": "open('/etc/shadow').read()",
    "write outside": "open(value, 'w').write('x')",
    "create outside": "open(os.path.join(os.path.dirname(value), 'new'), 'w')",
    "truncate outside": "os.truncate(value, 0)",
    "remove outside": "os.unlink(value)",
    "rename outside": "os.rename(value, 'mine')",
    "change a mode": "open('mine', 'w').close(); os.chmod('mine', 0o777)",
    "change a mode outside": "os.chmod(value, 0o777)",
    "change a time": "os.utime(value)",
    "plant a symlink": "os.symlink(value, 'link')",
    "plant a hard link": "os.link(value, 'link2')",
    "make a pipe": "os.mkfifo('pipe')",
    "make a device": "os.mknod('device', 0o600 | 0o020000, 259)",
    "modify its own code": "open(self.__module__ and __import__('sys').modules['hostile'].__file__,"
    " 'w')",
    "TCP": "import socket; socket.create_connection(('127.0.0.1', 1))",
    "TCP with its first bytes": "import socket\ns = socket.socket()\n"
    "s.sendto(b'x', 0x20000000, ('127.0.0.1', 1))",
    "UDP": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "unix socket": "import socket; socket.socket(socket.AF_UNIX).connect(value)",
    "abstract socket": "import socket; socket.socket(socket.AF_UNIX).connect('\0x')",
    "MPTCP": "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "socket pair": "import socket; socket.socketpair()",
    "netlink": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "fork": "os.fork()",
    "daemon": "os.posix_spawn('/bin/true', ['true'], {})",
    "exec a shell": "os.execv('/bin/sh', ['sh'])",
    "run a program": "import subprocess; subprocess.run(['true'])",
    "kill the host": "os.kill({pid}, 9)",
    "kill everybody": "os.kill(-1, 9)",
    "read its environment": "open('/proc/{pid}/environ').read()",
    "read its memory": "open('/proc/{pid}/mem', 'rb').read(1)",
    "memory of its parent": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "environment of its parent": "open(f'/proc/{os.getppid()}/environ').read()",
    "raise a limit": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (999999,) * 2)",
    "memory file": "os.memfd_create('x')",
    "priority": "os.nice(-5)",
    "change root": "os.chroot('.')",
    "another user": "os.setuid(1)",
    "too much memory": "bytearray(10 << 30)",
    "a file that is too large": "open('big', 'wb').write(bytes(8 << 20))",
    "open files": "files = [open('f', 'w') for _ in range(1000)]",
    "an answer that is too large": "result = 'x' * (20 << 20)",
    "a gigabyte of text": "result = 'x' * (1 << 30)",
    "an answer nested without end": "result = []\nfor _ in range(100000): result = [result]",
    "an answer of no kind": "result = object()",
}
#: Calls of the C library that have to fail, with their arguments.
DENIED = {
    "ptrace": "ptrace(16, {pid}, 0, 0)",
    "process_vm_readv": "syscall(310, {pid}, 0, 0, 0, 0, 0)",
    "pidfd_getfd": "syscall(438, 3, 0, 0)",
    "TCP fast open on any socket": "sendto(999, b'x', 1, 0x20000000, None, 0)",
    "a datagram to anybody": "sendto(999, b'x', 1, 0, b'x' * 16, 16)",
    "pidfd_open": "syscall(434, {pid}, 0)",
    "shared memory": "syscall(29, 0, 1 << 20, 0o1600)",
    "new user namespace": "unshare(0x10000000)",
    "mount": "mount(b'none', b'.', b'tmpfs', 0, None)",
    "io_uring": "syscall(425, 8, 0)",
    "keyctl": "syscall(250, 0, -3, 0)",
    "userfaultfd": "syscall(323, 0)",
    "bpf": "syscall(321, 0, 0, 0)",
    "perf": "syscall(298, 0, 0, -1, -1, 0)",
    "clone with a namespace": "syscall(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "clone without a thread": "syscall(56, 17, 0, 0, 0, 0)",
    "open by handle": "syscall(304, -100, 0, 0)",
}


#: Each ends the worker, by the host or by itself; the host says how.
ENDS = {
    "exit": ("import os; os._exit(3)", "status 3"),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", "signal 11"),
    "endless loop": ("while True: pass", "did not answer"),
    "masked signals": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        "did not answer",
    ),
    "catastrophic pattern": ("import re; re.match('(a+)+$', 'a' * 64 + 'b')", "did not answer"),
    "frame that is too long": (
        (
            "import os, struct\nos.write(value, struct.pack('>I', 1 << 30) + b'x' * 65536)\n"
            "import time; time.sleep(60)"
        ),
        "protocol",
    ),
    "frame that is none": (
        (
            "import os, struct\nos.write(value, struct.pack('>I', 4) + b'\\xc1\\xc1\\xc1\\xc1')\n"
            "import time; time.sleep(60)"
        ),
        "protocol",
    ),
    "frame of a kind that there is not": (
        (
            "import os, struct, msgspec\nbody = msgspec.msgpack.encode(['launch', 1, 2])\n"
            "os.write(value, struct.pack('>I', len(body)) + body)\nimport time; time.sleep(60)"
        ),
        "protocol",
    ),
    "half a frame": (
        (
            "import os, struct\nos.write(value, struct.pack('>I', 100) + b'half')\n"
            "import time; time.sleep(60)"
        ),
        "did not answer",
    ),
    "SIGSTOP to itself": ("import signal\nsignal.raise_signal(signal.SIGSTOP)", "did not answer"),
    "deep nesting": (
        (
            "import os, struct\nbody = b'\\x91' * 200000 + b'\\xc0'\n"
            "os.write(value, struct.pack('>I', len(body)) + body)\nimport time; time.sleep(60)"
        ),
        "protocol",
    ),
    "answer to nobody": (
        (
            "import os, struct, msgspec\nbody = msgspec.msgpack.encode(['answer', 99999, 1])\n"
            "os.write(value, struct.pack('>I', len(body)) + body)\nimport time; time.sleep(60)"
        ),
        "nobody made",
    ),
    "flood of questions": (
        "import asyncio\nresult = asyncio.gather(*(self._host.ask('slow') for _ in range(500)))",
        "more than",
    ),
}

"""What a plugin can't do, in every tier that this machine has: each case runs inside, for real."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.errors import InvalidInput, PluginFailed, Unavailable
from bot.plugins import landlock, tiers, wire
from bot.plugins.channel import MAX_WAITING, Channel
from bot.plugins.sandbox import Worker, Zygote
from bot.plugins.tiers import Tier
from bot.plugins.worker import Spec

MIB = 1024 * 1024
_SECRET = "a secret of the host"
_CODE = """
import os, sys
from bot.core.plugin_manager import BasePlugin

class Hostile(BasePlugin):
    async def execute(self, code="", value=None):
        names = {"self": self, "value": value}
        exec(code, names)
        result = names.get("result")
        return await result if hasattr(result, "__await__") else result

    async def nap(self, seconds):
        import asyncio
        await asyncio.sleep(seconds)
        return seconds
"""


def _missing(tier: Tier) -> str | None:
    """Why this machine can't build that tier; None where it can."""
    if tier.landlock and landlock.version() < landlock.OLDEST:
        return f"this kernel has Landlock {landlock.version()}"
    if tier.wrapped and not tiers.bubblewrap_works():
        return "bubblewrap can't make namespaces here"
    return None


@pytest.fixture(params=[tier for tier in Tier if tier is not Tier.NONE])
def tier(request: pytest.FixtureRequest) -> Tier:
    found: Tier = request.param
    if reason := _missing(found):
        pytest.skip(reason)
    return found


class Den:
    """A zygote, and what its workers may see."""

    def __init__(self, directory: Path, tier: Tier) -> None:
        self.code, self.state = directory / "code", directory / "state"
        self.secret = directory / "secret.txt"
        self.code.mkdir()
        (self.state / "hostile").mkdir(parents=True)
        self.secret.write_text(_SECRET)
        (self.code / "hostile.py").write_text(_CODE)
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


async def _run(worker: Worker, code: str, value: object = None, timeout: float = 30) -> Any:
    return await worker.call("execute", code=code, value=value, timeout=timeout)


#: Each has to raise inside; ``value`` is the path of the secret, ``{pid}`` the host's number.
REFUSED = {
    "read a secret": "open(value).read()",
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
    "an answer of no kind": "result = object()",
}
#: Calls of the C library that have to fail, with their arguments.
DENIED = {
    "ptrace": "ptrace(16, {pid}, 0, 0)",
    "process_vm_readv": "syscall(310, {pid}, 0, 0, 0, 0, 0)",
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


async def test_what_a_plugin_tries_is_refused_and_it_goes_on(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        allowed = []
        for name, code in REFUSED.items():
            try:
                result = await _run(
                    worker, "import os\n" + code.replace("{pid}", str(os.getpid())), str(it.secret)
                )
            except PluginFailed:
                continue
            allowed.append((name, result))
        if not tier.landlock:  # It sees what was put there for it, and may look at that.
            (listed,) = allowed
            assert listed[0] == "list a directory"
            assert "secret.txt" not in listed[1]
            allowed.clear()
        assert allowed == []
        assert worker.alive
        assert it.secret.read_text() == _SECRET
        assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "secret.txt", "state"]
        assert (it.code / "hostile.py").read_text() == _CODE
        links = [path for path in it.state.rglob("*") if path.is_symlink() or not path.is_dir()]
        assert all(path.is_file() and path.stat().st_nlink == 1 for path in links)
        assert await _run(worker, "result = 'still here'") == "still here"
        await worker.stop()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
async def test_system_calls_that_nobody_needs_fail(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        head = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nresult = libc."
        done = {
            name: await _run(worker, head + code.replace("{pid}", str(os.getpid())))
            for name, code in DENIED.items()
        }
        assert {name: value for name, value in done.items() if value != -1} == {}
        assert worker.alive
        await worker.stop()


async def test_what_is_outside_can_be_looked_at_in_one_tier_alone(
    tmp_path: Path, tier: Tier
) -> None:
    """Landlock keeps what a file holds, not that it exists: a gap that the documents name."""
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        code = "import os\nresult = os.path.exists(value)"
        assert await _run(worker, code, str(it.secret)) is (tier is Tier.LANDLOCK)
        await worker.stop()


async def test_one_plugin_does_not_see_the_files_of_another(tmp_path: Path, tier: Tier) -> None:
    if not tier.landlock:
        pytest.skip("there each plugin has a zygote of its own, which sees its directory alone")
    async with den(tmp_path, tier) as it:
        other = it.state / "other"
        other.mkdir()
        (other / "value.txt").write_text(_SECRET)
        worker = await it.worker()
        with pytest.raises(PluginFailed):
            await _run(worker, "result = open(value).read()", str(other / "value.txt"))
        await worker.stop()


async def test_its_own_directory_is_its_own(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        code = (
            "import os, json, tempfile, threading, sqlite3\n"
            "os.mkdir('d'); open('d/f', 'w').write('x'); os.rename('d/f', 'd/g')\n"
            "db = sqlite3.connect('d/x.db'); db.execute('create table t (a)'); db.close()\n"
            "t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
            "result = [sorted(os.listdir('d')), os.getcwd() != '/']"
        )
        assert await _run(worker, code) == [["g", "x.db"], True]
        await worker.stop()


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


@pytest.mark.parametrize("name", ENDS)
async def test_what_ends_a_worker_ends_nothing_else(tmp_path: Path, name: str) -> None:
    code, why = ENDS[name]
    async with den(tmp_path, tiers.of_this_machine()) as it:
        victim, other = await it.worker(), await it.worker()
        channel = await _run(
            victim,
            "import gc\nfrom bot.plugins.channel import Channel\n"
            "(found,) = [each for each in gc.get_objects() if isinstance(each, Channel)]\n"
            "result = found._socket.fileno()",
        )
        with pytest.raises(PluginFailed, match=why):
            await _run(victim, code, channel, timeout=1 if why == "did not answer" else 30)
        assert not victim.alive
        assert await _run(other, "result = 'well'") == "well"
        await victim.stop()
        await other.stop()
        assert len(it.ended) == 2


async def test_a_worker_that_stops_itself_is_killed_at_its_deadline(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        with pytest.raises(PluginFailed, match="did not answer"):
            await _run(
                worker, "import os, signal\nsignal.raise_signal(signal.SIGSTOP)", timeout=0.5
            )
        await worker.stop()
        assert worker.pid is None


async def test_a_thread_bomb_stays_inside(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        code = (
            "import threading, time\nresult = 0\ntry:\n"
            "    for result in range(100000):\n"
            "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
            "except (RuntimeError, MemoryError): pass"
        )
        started = await _run(worker, code)
        assert 0 < started < 2000
        await worker.stop()


async def test_what_it_prints_is_cut_into_lines(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        await _run(worker, "print('hello'); import sys; print('err', file=sys.stderr)")
        await _run(worker, "print('x' * 100000)")
        await worker.stop()
        assert it.lines[:2] == ["hello", "err"]
        assert all(len(line) <= 2000 for line in it.lines)


async def test_calls_go_both_ways_at_the_same_time(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        code = "result = self._host.ask('echo', a=value)"
        found = await asyncio.gather(*(_run(worker, code, number) for number in range(40)))
        assert found == [{"a": number} for number in range(40)]
        with pytest.raises(PluginFailed, match="nobody does nothing"):
            await _run(worker, "result = self._host.ask('nothing')")
        await worker.stop()


async def test_a_file_is_handed_over_as_a_descriptor(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        (it.code / "reader.py").write_text(
            "import os\nfrom bot.core.plugin_manager import BasePlugin\n"
            "class Reader(BasePlugin):\n"
            "    async def execute(self, name, fd):\n"
            "        return [name, os.read(fd, 100).decode()]\n"
        )
        it.spec = Spec(
            **{
                **{name: getattr(it.spec, name) for name in it.spec.__struct_fields__},
                "plugin": "reader",
                "module": "reader",
                "code": str(it.code / "reader.py"),
            }
        )
        worker = await it.worker()
        with it.secret.open("rb") as file:
            found = await worker.call("execute", "secret", timeout=30, fds=[file.fileno()])
        assert found == ["secret", _SECRET]
        await worker.stop()


async def test_a_call_that_nobody_waits_for_any_more_harms_nothing(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        call = asyncio.ensure_future(worker.call("nap", 0.2, timeout=30))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        # Its answer comes before that of a longer one.
        assert await worker.call("nap", 0.4, timeout=30) == 0.4
        assert worker.alive
        await worker.stop()


async def test_calls_under_way_end_before_a_worker_does(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        call = asyncio.ensure_future(worker.call("nap", 0.3, timeout=30))
        await asyncio.sleep(0)
        await worker.stop(grace=30)
        assert await call == 0.3


# The host's own end


async def test_what_is_never_read_is_not_held_without_end() -> None:
    ours, theirs = socket.socketpair()
    ended: list[str] = []
    channel = Channel(
        ours, asyncio.get_running_loop(), on_message=lambda *_: None, on_end=ended.append
    )
    for _ in range(MAX_WAITING // MIB + 8):
        channel.send(bytes(MIB))
    assert "does not read" in ended[0]
    theirs.close()


async def test_half_a_frame_and_silence_holds_up_nobody() -> None:
    ours, theirs = socket.socketpair()
    ended: list[str] = []
    over = asyncio.Event()

    def end(reason: str) -> None:
        ended.append(reason)
        over.set()

    channel = Channel(ours, asyncio.get_running_loop(), on_message=lambda *_: None, on_end=end)
    theirs.sendall(struct.pack(">I", 100) + b"half")
    await asyncio.sleep(0)
    assert ended == []
    theirs.close()
    await asyncio.wait_for(over.wait(), 30)
    channel.close()
    assert ended == ["the other end hung up"]


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_descriptors_that_a_worker_sends_go_nowhere() -> None:
    ours, theirs = socket.socketpair()
    got = asyncio.Event()
    channel = Channel(
        ours, asyncio.get_running_loop(), on_message=lambda *_: got.set(), on_end=lambda _: None
    )
    before = _descriptors()
    with Path("/dev/null").open("rb") as file:
        socket.send_fds(theirs, [wire.pack(wire.Answer(1, None))], [file.fileno()])
    await got.wait()
    assert _descriptors() == before
    channel.close()
    theirs.close()


# Tiers


@pytest.mark.parametrize(
    ("bubblewrap", "version", "filters", "wanted"),
    [
        (True, 7, True, Tier.FULL),
        (False, 7, True, Tier.LANDLOCK),
        (True, 0, True, Tier.BUBBLEWRAP),
        (True, 2, True, Tier.BUBBLEWRAP),
        (False, 3, True, Tier.LANDLOCK),
    ],
)
def test_the_best_tier_is_taken(
    bubblewrap: bool, version: int, filters: bool, wanted: Tier
) -> None:
    found = tiers.best(bubblewrap=bubblewrap, landlock_version=version, filters=filters)
    assert found is wanted


@pytest.mark.parametrize(
    ("bubblewrap", "version", "filters", "missing"),
    [(False, 0, True, "Landlock"), (False, 2, True, "Landlock"), (True, 7, False, "seccomp")],
)
def test_without_walls_nothing_runs(
    bubblewrap: bool, version: int, filters: bool, missing: str
) -> None:
    with pytest.raises(Unavailable, match=missing):
        tiers.best(bubblewrap=bubblewrap, landlock_version=version, filters=filters)

"""Children die with their parent, end with all they started, and answer calls."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from bot.engines import children
from bot.engines.companion import Companion
from bot.engines.wire import Splitter, pack
from bot.errors import NetworkFailed, NoSpace, TransferError

#: Starts a child that says its process id and waits for ever, passes that on, and waits as well.
_PARENT = """
import asyncio, sys
from asyncio.subprocess import PIPE
from bot.engines import children
CHILD = "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"
async def main():
    child = await children.spawn([sys.executable, "-c", CHILD], stdout=PIPE)
    print((await child.stdout.readline()).decode().strip(), flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


async def _gone(pid: int) -> bool:
    """Whether that process ended (a zombie nobody waits for counts) within a bounded wait."""
    for _ in range(3000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
async def test_child_dies_when_its_parent_is_killed() -> None:
    parent = await children.spawn([sys.executable, "-c", _PARENT], stdout=PIPE)
    child = int(await _line(parent))
    parent.kill()
    await parent.wait()
    assert await _gone(child)


async def test_stop_ends_grandchildren_that_ignore_sigterm() -> None:
    script = "trap '' TERM; sleep 3600 & echo $!; wait; wait"
    process = await children.spawn(["sh", "-c", script], stdout=PIPE)
    grandchild = int(await _line(process))
    status = await children.stop(process, grace=0.05)
    assert status == -signal.SIGKILL
    assert await _gone(grandchild)


async def test_stop_of_one_that_ended_gives_its_status() -> None:
    process = await children.spawn([sys.executable, "-c", "raise SystemExit(3)"])
    await process.wait()
    assert await children.stop(process) == 3


async def test_file_size_caps_what_a_child_writes(tmp_path: Path) -> None:
    target = tmp_path / "out"
    process = await children.spawn(
        ["dd", "if=/dev/zero", f"of={target}", "bs=1k", "count=64"], file_size=10_240
    )
    assert await process.wait() != 0
    assert target.stat().st_size == 10_240


#: Has few files, takes more, and says how many it and its child may open.
_MANY_FILES = """
import asyncio, resource, sys
from asyncio.subprocess import PIPE
from bot.engines import children
CHILD = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 512))
    print(children.allow_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
    child = await children.spawn([sys.executable, "-c", CHILD], stdout=PIPE)
    print((await child.communicate())[0].decode(), flush=True)
asyncio.run(main())
"""


async def test_more_open_files_are_for_this_process_alone() -> None:
    process = await children.spawn([sys.executable, "-c", _MANY_FILES], stdout=PIPE)
    assert await _line(process) == "512 512 512"
    assert await _line(process) == "128 512"
    assert await process.wait() == 0


async def test_program_that_does_not_exist_is_named() -> None:
    process = await children.spawn(["/no/such/program"], stderr=PIPE)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"/no/such/program can't be started: No such file or directory" in err


async def test_child_leads_its_own_group_and_finds_our_modules(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import os, bot.errors; print(os.getpid() == os.getpgid(0))"]
    process = await children.spawn(program, cwd=tmp_path, env=dict(os.environ), stdout=PIPE)
    assert await _line(process) == "True"
    assert await process.wait() == 0


# Messages, and a companion that is the child of the torrent engine


def test_messages_survive_any_cut() -> None:
    sent: list[dict[str, Any]] = [{"a": 1}, {"b": b"x" * 1000}, {}]
    stream = b"".join(pack(message) for message in sent)
    for step in (1, 3, 1000, len(stream)):
        splitter = Splitter()
        got = [
            m for at in range(0, len(stream), step) for m in splitter.feed(stream[at : at + step])
        ]
        assert got == sent


@pytest.mark.parametrize("stream", [b"Traceback (most recent", b"\x00\x00\x00\x01\xc1"])
def test_what_is_no_message_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match="message"):
        list(Splitter().feed(stream))


#: Answers `open` and `echo`; `fail` names a failure, `die` ends it, `babble` breaks the protocol.
_ECHO = """
import os, sys
from bot.engines.wire import Splitter, pack
splitter = Splitter()
def write(message):
    os.write(1, pack(message))
while data := os.read(0, 65536):
    for message in splitter.feed(data):
        op = message["op"]
        if op in ("open", "echo"):
            write({"id": message["id"], "result": message})
        elif op == "fail":
            write({"id": message["id"], "error": "no_space", "message": "full"})
        elif op == "tell":
            write({"event": "told"})
        elif op == "babble":
            os.write(1, b"hello, this is no message")
        elif op == "die":
            sys.exit("out of luck")
"""


def _companion(**options: Any) -> tuple[Companion, list[dict[str, Any]], list[TransferError]]:
    told: list[dict[str, Any]] = []
    lost: list[TransferError] = []
    companion = Companion(
        [sys.executable, "-c", _ECHO],
        name="echo",
        opening=lambda: {"hello": 1},
        on_event=told.append,
        on_lost=lost.append,
        **options,
    )
    return companion, told, lost


async def test_companion_answers_fails_and_tells() -> None:
    companion, told, lost = _companion()
    assert not companion.pid
    companion.post("tell")  # nobody is there
    assert (await companion.call("echo", x=b"1"))["x"] == b"1"
    companion.post("tell")
    with pytest.raises(NoSpace, match="full"):
        await companion.call("fail")
    assert told == [{"event": "told"}]
    pid = companion.pid
    await companion.close()
    await companion.close()
    assert pid is not None
    assert await _gone(pid)
    assert not lost


@pytest.mark.parametrize(
    ("op", "why"),
    [("die", "ended with status 1: out of luck"), ("babble", "killed by signal 9.*it wrote")],
)
async def test_companion_that_ends_fails_its_calls_and_starts_anew(op: str, why: str) -> None:
    companion, _, lost = _companion()
    waiting = asyncio.create_task(companion.call("silence"))
    await companion.call("echo")
    with pytest.raises(NetworkFailed, match=why):
        await companion.call(op)
    with pytest.raises(NetworkFailed, match=why):
        await waiting
    assert [error.retryable for error in lost] == [True]
    assert (await companion.call("echo"))["op"] == "echo"
    await companion.close()


async def test_companion_that_can_t_start_says_why() -> None:
    companion = Companion(
        ["/no/such/program"],
        name="echo",
        opening=dict,
        on_event=lambda _: None,
        on_lost=lambda _: None,
    )
    with pytest.raises(NetworkFailed, match="/no/such/program can't be started"):
        await companion.call("echo")
    assert companion.pid is None
    await companion.close()


async def test_companion_ends_when_nobody_holds_it() -> None:
    companion, _, lost = _companion(idle=0.01)
    with companion.hold(), companion.hold():
        await companion.call("echo")
    for _ in range(3000):
        if companion.pid is None:
            break
        await asyncio.sleep(0.01)
    assert companion.pid is None
    await companion.close()
    assert not lost

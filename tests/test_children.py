"""Children die with their parent, end with all they started, and answer calls."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from bot.engines import children

pytestmark = pytest.mark.asyncio

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

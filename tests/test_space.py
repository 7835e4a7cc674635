"""Claims on the room of a real filesystem; what is written already is not counted twice."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bot.transfers.space import DiskLedger, Room
from tests.rig import ManualClock

GIB = 1024**3
#: What others on this machine may write or free during a test.
SLACK = 4 * GIB


def ledger(reserve: int = 0, written: dict[str, int] | None = None) -> DiskLedger:
    """A ledger; ``written`` says what tasks have on the disk."""
    return DiskLedger(reserve, lambda: written or {}, ManualClock())


def free(directory: Path) -> int:
    """The free bytes there."""
    figures = os.statvfs(directory)
    return figures.f_bavail * figures.f_frsize


async def test_the_figures_are_those_of_the_filesystem(tmp_path: Path) -> None:
    figures = os.statvfs(tmp_path)
    room = await ledger().room(tmp_path / "not" / "there" / "yet")
    assert room.device == tmp_path.stat().st_dev
    assert room.total == figures.f_blocks * figures.f_frsize
    assert abs(room.free - free(tmp_path)) < SLACK
    assert (room.promised, room.available) == (0, room.free)


async def test_the_reserve_stays_free(tmp_path: Path) -> None:
    space = ledger(reserve=free(tmp_path) + SLACK)
    room = await space.room(tmp_path)
    assert (room.free, room.available) == (0, 0)
    refused = await space.claim("a", tmp_path, 1)
    assert refused is not None
    assert refused.available == 0
    assert await space.claim("a", tmp_path, 0) is None


async def test_claims_add_up_until_they_are_released(tmp_path: Path) -> None:
    space = ledger()
    first = await space.room(tmp_path)
    assert await space.claim("a", tmp_path, first.free // 2) is None
    assert await space.claim("b", tmp_path / "below", first.free // 3) is None
    room = await space.room(tmp_path)
    assert room.promised == first.free // 2 + first.free // 3
    assert await space.claim("c", tmp_path, first.free // 2) is not None
    assert (await space.room(tmp_path)).promised == room.promised
    space.release("a")
    space.release("a")
    space.release("never")
    assert await space.claim("c", tmp_path, first.free // 2) is None
    assert (await space.room(tmp_path, but="c")).promised == first.free // 3


async def test_a_second_claim_replaces_the_first(tmp_path: Path) -> None:
    space = ledger()
    room = await space.room(tmp_path)
    for _ in range(5):
        assert await space.claim("a", tmp_path, room.free * 3 // 4) is None
    assert (await space.room(tmp_path)).promised == room.free * 3 // 4
    assert await space.claim("a", tmp_path, 10) is None
    assert (await space.room(tmp_path)).promised == 10
    assert await space.claim("b", tmp_path, room.free * 3 // 4) is None


async def test_written_bytes_are_gone_already_and_not_promised_again(tmp_path: Path) -> None:
    written: dict[str, int] = {}
    space = ledger(written=written)
    room = await space.room(tmp_path)
    assert await space.claim("a", tmp_path, room.free // 2) is None
    assert await space.claim("b", tmp_path, room.free * 3 // 4) is not None
    # As if most of it lay on the disk: what is free now is what was measured now.
    written["a"] = room.free // 2 - 1000
    assert (await space.room(tmp_path)).promised == 1000
    assert await space.claim("b", tmp_path, room.free * 3 // 4) is None
    written["a"] = room.free  # more than it said
    assert (await space.room(tmp_path, but="b")).promised == 0


async def test_real_bytes_on_the_disk_leave_the_room_as_it_was(tmp_path: Path) -> None:
    written: dict[str, int] = {}
    space = DiskLedger(0, lambda: written, clock := ManualClock())
    size = 8 * 1024 * 1024
    await space.claim("a", tmp_path, size)
    before = await space.room(tmp_path)
    (tmp_path / "file").write_bytes(os.urandom(size))
    written["a"] = size
    clock.advance(10)
    after = await space.room(tmp_path)
    assert (before.promised, after.promised) == (size, 0)
    assert abs(after.available - before.available) < SLACK


async def test_concurrent_claims_never_take_more_than_there_is(tmp_path: Path) -> None:
    space = ledger()
    room = await space.room(tmp_path)
    need = room.free // 4
    answers = await asyncio.gather(
        *(space.claim(str(number), tmp_path / str(number), need) for number in range(12))
    )
    granted = answers.count(None)
    assert 3 <= granted <= 4
    assert all(isinstance(answer, Room) for answer in answers if answer is not None)
    assert (await space.room(tmp_path)).promised == granted * need


async def test_other_filesystems_are_counted_for_themselves(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        memory = Path("/proc")
    space = ledger()
    await space.claim("a", tmp_path, 1000)
    assert (await space.room(memory)).promised == 0
    assert (await space.room(tmp_path)).promised == 1000

"""The host's end of the sandbox: calls, descriptors, what a worker says, and the tiers."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from bot.errors import PluginFailed, Unavailable
from bot.plugins import tiers, wire
from bot.plugins.channel import MAX_WAITING, Channel
from bot.plugins.tiers import Tier
from tests.hostile import MIB, den, run


async def test_what_it_prints_is_cut_into_lines(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        await run(worker, "print('hello'); import sys; print('err', file=sys.stderr)")
        await run(worker, "print('x' * 100000)")
        await worker.stop()
        assert it.lines[:2] == ["hello", "err"]
        assert all(len(line) <= 2000 for line in it.lines)


async def test_calls_go_both_ways_at_the_same_time(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        worker = await it.worker()
        code = "result = self._host.ask('echo', a=value)"
        found = await asyncio.gather(*(run(worker, code, number) for number in range(40)))
        assert found == [{"a": number} for number in range(40)]
        with pytest.raises(PluginFailed, match="nobody does nothing"):
            await run(worker, "result = self._host.ask('nothing')")
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


def test_an_interpreter_behind_a_link_is_there_in_the_sandbox(tmp_path: Path) -> None:
    real, link = tmp_path / "python-3.11", tmp_path / "python"
    real.mkdir()
    link.symlink_to(real)
    assert tiers.with_targets([str(link), str(link)]) == [str(link), str(real)]

"""The numbers about the service: each known by a name, cheap, and true of real tasks."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.app.operations_metrics import opened_numbers
from bot.domain import events
from bot.domain.task import TaskState
from bot.errors import NetworkFailed, SourceNotFound
from bot.operations.readings import READINGS, Reading, Readings
from tests.rig import Rig, Script, rig
from tests.test_rest import web


@asynccontextmanager
async def watched(rigged: Rig) -> AsyncIterator[Readings]:
    """The readings of a rig."""
    async with opened_numbers(rigged.base, rigged.transfers) as numbers:
        yield numbers.readings


def test_names_are_declared_once_and_say_what_they_are() -> None:
    names = [reading.name for reading in READINGS]
    assert len(set(names)) == len(names)
    assert all(name.replace("_", "").isalnum() and name.islower() for name in names)
    assert all(reading.help.endswith(".") and reading.unit for reading in READINGS)
    assert {reading.name for reading in READINGS if reading.total} == {
        name for name in names if name.endswith("_total")
    }


def test_what_nobody_knows_is_left_out() -> None:
    readings = Readings()
    readings.provide("alerts_firing", lambda: 3)
    readings.provide("websocket_clients", lambda: None)
    readings.provide("load_1m", lambda: float("nan"))
    readings.provide(Reading("plugins", "plugins", "Loaded."), lambda: 2)
    readings.provide_many(lambda: {"alerts_firing": 1, "uptime_seconds": 5, "no_such_name": 1})
    assert readings.sample() == {"alerts_firing": 3.0, "uptime_seconds": 5.0, "plugins": 2.0}
    assert readings.declared[-1].name == "plugins"
    with pytest.raises(KeyError, match="no reading is called 'alerts'"):
        readings.provide("alerts", lambda: 0)


def test_a_source_with_a_fault_hides_no_other_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    readings = Readings()
    readings.provide("load_1m", lambda: 1 / 0)
    readings.provide_many(lambda: {"load_1m": 1 / 0})
    readings.provide("uptime_seconds", lambda: 1)
    with caplog.at_level(logging.ERROR):
        assert readings.sample() == readings.sample() == {"uptime_seconds": 1.0}
    assert len(caplog.records) == 2


async def test_every_reading_of_this_part_is_known_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as rigged, watched(rigged) as readings:
        await rigged.cache.get("nothing")
        others = {"alerts_firing", "last_backup_age_seconds", "query_cache_hit_ratio"}
        sample = readings.sample()
        assert set(sample) == {reading.name for reading in READINGS} - others
        assert sample["process_memory_bytes"] > 1_000_000
        assert sample["memory_available_bytes"] > 0
        assert sample["open_files"] > 2
        assert 0 < sample["disk_free_ratio"] <= 1
        assert sample["cache_hit_ratio"] == 0


async def test_tasks_are_counted_where_they_are(tmp_path: Path) -> None:
    async with rig(tmp_path, max_active=1) as rigged, watched(rigged) as readings:
        gate = asyncio.Event()
        rigged.source.scripts["a"] = Script(gate=gate)
        rigged.source.scripts["c"] = Script(errors=[SourceNotFound("gone")])
        first = await rigged.submit("a")
        await rigged.source.started.wait()
        others = [await rigged.submit("b"), await rigged.submit("c")]
        await rigged.submit("d", start_at=rigged.clock.now() + 1000)
        rigged.clock.advance(7)
        sample = readings.sample()
        assert (sample["tasks_running"], sample["tasks_queued"]) == (1, 2)
        assert (sample["tasks_waiting"], sample["queue_wait_seconds"]) == (1, 7)
        gate.set()
        for each in (first, *others):
            await rigged.until(each)
        sample = readings.sample()
        assert (sample["tasks_done_total"], sample["tasks_failed_total"]) == (2, 1)
        assert (sample["tasks_running"], sample["queue_wait_seconds"]) == (0, 0)
        assert sample["failures_per_minute"] == 1
        rigged.clock.advance(61)
        assert readings.sample()["failures_per_minute"] == 0


async def test_bytes_are_counted_exactly_and_once_over_all_tries(tmp_path: Path) -> None:
    async with rig(tmp_path) as rigged, watched(rigged) as readings:
        script = rigged.source.scripts["a"] = Script({"a.bin": b"x" * 1000})
        script.errors = [NetworkFailed("reset")]
        task = await rigged.submit("a")
        await rigged.failed_again(task, 1)
        rigged.clock.advance(60)
        await rigged.until(task, TaskState.DONE)
        sample = readings.sample()
        assert (sample["bytes_in_total"], sample["bytes_out_total"]) == (1000, 1000)


async def test_the_event_loop_tells_how_late_it_wakes(tmp_path: Path) -> None:
    async with rig(tmp_path) as rigged, watched(rigged) as readings:
        assert readings.sample()["event_loop_lag_seconds"] == 0
        await asyncio.sleep(0)
        rigged.clock.advance(1.5)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert readings.sample()["event_loop_lag_seconds"] == pytest.approx(0.5)


async def test_a_filesystem_that_hangs_stops_no_other_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path) as rigged, watched(rigged) as readings:
        hangs, goes_on = threading.Event(), threading.Event()

        def hang(path: str) -> None:
            hangs.set()
            goes_on.wait(30)
            raise OSError("the server is back, and knows no such file")

        monkeypatch.setattr("psutil.disk_usage", hang)
        while not hangs.is_set():
            rigged.clock.advance(1)
            await asyncio.sleep(0.001)
        rigged.clock.advance(1.25)
        await asyncio.sleep(0.001)
        sample = readings.sample()
        assert sample["event_loop_lag_seconds"] == pytest.approx(0.25)
        assert sample["disk_free_bytes"] > 0
        goes_on.set()


async def test_clients_are_counted_while_they_are_there(tmp_path: Path) -> None:
    async with rig(tmp_path) as rigged, watched(rigged) as readings:
        for client in ("a", "b"):
            rigged.hub.publish(events.ClientConnected(0.0, client))
        for _ in range(2):
            rigged.hub.publish(events.ClientLeft(0.0, "a"))
        assert readings.sample()["websocket_clients"] == 1


async def test_nothing_is_heard_after_the_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as rigged:
        async with watched(rigged) as readings:
            pass
        rigged.hub.publish(
            events.TaskMoved(0.0, "t", "u", TaskState.RUNNING, TaskState.FAILED, "http")
        )
        assert readings.sample()["tasks_failed_total"] == 0


async def test_they_can_be_asked_for_by_those_with_a_token(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        await it.rig.until(await it.rig.submit("a"))
        assert (await it.call("GET", "/api/v3/metrics/current", scope=None))[0] == 401
        status, found, _ = await it.call("GET", "/api/v3/metrics/current", scope="view")
        assert (status, found["status"], found["cursor"]) == (200, "ok", None)
        values = {each["name"]: each for each in found["items"]}
        assert list(values)[: len(READINGS)] == [reading.name for reading in READINGS]
        assert values["tasks_done_total"]["value"] == 1
        assert values["bytes_in_total"] | {"help": ""} == {
            "name": "bytes_in_total",
            "unit": "bytes",
            "help": "",
            "total": True,
            "value": 7.0,
        }

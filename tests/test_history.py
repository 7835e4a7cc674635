"""The history of metrics: what is kept over kills and clocks that jump, and what is answered."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.errors import InvalidInput
from bot.operations.blocks import SPAN, SPANS, Bucket, Buckets, Run, Samples, runs
from bot.operations.history import DAY, RAW_KEPT, Recorder
from bot.operations.history_query import MAX_NAMES, HistoryReader, Series
from bot.store.repository import Store, open_store
from bot.store.series import Block, SeriesStore
from bot.web import schemas_history as schemas
from tests.rig import ManualClock
from tests.test_rest import web

NOON = 1_800_000_000 // DAY * DAY + DAY // 2


class JumpingClock(ManualClock):
    """Its time on the wall can be set; what never goes back does not."""

    def __init__(self, start: float = NOON) -> None:
        super().__init__(start)
        self.off = 0.0

    def now(self) -> float:
        """The time on the wall."""
        return self.monotonic() + self.off


@dataclass
class Rig:
    """A recorder whose samples the test makes, one every ten seconds."""

    clock: JumpingClock
    store: Store
    series: SeriesStore
    recorder: Recorder
    reader: HistoryReader
    values: dict[str, float]

    async def run(self, ticks: int, *values: float) -> None:
        """Take so many samples; of these values in turn, if there are some."""
        for number in range(ticks):
            if values:
                self.values["x"] = values[number % len(values)]
            await self.recorder.tick()
            self.clock.advance(10)

    async def read(self, seconds: float = 3600, points: int | None = None) -> Series:
        """The series x of the last seconds."""
        now = self.clock.now()
        return (await self.reader.read(["x"], now - seconds, now, points)).series[0]


@asynccontextmanager
async def recording(
    url: str | Path, clock: JumpingClock | None = None, *, retention: int = 30
) -> AsyncIterator[Rig]:
    """A recorder over a database; leaving it is a kill: nothing more is stored."""
    store = await open_store(url if isinstance(url, str) else f"sqlite:///{url / 'history.db'}")
    clock, series, values = clock or JumpingClock(), SeriesStore(store.database), {"x": 1.0}
    recorder = Recorder(lambda: values, series, clock, interval=10, retention=retention)
    reader = HistoryReader(recorder, series, clock, max_points=1000)
    try:
        await recorder._recover()
        yield Rig(clock, store, series, recorder, reader, values)
    finally:
        await store.close()


def known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def buckets_of(block: Block | None) -> list[tuple[int, Bucket]]:
    """The buckets of the series x that are stored there."""
    assert block is not None
    run = runs(block.step, block.start, block.body).get("x")
    return [] if run is None else list(zip(run.times, map(Bucket, *run[1:]), strict=True))


async def test_samples_become_buckets_of_a_minute_and_of_a_quarter(store_url: str) -> None:
    async with recording(store_url) as it:
        await it.run(2 * SPAN // 10, 1.0, 2.0, 6.0)
        await it.run(1, 9.0)
        (hour,) = await it.series.between(60, NOON, NOON)
        minutes = buckets_of(hour)
        assert [at for at, _ in minutes] == list(range(NOON, NOON + 2 * SPAN, 60))
        assert {bucket for _, bucket in minutes} == {Bucket(1.0, 6.0, 3.0, 6.0, 6)}
        (day,) = await it.series.between(900, NOON - DAY, NOON)
        quarters = buckets_of(day)
        assert quarters == [
            (NOON, Bucket(1.0, 6.0, 3.0, 6.0, 90)),
            (NOON + SPAN, Bucket(1.0, 6.0, 3.0, 6.0, 90)),
        ]
        assert [block.settled for block in await it.series.between(0, NOON, NOON + DAY)] == [
            True,
            True,
            False,
        ]


async def test_an_answer_has_what_is_in_memory_too(tmp_path: Path) -> None:
    async with recording(tmp_path) as it:
        await it.run(200, 5.0)
        for seconds, points in ((2000, 1000), (DAY, 1000), (20 * DAY, 100)):
            found = await it.read(seconds, points)
            assert set(known(found.mean)) == {5.0}, seconds
        answer = await it.reader.read(["x"], NOON, NOON + 2000)
        assert answer.resolution == answer.step == 10
        assert known(answer.series[0].last) == [5.0] * 200
        assert (await it.reader.read(["x"], NOON - 50000, NOON + 2000)).resolution == 10
        assert (await it.reader.read(["x"], NOON - 90000, NOON)).resolution == 60


async def test_what_was_not_measured_is_a_gap(tmp_path: Path) -> None:
    async with recording(tmp_path) as it:
        await it.run(6, 1.0)
        it.clock.advance(60)
        it.values["y"] = 7.0
        await it.run(6, 1.0)
        answer = await it.reader.read(["x", "y", "z"], NOON, NOON + 180, 3)
        assert answer.step == 60
        assert [series.last for series in answer.series] == [
            [1.0, None, 1.0],
            [None, None, 7.0],
            [None, None, None],
        ]


async def test_a_peak_of_one_sample_is_in_every_answer(tmp_path: Path) -> None:
    async with recording(tmp_path) as it:
        await it.run(1000, 1.0)
        await it.run(1, 99.0)
        await it.run(1000, 1.0)
        for seconds in (6 * 3600, 3 * DAY, 30 * DAY):
            for points in (10, 100, 1000):
                found = await it.read(seconds, points)
                assert len(found.max) <= points
                assert max(known(found.max)) == 99.0
                assert min(known(found.min)) == 1.0


async def test_a_kill_loses_a_minute_at_most(store_url: str) -> None:
    clock = JumpingClock()
    async with recording(store_url, clock) as it:
        await it.run(50, 4.0)
    async with recording(store_url, clock) as it:
        assert 43 <= len(known((await it.read(600)).last)) <= 50
        # The same block goes on, and is settled with what was in it before.
        await it.run(90, 8.0)
        quarter = await it.series.get(900, NOON - NOON % DAY)
        ((_, bucket),) = buckets_of(quarter)
        assert (bucket.min, bucket.max) == (4.0, 8.0)
        assert 83 <= bucket.samples <= 90


async def test_a_block_that_a_kill_left_is_settled_by_the_next_start(store_url: str) -> None:
    clock = JumpingClock()
    async with recording(store_url, clock) as it:
        await it.run(50, 4.0)
    clock.advance(DAY)
    async with recording(store_url, clock) as it:
        assert await it.series.unsettled() == []
        quarter = await it.series.get(900, NOON - NOON % DAY)
        assert [at for at, _ in buckets_of(quarter)] == [NOON]
        assert known((await it.read(30 * DAY)).max) == [4.0]


async def test_a_stop_loses_nothing(tmp_path: Path) -> None:
    clock = JumpingClock()
    async with recording(tmp_path, clock) as it:
        await it.run(52, 4.0)
        await it.recorder.stop()
    async with recording(tmp_path, clock) as it:
        assert len(known((await it.read(600)).last)) == 52


async def test_a_clock_that_jumps_back_duplicates_and_loses_nothing(store_url: str) -> None:
    async with recording(store_url) as it:
        await it.run(180, 1.0)
        it.clock.off -= 1800
        # The same half hour once more, at other seconds: both are kept.
        it.clock.off += 5
        await it.run(181, 2.0)
        quarter = await it.series.get(900, NOON - NOON % DAY)
        found = buckets_of(quarter)
        assert [(at, bucket.samples) for at, bucket in found] == [(NOON, 180), (NOON + SPAN, 180)]
        assert {(bucket.min, bucket.max) for _, bucket in found} == {(1.0, 2.0)}
        raw = await it.series.between(0, 0, NOON + DAY)
        assert [block.start for block in raw] == [NOON, NOON + SPAN, NOON + 2 * SPAN]


async def test_the_same_second_twice_is_one_sample(tmp_path: Path) -> None:
    async with recording(tmp_path) as it:
        await it.run(90, 1.0)
        it.clock.off -= 900
        await it.run(91, 2.0)
        quarter = await it.series.get(900, NOON - NOON % DAY)
        (found,) = buckets_of(quarter)
        assert found == (NOON, Bucket(2.0, 2.0, 2.0, 2.0, 90))


async def test_a_clock_that_jumps_far_ahead_leaves_a_gap_and_removes_nothing(
    tmp_path: Path,
) -> None:
    async with recording(tmp_path, retention=1) as it:
        await it.run(180, 1.0)
        it.clock.off += 400 * DAY
        await it.run(180, 2.0)
        it.clock.off -= 400 * DAY
        await it.run(180, 3.0)
        last = known((await it.read(2 * 3600)).last)
        assert (last.count(1.0), last.count(3.0)) == (180, 180)
        # Once the clock went steadily for an hour, what lies in the future goes.
        assert await it.series.between(0, NOON + 300 * DAY, NOON + 500 * DAY)
        await it.run(361, 3.0)
        assert not await it.series.between(0, NOON + 300 * DAY, NOON + 500 * DAY)
        assert not await it.series.between(900, NOON + 300 * DAY, NOON + 500 * DAY)


async def test_what_is_too_old_goes(tmp_path: Path) -> None:
    async with recording(tmp_path, retention=5) as it:
        await it.run(100, 1.0)
        await it.series.put([Block(0, NOON - RAW_KEPT - 3 * SPAN, True, b"")])
        for step, span in SPANS.items():
            for age in (6 * DAY, 4 * DAY):
                start = (NOON - age) // span * span
                await it.series.put([Block(step, start, True, Buckets(step, start).encode())])
        await it.run(361, 1.0)
        assert len(await it.series.between(0, 0, NOON - RAW_KEPT)) == 0
        for step in SPANS:
            (kept,) = await it.series.between(step, 0, NOON - 2 * DAY)
            assert kept.start > NOON - 5 * DAY


async def test_a_database_that_is_away_costs_nothing_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = JumpingClock()
    async with recording(tmp_path, clock) as it:
        await it.run(10, 1.0)
        away = await open_store(f"sqlite:///{tmp_path / 'history.db'}")
        await away.close()
        working = it.recorder._store
        it.recorder._store = SeriesStore(away.database)
        await it.run(200, 2.0)
        assert caplog.text.count("is not stored") == 1
        it.recorder._store = working
        await it.run(10, 3.0)
        assert len(known((await it.read(3600)).last)) == 220
    async with recording(tmp_path, clock) as it:
        assert len(known((await it.read(3600)).last)) >= 214


async def test_a_damaged_block_does_not_stop_the_start(tmp_path: Path) -> None:
    clock = JumpingClock()
    async with recording(tmp_path, clock) as it:
        await it.series.put([Block(0, NOON - SPAN, False, b"\xff\x00"), Block(0, NOON, False, b"")])
    async with recording(tmp_path, clock) as it:
        await it.run(5, 1.0)
        assert known((await it.read(60)).last) == [1.0] * 5
        assert [block.start for block in await it.series.unsettled()] == [NOON]


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async with recording(tmp_path) as it:
        with pytest.raises(InvalidInput, match="end after it begins"):
            await it.reader.read(["x"], NOON, NOON)
        with pytest.raises(InvalidInput, match="series are asked for"):
            await it.reader.read([])
        with pytest.raises(InvalidInput, match=f"{MAX_NAMES + 1} series"):
            await it.reader.read([str(number) for number in range(MAX_NAMES + 1)])
        # However long it is, an answer is short.
        answer = await it.reader.read(["x"], 0, 1e11, 1000)
        assert answer.size <= 1000


def test_blocks_are_read_as_they_were_written() -> None:
    samples = Samples(900)
    samples.put(905, {"a": 1.5, "b": -2.0})
    samples.put(901, {"a": 1e39, "c": math.pi})
    samples.put(1799, {"a": 3.0})
    again = Samples.decode(900, samples.encode())
    assert again.points("a") == [(905, 1.5), (1799, 3.0)]
    assert again.points("b") == [(905, -2.0)]
    ((second, value),) = again.points("c")
    assert second == 901
    assert math.isclose(value, math.pi, rel_tol=1e-6)
    assert Samples.decode(900, samples.encode(), ["b"]).points("a") == []
    buckets = Buckets(60, 3600)
    for name, at, bucket in samples.buckets(60):
        buckets.put(name, at + 3600 - 900, bucket)
    found = runs(60, 3600, buckets.encode())
    assert found["a"] == Run([3600, 4440], (1.5, 3.0), (1.5, 3.0), (1.5, 3.0), (1.5, 3.0), (1, 1))
    assert Buckets.decode(60, 3600, buckets.encode()).encode() == buckets.encode()
    assert set(runs(60, 3600, buckets.encode(), ["b", "nothing"])) == {"b"}


def test_the_clock_on_the_wall_says_when_the_next_sample_is_due() -> None:
    clock = JumpingClock(NOON + 3)
    recorder = Recorder(dict, SeriesStore(None), clock, interval=10, retention=1)  # type: ignore[arg-type]
    for past, pause in ((3.0, 7.0), (9.999, 10.001), (0.0, 10.0), (0.4, 9.6)):
        clock._now = NOON + past
        assert recorder._pause() == pytest.approx(pause, abs=1e-6)


async def test_the_history_of_a_service(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        at = "/api/v3/metrics/history?name=tasks_running&name=tasks_queued"
        for count in (1, 2, 3):
            it.rig.clock.advance(10)
            async with asyncio.timeout(20):
                while True:
                    status, body, _ = await it.call("GET", at, scope="view")
                    assert status == 200
                    if len(known(body["items"][0]["max"])) == count:
                        break
        schemas.HistoryOut.model_validate(body)
        running, queued = body["items"]
        assert (running["name"], running["unit"]) == ("tasks_running", "tasks")
        assert known(running["max"]) == [0.0] * 3
        assert len(queued["mean"]) == len(body["times"]) <= 1000
        assert (await it.call("GET", f"{at}&points=5"))[1]["step"] >= 720
        since = "&since=2001-01-01T00:00:00Z"
        assert (await it.call("GET", at + since))[0] == 422
        assert (await it.call("GET", "/api/v3/metrics/history"))[0] == 422
        status, problem, _ = await it.call("GET", "/api/v3/metrics/history?name=nonsense")
        assert (status, problem["code"]) == (404, "not_found")

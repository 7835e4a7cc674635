"""Bytes by engine: sums that never go back, whatever becomes of the transfers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from bot.domain import events
from bot.domain.task import Progress, StageKind, TaskState
from bot.engines.registry import Engines
from bot.operations.traffic import Traffic

FETCH, DELIVER, SEED, VERIFY = (
    StageKind.FETCH,
    StageKind.DELIVER,
    StageKind.SEED,
    StageKind.VERIFY,
)


class Engine:
    """An engine that says what a test wants it to say."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: dict[str, Progress] = {}

    def snapshot(self) -> Mapping[str, Progress]:
        """Its jobs."""
        return dict(self.jobs)


class Bench:
    """Traffic over two such engines."""

    def __init__(self) -> None:
        self.http, self.cloud = Engine("http"), Engine("rclone")
        self.traffic = Traffic(cast(Engines, [self.http, self.cloud]))
        self.now = 0.0

    def start(
        self,
        phase: StageKind,
        engine: str,
        *,
        fetcher: str | None = None,
        resumed: bool = False,
    ) -> None:
        """A stage of the task begins."""
        self.traffic.hear(
            events.StageStarted(0.0, "t", "u", str(phase), 1, phase, engine, fetcher, resumed)
        )

    def finish(self, phase: StageKind, engine: str, size: int) -> None:
        """It ends well."""
        self.traffic.hear(events.StageFinished(0.0, "t", "u", str(phase), 1.0, size, phase, engine))

    def see(self, http: Progress | None = None, cloud: Progress | None = None) -> None:
        """A second later the engines say that."""
        self.http.jobs = {"t": http} if http else {}
        self.cloud.jobs = {"t": cloud} if cloud else {}
        self.now += 1
        self.traffic.look(self.now)

    def end(self) -> None:
        """The task is over."""
        self.traffic.hear(
            events.TaskMoved(0.0, "t", "u", TaskState.RUNNING, TaskState.CANCELLED, "http")
        )

    def sums(self) -> tuple[int, int, int, int]:
        """In and out of http, in and out of rclone."""
        found = self.traffic.totals()
        return (
            found["in", "http"],
            found["out", "http"],
            found["in", "rclone"],
            found["out", "rclone"],
        )


def test_a_fetch_counts_while_it_runs_and_to_the_byte_at_its_end() -> None:
    bench = Bench()
    assert bench.sums() == (0, 0, 0, 0)
    bench.start(FETCH, "http")
    bench.see(Progress(400, 1000, 40.0))
    assert bench.sums() == (400, 0, 0, 0)
    assert bench.traffic.figures() == {
        "bytes_in_total": 400,
        "bytes_out_total": 0,
        "bytes_in_per_second": 40.0,
        "bytes_out_per_second": 0.0,
    }
    bench.finish(FETCH, "http", 1000)
    assert bench.sums() == (1000, 0, 0, 0)
    bench.see(Progress(1000, 1000))  # It may still say so for a moment.
    assert bench.sums() == (1000, 0, 0, 0)
    assert bench.traffic.figures()["bytes_in_per_second"] == 0


def test_tries_that_start_over_never_take_back_nor_count_twice() -> None:
    bench = Bench()
    bench.start(FETCH, "http")
    bench.see(Progress(600))
    bench.see()
    bench.start(FETCH, "http", resumed=True)
    bench.see(Progress(100))
    assert bench.sums()[0] == 600
    bench.see(Progress(700))
    assert bench.sums()[0] == 700
    bench.finish(FETCH, "http", 1000)
    assert bench.sums()[0] == 1000


def test_what_an_earlier_start_had_fetched_is_not_counted_again() -> None:
    bench = Bench()
    bench.start(FETCH, "http", resumed=True)
    bench.see(Progress(5000))
    bench.see(Progress(5500))
    bench.finish(FETCH, "http", 6000)
    assert bench.sums()[0] == 1000


def test_one_engine_fetches_then_delivers() -> None:
    bench = Bench()
    bench.start(FETCH, "rclone")
    bench.finish(FETCH, "rclone", 10)
    bench.start(DELIVER, "rclone")
    bench.see(cloud=Progress(4, 10, 2.0))
    assert bench.sums() == (0, 0, 10, 4)
    assert bench.traffic.figures()["bytes_out_per_second"] == 2.0
    bench.finish(DELIVER, "rclone", 10)
    bench.start(VERIFY, "rclone")
    bench.see(cloud=Progress(9, 10, 3.0))
    assert bench.sums() == (0, 0, 10, 10)
    assert bench.traffic.figures()["bytes_out_per_second"] == 0
    bench.start(DELIVER, "rclone")  # The destination was damaged, so it is sent again.
    bench.finish(DELIVER, "rclone", 10)
    assert bench.sums() == (0, 0, 10, 20)


def test_a_stream_counts_on_both_sides() -> None:
    bench = Bench()
    bench.start(DELIVER, "rclone", fetcher="http")
    bench.see(Progress(8, 10, 1.0), Progress(6, 10, 1.0))
    assert bench.sums() == (8, 0, 0, 6)
    bench.finish(DELIVER, "rclone", 10)
    assert bench.sums() == (10, 0, 0, 10)


def test_what_peers_got_is_bytes_out_with_a_speed_of_its_own() -> None:
    bench = Bench()
    bench.start(FETCH, "http")
    bench.see(Progress(50, 100, uploaded=5))
    bench.finish(FETCH, "http", 100)
    bench.start(SEED, "http")
    bench.see(Progress(100, 100, uploaded=25))
    assert bench.sums()[:2] == (100, 25)
    assert bench.traffic.figures()["bytes_out_per_second"] == 20.0
    bench.see(Progress(100, 100, uploaded=20))
    assert bench.sums()[:2] == (100, 25)


def test_what_is_over_leaves_nothing_behind() -> None:
    bench = Bench()
    bench.start(FETCH, "http")
    bench.see(Progress(5))
    bench.end()
    bench.see(Progress(50))
    assert bench.sums()[0] == 5
    bench.start(FETCH, "http")
    bench.see(Progress(3))
    assert bench.sums()[0] == 8

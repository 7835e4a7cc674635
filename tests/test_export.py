"""Metrics on their way out: nothing is lost by an endpoint that is down, nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bot.app.operations_metrics import Numbers, opened_numbers
from bot.config import load
from bot.engines.curl import CurlLoop
from bot.engines.egress import EgressPolicy
from bot.errors import ConfigError
from bot.operations.export import GRACE, Export
from bot.operations.export_datadog import DatadogExporter
from bot.operations.export_http import HttpExporter
from bot.operations.export_otlp import Otlp
from bot.operations.export_points import Point, encode_json, points
from tests.rig import ManualClock, Rig, rig
from tests.servers.collector import Answer, Collector


def some(first: int, count: int) -> list[Point]:
    """Points that can be told from each other by their values."""
    return [
        Point(name="x", kind="gauge", labels={}, value=number, at=1.0, since=0.0)
        for number in range(first, first + count)
    ]


def values(body: bytes) -> list[float]:
    """Those of a batch in JSON."""
    return [each["value"] for each in json.loads(body)["points"]]


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again until it holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def shown(numbers: Numbers, line: str) -> None:
    """Until the page of metrics has that line."""
    async with asyncio.timeout(30):
        while line.encode() not in (await numbers.page.render(""))[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Sending:
    """An exporter to a collector, on a clock that the test moves."""

    def __init__(self, collector: Collector, curl: CurlLoop, *, batch: int, buffer: int) -> None:
        self.collector = collector
        self.clock = ManualClock()
        self.exporter = HttpExporter(
            "external",
            collector.url,
            curl=curl,
            clock=self.clock,
            encode=encode_json,
            headers={},
            batch=batch,
            buffer=buffer,
            jitter=lambda: 1.0,
        )

    async def arrived(self) -> list[float]:
        """The values of the next batch."""
        return values((await asyncio.to_thread(self.collector.arrived)).body)

    async def asleep(self) -> None:
        """Until it waits for its next try."""
        await until(lambda: self.clock._sleepers != [])


@asynccontextmanager
async def sending(
    *, batch: int = 100, buffer: int = 1000, up: bool = True
) -> AsyncIterator[Sending]:
    """One that has begun."""
    curl = CurlLoop(EgressPolicy(["0.0.0.0/0"]))
    collector = Collector()
    if up:
        collector.up()
    it = Sending(collector, curl, batch=batch, buffer=buffer)
    it.exporter.start()
    try:
        yield it
    finally:
        collector.gate.set()
        await it.exporter.flush()
        collector.down()
        await curl.close()


@asynccontextmanager
async def exporting(directory: Path, **settings: str) -> AsyncIterator[tuple[Rig, Numbers]]:
    """A rig whose metrics are exported as the settings say."""
    async with rig(directory) as it:
        environ = {
            "DATA_DIR": str(directory / "data"),
            "DOWNLOAD_DIR": str(it.root),
            "METRICS_BATCH_INTERVAL": "60",
            "METRICS_BATCH_SIZE": "10000",
            **settings,
        }
        base = replace(it.base, settings=load(environ, directory).settings)
        async with opened_numbers(base, it.transfers) as numbers:
            yield it, numbers


@contextmanager
def udp() -> Iterator[tuple[int, Callable[[], list[str]]]]:
    """A socket that listens, its port, and what came to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.5)

        def heard() -> list[str]:
            lines: list[str] = []
            try:
                while True:
                    lines += listener.recv(65536).decode().splitlines()
                    listener.settimeout(0.1)
            except TimeoutError:
                listener.settimeout(0.5)
            return lines

        yield listener.getsockname()[1], heard


# What is sent


def test_points_are_what_the_registry_holds_but_for_counters_at_zero() -> None:
    registry = CollectorRegistry()
    Gauge("g", "G.", registry=registry).set(0)
    counter = Counter("c_total", "C.", ["a"], registry=registry)
    counter.labels("no")
    counter.labels("yes").inc(3)
    histogram = Histogram("h", "H.", ["a"], registry=registry, buckets=(1, 10))
    histogram.labels("none")
    for value in (0.5, 5, 50, 60):
        histogram.labels("some").observe(value)
    families = list(registry.collect())
    for family in families:
        family.samples = [each for each in family.samples if not each.name.endswith("_created")]
    found = {point.name: point for point in points(families, at=9.0, since=2.0)}
    assert set(found) == {"g", "c_total", "h"}
    assert (found["g"].kind, found["g"].value) == ("gauge", 0)
    assert (found["c_total"].labels, found["c_total"].value) == ({"a": "yes"}, 3)
    assert found["h"] == Point(
        name="h",
        kind="histogram",
        labels={"a": "some"},
        value=115.5,
        at=9.0,
        since=2.0,
        count=4,
        buckets=((1.0, 1), (10.0, 2)),
    )


async def test_json_comes_with_a_token_at_each_interval_and_at_the_end(tmp_path: Path) -> None:
    with Collector() as collector:
        async with exporting(
            tmp_path, EXTERNAL_METRICS_URL=collector.url, EXTERNAL_METRICS_TOKEN="s3cret"
        ) as (it, numbers):
            await it.until(await it.submit("a"))
            await until(lambda: len(it.clock._sleepers) >= 2)
            it.clock.advance(60)
            posted = await asyncio.to_thread(collector.arrived)
            assert posted.headers["authorization"] == "Bearer s3cret"
            assert posted.headers["content-type"] == "application/json"
            sent = {
                (each["name"], *each["labels"].values()): each
                for each in json.loads(posted.body)["points"]
            }
            bytes_in = sent["mltb_received_bytes_total", "scripted"]
            assert (bytes_in["kind"], bytes_in["value"]) == ("counter", 7)
            assert bytes_in["at"] - bytes_in["since"] == 60
            assert sent["mltb_stage_duration_seconds", "fetch", "scripted"]["count"] == 1
            await shown(numbers, 'mltb_export_buffered_points{exporter="external"} 0.0')
            await it.until(await it.submit("b"))
        last = await asyncio.to_thread(collector.arrived)
    assert b'"value":14' in last.body


# An endpoint that is not there


async def test_what_could_not_be_sent_is_sent_when_the_endpoint_is_back() -> None:
    async with sending(batch=3, up=False) as it:
        it.exporter.take(some(0, 5))
        for wait in (1, 2, 4):
            await it.asleep()
            assert it.exporter.waiting == 5
            it.clock.advance(wait - 0.01)
            await asyncio.sleep(0)
            assert it.exporter.waiting == 5
            it.clock.advance(0.02)
        await it.asleep()
        it.collector.up()
        it.clock.advance(8)
        assert await it.arrived() == [0, 1, 2]
        assert await it.arrived() == [3, 4]
        await until(lambda: it.exporter.stats.sent == 5)
        assert (it.exporter.waiting, it.exporter.stats.dropped) == (0, 0)


async def test_the_oldest_make_room_and_are_counted() -> None:
    async with sending(batch=2, buffer=4, up=False) as it:
        it.exporter.take(some(0, 3))
        await it.asleep()
        it.exporter.take(some(3, 3))
        assert (it.exporter.waiting, it.exporter.stats.dropped) == (4, 2)
        it.collector.up()
        it.clock.advance(1)
        assert await it.arrived() == [2, 3]
        assert await it.arrived() == [4, 5]


async def test_what_comes_while_a_batch_is_on_its_way_does_not_mix_with_it() -> None:
    async with sending(batch=2, buffer=3) as it:
        it.collector.gate.clear()
        it.collector.answers.append(Answer(500))
        it.exporter.take(some(0, 2))
        assert await it.arrived() == [0, 1]
        it.exporter.take(some(2, 3))
        it.collector.gate.set()
        await it.asleep()
        assert (it.exporter.waiting, it.exporter.stats.dropped) == (3, 2)
        it.clock.advance(1)
        assert await it.arrived() == [2, 3]
        assert await it.arrived() == [4]


@pytest.mark.parametrize("asked", ["120", "Mon, 12 Jan 1970 13:48:40 GMT"])
async def test_an_endpoint_is_asked_again_when_it_wants(asked: str) -> None:
    async with sending() as it:
        it.collector.answers.append(Answer(429, (("Retry-After", asked),)))
        it.exporter.take(some(0, 1))
        await it.arrived()
        await it.asleep()
        it.clock.advance(119)
        await asyncio.sleep(0.01)
        assert len(it.collector.posted) == 1
        it.clock.advance(1)
        assert await it.arrived() == [0]


async def test_nonsense_in_retry_after_is_no_reason_to_fail() -> None:
    async with sending() as it:
        for text in ("soon", "-5", "9" * 50):
            it.collector.answers.append(Answer(503, (("Retry-After", text),)))
        it.exporter.take(some(0, 1))
        for wait in (1, 2, 4):
            await it.arrived()
            await it.asleep()
            it.clock.advance(wait)
        assert await it.arrived() == [0]


async def test_a_batch_that_does_not_fit_holds_up_no_other() -> None:
    async with sending(batch=1) as it:
        it.collector.answers.append(Answer(422))
        it.exporter.take(some(0, 2))
        assert await it.arrived() == [0]
        assert await it.arrived() == [1]
        await until(lambda: it.exporter.stats.sent == 1)
        assert it.exporter.stats.refused == 1


async def test_redirects_are_not_followed() -> None:
    async with sending() as it:
        with Collector() as elsewhere:
            it.collector.answers.append(Answer(307, (("Location", elsewhere.url),)))
            it.exporter.take(some(0, 1))
            await it.arrived()
            await it.asleep()
            it.clock.advance(1)
            assert await it.arrived() == [0]
            assert elsewhere.posted == []


async def test_the_end_does_not_wait_for_an_endpoint_that_hangs() -> None:
    async with sending() as it:
        it.collector.gate.clear()

        async def collect() -> list[Any]:
            it.exporter.take(some(0, 1))
            return []

        export = Export([it.exporter], collect, it.clock, interval=60)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await export.stop()
        assert loop.time() - began < GRACE + 10
        assert it.exporter.waiting == 1


# OTLP


async def test_otlp_comes_as_a_collector_reads_it(tmp_path: Path) -> None:
    with Collector() as collector:
        rejected = ExportMetricsServiceResponse()
        rejected.partial_success.rejected_data_points = 2
        collector.answers.append(Answer(body=rejected.SerializeToString()))
        async with exporting(tmp_path, OTLP_URL=collector.url, OTLP_TOKEN="t") as (it, numbers):
            await it.until(await it.submit("a"))
            await until(lambda: len(it.clock._sleepers) >= 2)
            it.clock.advance(60)
            posted = await asyncio.to_thread(collector.arrived)
            assert posted.headers["content-type"] == "application/x-protobuf"
            assert posted.headers["authorization"] == "Bearer t"
            request = ExportMetricsServiceRequest.FromString(posted.body)
            now = int(it.clock.now())
            (resource,) = request.resource_metrics
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert names["service.name"] == "mltb"
            (scope,) = resource.scope_metrics
            metrics = {metric.name: metric for metric in scope.metrics}
            assert len(metrics) == len(scope.metrics)
            received = metrics["mltb_received_bytes_total"].sum
            assert (received.is_monotonic, received.aggregation_temporality) == (True, 2)
            (point,) = received.data_points
            assert (point.as_double, point.attributes[0].value.string_value) == (7, "scripted")
            assert point.time_unix_nano // 10**9 == now
            assert point.start_time_unix_nano // 10**9 == now - 60
            stages = metrics["mltb_stage_duration_seconds"].histogram.data_points
            fetch = next(
                each
                for each in stages
                if {label.value.string_value for label in each.attributes} == {"fetch", "scripted"}
            )
            assert (fetch.count, sum(fetch.bucket_counts)) == (1, 1)
            assert len(fetch.bucket_counts) == len(fetch.explicit_bounds) + 1
            assert metrics["mltb_tasks_running"].gauge.data_points[0].as_double == 0
            await shown(numbers, 'mltb_export_points_total{exporter="otlp",outcome="refused"} 2.0')


def test_an_answer_that_is_no_otlp_refuses_nothing() -> None:
    assert Otlp().refused(b"") == 0
    assert Otlp().refused(b"<html>") == 0


# DogStatsD


async def test_an_agent_gets_gauges_and_what_counters_grew_by(tmp_path: Path) -> None:
    with udp() as (port, heard):
        settings = {"DATADOG_ENABLED": "true", "DOGSTATSD_PORT": str(port)}
        async with exporting(tmp_path, **settings) as (it, _):
            await it.until(await it.submit("a"))
            await until(lambda: len(it.clock._sleepers) >= 2)
            it.clock.advance(60)
            lines = await asyncio.to_thread(heard)
            assert "mltb.received_bytes:7|c|#engine:scripted" in _bare(lines)
            assert "mltb.tasks_running:0|g" in _bare(lines)
            seconds = "mltb.stage_duration_seconds.count:1|c|#stage:fetch,worker:scripted"
            assert seconds in _bare(lines)
            for _ in range(2):
                await it.until(await it.submit("b", again=True))
            it.clock.advance(60)
            lines = await asyncio.to_thread(heard)
            assert "mltb.received_bytes:14|c|#engine:scripted" in _bare(lines)
        assert not any("received_bytes" in line for line in await asyncio.to_thread(heard))


def _bare(lines: list[str]) -> list[str]:
    """Without container and cardinality, values as whole numbers where they are."""
    return [line.partition("|c:")[0].partition("|e:")[0].replace(".0|", "|") for line in lines]


async def test_an_agent_that_is_not_there_fails_nothing() -> None:
    exporter = DatadogExporter("no-such-host.invalid", 8125)
    exporter.take(some(0, 3))
    await exporter.flush()
    assert (exporter.stats.sent, exporter.stats.dropped, exporter.waiting) == (0, 3, 0)


# Settings


@pytest.mark.parametrize(
    ("module", "made", "extra"),
    [
        ("datadog.dogstatsd.base", lambda: DatadogExporter("127.0.0.1", 1), "mltb[datadog]"),
        ("opentelemetry.proto.metrics.v1", Otlp, "mltb[otlp]"),
    ],
)
def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, made: Callable[[], object], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="is not installed") as caught:
        made()
    assert extra in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXTERNAL_METRICS_URL", "ftp://host/x"),
        ("EXTERNAL_METRICS_URL", "https://"),
        ("OTLP_URL", "collector:4318"),
        ("OTLP_URL", "http://[::1"),
        ("EXTERNAL_METRICS_TOKEN", "a\r\nX-Evil: 1"),
    ],
)
def test_a_wrong_address_stops_the_start_and_is_not_shown(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        load({name: value}, tmp_path)


async def test_without_settings_nothing_is_sent_and_nothing_loaded(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (_, numbers):
        text, _ = await numbers.page.render("")
        assert b"mltb_export_points_total{" not in text

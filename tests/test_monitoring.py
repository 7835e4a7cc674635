"""A real service that is watched: what /metrics says after real transfers, read by Prometheus."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from tests.servers.collector import Collector
from tests.servers.http import HttpServer
from tests.servers.missing import requires
from tests.servers.ports import free_port
from tests.servers.program import Program
from tests.servers.routes import Status
from tests.serving import Service, eventually

_SIZE = 3_210_987


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has fetched a file and failed to fetch another."""
    with HttpServer() as server, Service(tmp_path_factory.mktemp("watched")) as service:
        server.content("/file.bin", _SIZE)
        server.add("/gone", Status(404))
        assert service.fetch(server.url("/file.bin"))["state"] == "done"
        assert service.fetch(server.url("/gone"))["state"] == "failed"
        yield service


def token(service: Service) -> str:
    """One that may only look."""
    made = service.client.post("/tokens", {"name": "prometheus", "scope": "view"})
    secret: str = made["secret"]
    return secret


def get(url: str, secret: str, accept: str = "*/*") -> bytes:
    """The body of an answer."""
    headers = {"Authorization": f"Bearer {secret}", "Accept": accept}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        body: bytes = answer.read()
    return body


def test_metrics_are_exact_after_real_transfers(watched: Service) -> None:
    text = get(f"{watched.url}/metrics", token(watched), "application/openmetrics-text").decode()
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in openmetrics(text)
        for sample in family.samples
    }
    assert found["mltb_received_bytes_total", "http"] == _SIZE
    assert found["mltb_sent_bytes_total", "local"] == _SIZE
    assert found["mltb_sent_bytes_total", "http"] == 0
    assert found["mltb_stage_duration_seconds_count", "fetch", "http"] == 1
    assert 0 < found["mltb_stage_duration_seconds_sum", "fetch", "http"] < 60
    assert found["mltb_tasks_finished_total", "done", "http"] == 1
    failures = {
        key: count
        for key, count in found.items()
        if key[0] == "mltb_stage_failures_total" and count
    }
    ((name, *labels), count) = failures.popitem()
    assert failures == {}
    assert (name, count) == ("mltb_stage_failures_total", 1)
    assert "source_not_found" in labels
    assert found["mltb_stage_failures_total", "network", "verify"] == 0
    assert found["mltb_tasks", "done", "http"] == 1
    assert found["mltb_database_calls_total", "insert"] >= 2
    assert 0 < found["mltb_database_call_seconds_total", "save"] < 60
    assert found["mltb_open_files",] > 5
    assert found["mltb_disk_free_bytes",] > 0


def test_prometheus_scrapes_with_a_token(watched: Service, tmp_path: Path) -> None:
    requires("prometheus", how="apt install prometheus")
    secret = tmp_path / "token"
    secret.touch(mode=0o600)
    secret.write_text(token(watched))
    config = {
        "scrape_configs": [
            {
                "job_name": "mltb",
                "scrape_interval": "1s",
                "authorization": {"credentials_file": str(secret)},
                "static_configs": [{"targets": [urlsplit(watched.url).netloc]}],
            }
        ]
    }
    path = tmp_path / "prometheus.yml"
    path.write_text(json.dumps(config))  # JSON is YAML.
    port = free_port()
    program = Program(
        [
            "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        {**os.environ, "GOMAXPROCS": "1"},
    )
    try:
        asked = "http://127.0.0.1:{}/api/v1/query?{}".format(
            port, urlencode({"query": 'mltb_received_bytes_total{engine="http"}'})
        )

        def scraped() -> bool:
            try:
                found = json.loads(get(asked, ""))["data"]["result"]
            except urllib.error.URLError:
                return False
            return bool(found) and float(found[0]["value"][1]) == _SIZE

        eventually(scraped, lambda: program.output[-2000:])
    finally:
        program.stop()


def test_a_service_exports_while_it_runs_and_when_it_stops(tmp_path: Path) -> None:
    with Collector() as collector, HttpServer() as server:
        server.content("/file.bin", 1234)
        with Service(
            tmp_path,
            EXTERNAL_METRICS_URL=collector.url,
            METRICS_BATCH_INTERVAL="1",
            METRICS_BATCH_SIZE="10000",
        ) as service:
            first = collector.arrived()
            assert b'"mltb_tasks_running"' in first.body
            assert service.fetch(server.url("/file.bin"))["state"] == "done"
            assert service.terminate() == 0
        sent = {
            (each["name"], *each["labels"].values()): each["value"]
            for each in json.loads(collector.posted[-1].body)["points"]
        }
        assert sent["mltb_received_bytes_total", "http"] == 1234
        assert sent["mltb_tasks_finished_total", "done", "http"] == 1

"""What Prometheus reads: true of real tasks, bounded, and there before the first failure."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from bot import errors
from bot.app.operations_metrics import opened_numbers
from bot.domain import events
from bot.domain.task import StageKind, TaskState
from bot.errors import NetworkFailed, SourceNotFound
from bot.operations.metrics import Metrics, Workers
from bot.operations.metrics_declared import DECLARED, of_reading
from bot.operations.readings import READINGS
from tests.rig import Script, rig
from tests.test_rest import Web, web
from tools.docs import DOCS

OPENMETRICS = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def series(text: bytes) -> Series:
    """Every sample of a page in OpenMetrics, by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in openmetrics(text.decode())
        for sample in family.samples
    }


def value(found: Series, name: str, **labels: str) -> float:
    """One sample; KeyError where it is not there."""
    return found[name, tuple(sorted(labels.items()))]


async def scrape(it: Web) -> Series:
    """The page as Prometheus gets it."""
    status, text, headers = await it.call("GET", "/metrics", headers={"Accept": OPENMETRICS})
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    return series(text)


class Counted:
    """Metrics alone, of a service with two engines."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(
            self.registry,
            Workers(("http", "local"), {StageKind.FETCH: ("http",), StageKind.STEP: ("zip",)}),
        )
        self.hub = events.EventHub()
        self.hub.listen(self.metrics.hear)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample."""
        return self.registry.get_sample_value(name, labels)

    def say(self, *said: events.Event) -> None:
        """Publish events."""
        for each in said:
            self.hub.publish(each)


async def test_a_task_is_told_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        it.rig.source.scripts["a"] = Script({"a.bin": b"x" * 1234})
        await it.rig.until(await it.rig.submit("a"))
        found = await scrape(it)
        assert value(found, "mltb_tasks", state="done", engine="scripted") == 1
        assert value(found, "mltb_tasks", state="queued", engine="none") == 0
        assert value(found, "mltb_tasks_finished_total", state="done", engine="scripted") == 1
        assert value(found, "mltb_received_bytes_total", engine="scripted") == 1234
        assert value(found, "mltb_sent_bytes_total", engine="local") == 1234
        assert value(found, "mltb_task_wait_seconds_count") == 1
        for stage, worker in (("fetch", "scripted"), ("deliver", "local"), ("verify", "local")):
            count = value(found, "mltb_stage_duration_seconds_count", stage=stage, worker=worker)
            assert count == 1
        assert value(found, "mltb_tasks_running") == 0
        assert value(found, "mltb_process_memory_bytes") > 1_000_000


async def test_failures_are_there_by_stage_and_code_before_the_first(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        before = await scrape(it)
        assert value(before, "mltb_stage_failures_total", stage="fetch", code="network") == 0
        script = it.rig.source.scripts["a"] = Script()
        script.errors = [NetworkFailed("reset"), SourceNotFound("gone")]
        task = await it.rig.submit("a")
        await it.rig.failed_again(task, 1)
        it.rig.clock.advance(30)
        await it.rig.until(task, TaskState.FAILED)
        it.rig.source.scripts["b"] = Script(plan_errors=[SourceNotFound("gone")])
        await it.rig.until(await it.rig.submit("b"))
        after = await scrape(it)
        for stage, code in (
            ("fetch", "network"),
            ("fetch", "source_not_found"),
            ("plan", "source_not_found"),
        ):
            assert value(after, "mltb_stage_failures_total", stage=stage, code=code) == 1
        assert value(after, "mltb_stage_retries_total", stage="fetch") == 1
        assert value(after, "mltb_tasks_finished_total", state="failed", engine="none") == 1
        assert value(after, "mltb_tasks_finished_total", state="failed", engine="scripted") == 1
        assert value(after, "mltb_failures_per_minute") == 3


async def test_requests_are_counted_by_the_template_of_their_route(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        for path in ("/api/v3/tasks/1", "/api/v3/tasks/2", "/no/such/path", "/static/nothing"):
            assert (await it.call("GET", path))[0] == 404
        await it.call("PROPFIND", "/no/such/path")
        found = await scrape(it)
        one = {"route": "/api/v3/tasks/{task_id}", "method": "GET"}
        assert value(found, "mltb_http_requests_total", **one, status="4xx") == 2
        assert value(found, "mltb_http_requests_total", **one, status="5xx") == 0
        other = {"route": "other", "status": "4xx"}
        assert value(found, "mltb_http_requests_total", **other, method="GET") == 2
        assert value(found, "mltb_http_requests_total", **other, method="other") == 1
        seconds = value(found, "mltb_http_request_duration_seconds_sum", route=one["route"])
        assert 0 < seconds < 60
        assert not any("/tasks/1" in str(key) for key in found)


async def test_both_formats_say_the_same_and_need_a_token(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        assert (await it.call("GET", "/metrics", scope=None))[0] == 401
        status, text, headers = await it.call("GET", "/metrics", scope="view")
        assert status == 200
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        plain = {family.name for family in text_format(text.decode())}
        _, text, _ = await it.call("GET", "/metrics", headers={"Accept": OPENMETRICS})
        assert {family.name for family in openmetrics(text.decode())} == {
            name.removesuffix("_total") for name in plain
        }
        assert b"_created" not in text


async def test_every_metric_is_documented(tmp_path: Path) -> None:
    page = (DOCS / "metrics.md").read_text()
    async with web(tmp_path) as it:
        it.rig.hub.publish(events.BackupMade(0.0, "b", "/b", 1, 1.0))
        _, text, _ = await it.call("GET", "/metrics")
        for family in text_format(text.decode()):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert f"| `{name}` | {family.type} | " in page
    shown = (*DECLARED, *(of_reading(reading) for reading in READINGS if not reading.total))
    assert len({each.name for each in shown}) == len(shown)
    for each in shown:
        assert f"| `{each.name}` | {each.kind} | " in page


async def test_without_the_advanced_part_the_readings_and_tasks_are_left(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        base = it.base
        object.__setattr__(base.settings, "enable_advanced_metrics", False)
        async with opened_numbers(base, it.transfers) as numbers:
            await it.until(await it.submit())
            found = series((await numbers.page.render(OPENMETRICS))[0])
        assert value(found, "mltb_tasks", state="done", engine="scripted") == 1
        assert value(found, "mltb_tasks_running") == 0
        assert not any(name.startswith("mltb_stage") for name, _ in found)


def test_operations_of_graphql_are_counted_by_type_and_outcome() -> None:
    it = Counted()
    name = "mltb_graphql_operations_total"
    assert it.value(name, type="mutation", outcome="error") == 0
    it.say(
        events.OperationExecuted(0.0, "query", "ok", 0.25),
        events.OperationExecuted(0.0, "query", "ok", 0.5),
        events.OperationExecuted(0.0, "mutation", "error", 0.1),
        events.OperationExecuted(0.0, "a name that a user chose", "or this", 0.1),
    )
    assert it.value(name, type="query", outcome="ok") == 2
    assert it.value(name, type="mutation", outcome="error") == 1
    assert it.value(name, type="other", outcome="other") == 1
    assert it.value("mltb_graphql_duration_seconds_sum", type="query") == 0.75


def test_alerts_and_backups_are_counted() -> None:
    it = Counted()
    assert it.value("mltb_alerts_total", severity="critical") == 0
    assert it.value("mltb_backups_total", outcome="failed") == 0
    it.say(
        events.AlertRaised(0.0, "a1", "disk", "critical", "full"),
        events.BackupMade(0.0, "b", "/b", 4096, 2.5),
        events.BackupFailed(0.0, "no_space", "full"),
    )
    assert it.value("mltb_alerts_total", severity="critical") == 1
    assert it.value("mltb_backups_total", outcome="ok") == 1
    assert it.value("mltb_backups_total", outcome="failed") == 1
    assert it.value("mltb_backup_size_bytes") == 4096
    assert it.value("mltb_backup_duration_seconds_sum") == 2.5


def test_what_is_not_in_a_list_is_other() -> None:
    it = Counted()
    it.say(
        events.StageFinished(0.0, "t", "u", "fetch", 1.0, 1, StageKind.FETCH, "no such engine"),
        events.StageFailed(0.0, "t", "u", "x", "no_such_code", "", 1, None, StageKind.STEP, "zip"),
        events.TaskMoved(0.0, "t", "u", TaskState.RUNNING, TaskState.DONE, "no such engine"),
        events.TaskRemoved(0.0, "t", "u"),
    )
    assert it.value("mltb_stage_duration_seconds_count", stage="fetch", worker="other") == 1
    assert it.value("mltb_stage_failures_total", stage="step", code="other") == 1
    assert it.value("mltb_tasks_finished_total", state="done", engine="other") == 1


def test_every_code_of_a_failed_transfer_has_its_label() -> None:
    it = Counted()
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.TransferError):
            assert it.value("mltb_stage_failures_total", stage="seed", code=kind.code) == 0


async def test_the_tasks_are_not_counted_again_at_every_look(tmp_path: Path) -> None:
    async with rig(tmp_path) as it, opened_numbers(it.base, it.transfers) as numbers:
        await asyncio.gather(*(numbers.page.render("") for _ in range(3)))
        await it.until(await it.submit())
        text, _ = await numbers.page.render("")
        # The clock of the rig stands still, so counting took no time and is cheap.
        assert b'mltb_tasks{engine="scripted",state="done"} 1.0' in text

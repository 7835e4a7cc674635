"""The profiler of a running service, over REST and the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from bot.app.profiling import build_profiler
from bot.config import load
from bot.domain.profiling import UNPROFILED
from bot.domain.task import TaskState
from bot.errors import NetworkFailed
from bot.operations.sampling import Sampler
from bot.services import OWNER, Profiling
from bot.services.profiling import ProfilerStats
from bot.web import schemas_profiler as schemas
from tests.rig import ManualClock, Script
from tests.serving import Service
from tests.test_rest import Web, web


async def _stats(it: Web, operation: str = "") -> dict[str, Any]:
    query = f"?operation={operation}" if operation else ""
    status, body, _ = await it.call("GET", f"/api/v3/profiler/stats{query}", scope="view")
    assert status == 200
    schemas.ProfilerStatsOut.model_validate(body)
    return {item["operation"]: item for item in body["items"]}


async def test_a_task_leaves_its_stages_plan_queries_requests_and_cache_calls(
    tmp_path: Path,
) -> None:
    async with web(tmp_path) as it:
        _, task, _ = await it.call("POST", "/api/v3/tasks", {"source": "test:a"})
        await it.rig.until(task["id"])
        await it.call("GET", f"/api/v3/tasks/{task['id']}")
        await it.call("GET", "/invented/path")
        found = await _stats(it)
        for name in ("stage.fetch", "stage.deliver", "stage.verify", "plan.scripted"):
            assert found[name]["count"] == 1, name
        assert found["store.insert.tasks"]["count"] == 1
        assert found["store.save"]["count"] >= 2
        assert found["store.read"]["count"] >= 1
        assert found["http.POST /api/v3/tasks"]["count"] == 1
        assert found["http.GET /api/v3/tasks/{task_id}"]["count"] == 1
        assert found["http.unknown"]["count"] == 1
        assert not [name for name in found if task["id"] in name or "invented" in name]
        await it.rig.cache.get("nothing")
        assert (await _stats(it))["cache.get"]["count"] >= 1
        assert set(await _stats(it, "stage")) == {"stage.fetch", "stage.deliver", "stage.verify"}


async def test_a_failed_stage_counts_as_an_error(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        it.rig.source.scripts["a"] = Script(errors=[NetworkFailed("no route")])
        task = await it.rig.submit()
        await it.rig.until(task, TaskState.RETRYING)
        fetch = (await _stats(it))["stage.fetch"]
        assert (fetch["count"], fetch["errors"]) == (1, 1)


async def test_slow_runs_are_for_admins(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        for seconds in (0.5, 3.0, 2.0):
            it.rig.profiler.record("query.tasks", seconds, task="t1")
        for path in ("slow-operations", "slow-ops"):
            at = f"/api/v3/profiler/{path}"
            status, body, _ = await it.call("GET", f"{at}?threshold=1.0&limit=10")
            assert status == 200
            schemas.SlowRunsOut.model_validate(body)
            assert [(run["operation"], run["seconds"]) for run in body["items"]] == [
                ("query.tasks", 3.0),
                ("query.tasks", 2.0),
            ]
            assert body["items"][0]["detail"] == {"task": "t1"}
            assert len((await it.call("GET", f"{at}?threshold=0.4&limit=1"))[1]["items"]) == 1
            assert (await it.call("GET", at))[1] == body
            assert (await it.call("GET", at, scope="operate"))[0] == 403
            assert (await it.call("GET", f"{at}?threshold=-1"))[0] == 422


async def test_a_reset_begins_anew(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        it.rig.profiler.record("query.tasks", 3.0)
        at = "/api/v3/profiler/stats"
        assert (await it.call("DELETE", at, scope="operate"))[0] == 403
        assert "query.tasks" in await _stats(it)
        assert (await it.call("DELETE", at))[:2] == (200, {"status": "ok"})
        assert "query.tasks" not in await _stats(it)


async def test_a_profile_sees_the_loop_while_it_serves_others(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        at = "/api/v3/profiler/profile"
        wanted = {"seconds": 30, "format": "text"}
        assert (await it.call("POST", at, wanted, scope="operate"))[0] == 403
        taken = asyncio.ensure_future(it.call("POST", at, wanted))
        # The profile waits by the clock of the rig, so it lasts until the test says so.
        while sys.getprofile() is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        assert (await it.call("POST", at, wanted))[0] == 409
        for _ in range(20):
            assert (await it.call("GET", "/api/v3/tasks"))[0] == 200
        it.rig.clock.advance(30)
        status, body, _ = await taken
        assert status == 200
        schemas.ProfileOut.model_validate(body)
        assert body["samples"] > 0
        assert "authenticate" in body["content"] or "page" in body["content"], body["content"]
        assert (await it.call("POST", at, {"seconds": 61}))[0] == 422
        assert (await it.call("POST", at, {"format": "x"}))[0] == 422


async def test_other_formats_of_a_profile(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        for kind in ("html", "speedscope"):
            body = {"seconds": 0.2, "format": kind}
            taken = asyncio.ensure_future(it.call("POST", "/api/v3/profiler/profile", body))
            while not taken.done():
                await it.call("GET", "/api/v3/tasks")
                it.rig.clock.advance(0.1)
            content = (await taken)[1]["content"]
            if kind == "html":
                assert content.lstrip().startswith("<!DOCTYPE html>")
            else:
                assert json.loads(content)["$schema"].endswith("file-format-schema.json")


def test_the_commands(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.client.get("/tasks")
        rows = service.run("profiler", "--operation", "http", "--json").lines
        assert "http.GET /api/v3/tasks" in {row["operation"] for row in rows}
        slow = service.run("profiler", "--slow", "--threshold", "0", "--json").lines
        assert any(run["detail"].get("query", "").startswith("SELECT") for run in slow)
        done = service.run("profile", "--seconds", "0.1")
        assert (done.status, "Samples" in done.out) == (0, True), done


async def test_a_profiler_that_is_off_has_no_figures(tmp_path: Path) -> None:
    settings = load({"ENABLE_PROFILER": "false"}, tmp_path).settings
    clock = ManualClock()
    assert build_profiler(settings, clock) is UNPROFILED
    off = Profiling(None, Sampler(clock))
    assert off.stats(OWNER) == ProfilerStats(False, None, 0, [], [])
    assert off.slowest(OWNER, 0) == []
    off.reset(OWNER)

"""Kept answers: as long as they are true, for one role, and never too many."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from bot.domain import events
from bot.domain.task import TaskState
from bot.errors import NetworkFailed
from bot.graphql import freshness
from bot.graphql.documents import Document, Operation
from bot.graphql.hot import HotQueries, Kept
from bot.graphql.schema import core
from bot.operations.metrics_pulled import Page
from bot.services import OWNER, Caller, Scope
from tests.asking import Asking, asking
from tests.rig import Script

#: Kept as long as nothing happens: the time of a change is not asked for.
TASKS = "{ tasks { nodes { id state priority name note } } }"
COUNTS = "{ taskCounts { state count } }"
RECEIPTS = "{ receipts { taskId path } }"
RULES = "{ alertRules { name } }"


async def twice(it: Asking, query: str) -> None:
    """A query that is asked twice is executed once."""
    await it.data(query)
    before = it.made
    await it.data(query)
    assert it.made == before, query


async def test_an_answer_is_kept_and_is_the_same_bytes(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await it.rig.until(await it.rig.submit())
        answers = {(await it.ask(TASKS)).body for _ in range(5)}
        assert len(answers) == 1
        assert it.made == 1
        assert json.loads(answers.pop())["data"]["tasks"]["nodes"][0]["state"] == "DONE"


async def test_every_root_field_says_how_long_it_is_good() -> None:
    schema = core()
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    named = {name for kind, name in freshness.FIELDS if kind == "Query"}
    assert set(schema.query_type.fields) == named - {"__schema", "__type", "__typename"}
    assert set(schema.mutation_type.fields) == set(freshness.CHANGES)
    for kind, name in freshness.FIELDS:
        found = schema.get_type(kind)
        assert name.startswith("__") or name in found.fields, (kind, name)  # type: ignore[union-attr]
    assert set().union(*freshness.CHANGES.values()) <= freshness.TAGS


async def task(it: Asking, *states: TaskState) -> str:
    found = await it.rig.submit()
    await it.rig.until(found, *states)
    return found.id


async def test_what_changes_a_task_by_graphql_is_seen_at_once(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        it.rig.source.scripts["a"] = Script(gate=asyncio.Event())
        it.rig.source.scripts["b"] = Script(errors=[NetworkFailed("no")] * 3)

        async def state(of: str) -> tuple[str, int]:
            nodes = (await it.data(TASKS))["tasks"]["nodes"]
            return next((n["state"], n["priority"]) for n in nodes if n["id"] == of)

        assert (await it.data(TASKS))["tasks"]["nodes"] == []
        submit = "mutation($of: [SubmissionInput!]!) { submitTasks(input: $of) "
        submit += "{ ... on SubmitTasksPayload { items { task { id } } } } }"
        found = await it.data(submit, of=[{"source": "test:a"}])
        one = found["submitTasks"]["items"][0]["task"]["id"]
        await it.rig.until(one, TaskState.RUNNING)
        assert (await state(one))[0] == "RUNNING"

        async def change(name: str, more: str = "") -> None:
            asked = f'mutation {{ {name}(id: "{one}"{more}) {{ __typename }} }}'
            assert (await it.data(asked))[name]["__typename"] == "Task"

        await change("pauseTask")
        assert (await state(one))[0] == "PAUSED"
        await change("setPriority", ", priority: 7")
        assert await state(one) == ("PAUSED", 7)
        await change("resumeTask")
        assert (await state(one))[0] != "PAUSED"
        await change("cancelTask")
        assert (await state(one))[0] == "CANCELLED"
        two = (await it.rig.submit("b")).id
        for _ in range(3):
            it.clock.advance(100)
            await asyncio.sleep(0)
        await it.rig.until(two, TaskState.RETRYING, TaskState.FAILED)


async def test_what_changes_a_task_by_rest_is_seen_at_once(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        it.rig.source.scripts["a"] = Script(gate=asyncio.Event())
        assert (await it.data(TASKS))["tasks"]["nodes"] == []
        one = (await it.rest("POST", "/tasks", {"source": "test:a"}))["id"]

        async def node() -> dict[str, object]:
            found: dict[str, object] = (await it.data(TASKS))["tasks"]["nodes"][0]
            return found

        await it.rig.until(one, TaskState.RUNNING)
        assert (await node())["state"] == "RUNNING"
        await it.rest("POST", f"/tasks/{one}/pause")
        assert (await node())["state"] == "PAUSED"
        # There is no event of this one.
        await it.rest("PATCH", f"/tasks/{one}", {"priority": 9})
        assert (await node())["priority"] == 9
        await it.rest("POST", f"/tasks/{one}/cancel")
        assert (await node())["state"] == "CANCELLED"
        await it.rest("DELETE", f"/tasks/{one}")
        assert (await it.data(TASKS))["tasks"]["nodes"] == []


async def test_what_a_task_does_by_itself_is_seen_at_once(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        gate = asyncio.Event()
        it.rig.source.scripts["a"] = Script(gate=gate)
        one = await task(it, TaskState.RUNNING)
        single = f'{{ task(id: "{one}") {{ state path }} }}'
        for query in (TASKS, COUNTS, RECEIPTS, single):
            await twice(it, query)
        gate.set()
        await it.rig.until(one)
        assert (await it.data(TASKS))["tasks"]["nodes"][0]["state"] == "DONE"
        assert {"state": "DONE", "count": 1} in (await it.data(COUNTS))["taskCounts"]
        assert [each["taskId"] for each in (await it.data(RECEIPTS))["receipts"]] == [one]
        assert (await it.data(single))["task"]["path"] == str(it.rig.root / "file.bin")


async def test_tasks_that_are_forgotten_are_gone_at_once(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await task(it)
        assert len((await it.data(TASKS))["tasks"]["nodes"]) == 1
        it.rig.transfers.janitor._keep = 0
        await it.rig.transfers.janitor.prune()
        assert (await it.data(TASKS))["tasks"]["nodes"] == []


async def test_what_nobody_is_told_of_lives_a_second(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await task(it)
        for fields in ("version", "updatedAt", "progress { done }", "stages { seconds }"):
            query = f"{{ tasks {{ nodes {{ {fields} }} }} }}"
            await twice(it, query)
            before = it.made
            it.clock.advance(1.1)
            await it.data(query)
            assert it.made == before + 1, query


ALERTS = "{ alerts { id state note count } alertSummary { firing { title } } }"


async def test_alerts_are_seen_as_they_are(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        assert (await it.data(ALERTS))["alerts"] == []
        trigger = 'mutation { triggerAlert(input: {title: "Fire"}) { ... on Alert { id } } }'
        one = (await it.data(trigger))["triggerAlert"]["id"]
        assert (await it.data(ALERTS))["alertSummary"] == {"firing": [{"title": "Fire"}]}
        await it.data(
            f'mutation {{ acknowledgeAlert(id: "{one}", note: "I go") {{ __typename }} }}'
        )
        assert (await it.data(ALERTS))["alerts"][0]["note"] == "I go"
        await it.rest("POST", f"/alerts/{one}/resolve", {"note": "out"})
        assert (await it.data(ALERTS))["alerts"][0] == {
            "id": one,
            "state": "RESOLVED",
            "note": "out",
            "count": 1,
        }
        await it.rest("POST", "/alerts/trigger", {"title": "Flood"})
        assert (await it.data(ALERTS))["alertSummary"] == {"firing": [{"title": "Flood"}]}


async def test_silences_are_never_kept(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        query = "{ silences { reason } }"
        assert (await it.data(query))["silences"] == []
        await it.data(
            'mutation { silenceAlert(input: {rule: "disk_low", seconds: 60, reason: "quiet"})'
            " { __typename } }"
        )
        assert (await it.data(query))["silences"] == [{"reason": "quiet"}]
        it.clock.advance(61)
        assert (await it.data(query))["silences"] == []


async def test_backups_are_seen_as_they_are(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        with (
            closing(sqlite3.connect(tmp_path / "rig.db")) as mine,
            closing(sqlite3.connect(tmp_path / "data" / "mltb.db")) as there,
        ):
            mine.backup(there)
        query = "{ backups { name state } backupStats { count } }"
        assert (await it.data(query))["backups"] == []
        made = await it.data("mutation { createBackup { ... on Backup { name } } }")
        name = made["createBackup"]["name"]
        found = await it.data(query)
        assert [each["name"] for each in found["backups"]] == [name]
        assert found["backupStats"]["count"] == 1
        it.clock.advance(1)
        await it.data("mutation { createBackup { __typename } }")
        assert len((await it.data(query))["backups"]) == 2
        await it.rest("DELETE", f"/backups/{name}")  # of which there is no event
        assert name not in [each["name"] for each in (await it.data(query))["backups"]]


async def test_checks_and_tokens_are_seen_as_they_are(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await task(it)
        query = (
            "{ checks { state } recoveryStatus { lastCheck { state } } users { tokens { name } } }"
        )
        assert (await it.data(query))["checks"] == []
        done = await it.data(
            "mutation { verifyIntegrity(input: {all: true}, wait: 10)"
            " { __typename ... on Problem { message } } }"
        )
        assert (await it.data(query))["checks"] == [{"state": "DONE"}], done
        await it.rest("POST", "/tokens", {"name": "new", "scope": "view"})
        users = (await it.data(query))["users"]
        assert "new" in [token["name"] for user in users for token in user["tokens"]]


@pytest.mark.parametrize("kind", sorted({t for tags in freshness.CHANGES.values() for t in tags}))
async def test_each_tag_is_dropped_by_an_event_a_mutation_and_rest(
    kind: str, tmp_path: Path
) -> None:
    told = kind == "profiler" or any(kind in tags for _, tags in freshness._OF_EVENTS)
    assert told, "no event"
    assert any(kind in tags for tags in freshness.CHANGES.values())


async def test_no_caller_has_the_answer_of_another_one(tmp_path: Path) -> None:
    async with asking(tmp_path, GRAPHQL_SECURITY__REQUIRE_AUTHENTICATION="false") as it:
        ann, bob = await it.token("ann", Scope.OPERATE), await it.token("bob", Scope.OPERATE)
        viewer = await it.token("ann", Scope.VIEW)
        query = "{ viewer { user scope } tasks { nodes { user } } taskCounts { state count } }"
        mine = 'mutation { submitTasks(input: [{source: "test:a"}]) { __typename } }'
        await it.data(mine, token=ann)
        await it.rig.until(await it.rig.submit("b"))
        seen = {}
        for _ in range(2):
            for name, token in {"ann": ann, "bob": bob, "viewer": viewer, "admin": None}.items():
                seen[name] = await it.data(query, token=token)
            seen["nobody"] = await it.data(query, token="")
        users = {
            name: sorted(node["user"] for node in found["tasks"]["nodes"])
            for name, found in seen.items()
        }
        assert users == {
            "ann": ["ann"],
            "viewer": ["ann"],
            "bob": [],
            "admin": ["admin", "ann"],
            "nobody": [],
        }
        assert [seen[name]["viewer"] for name in ("ann", "viewer", "nobody")] == [
            {"user": "ann", "scope": "OPERATE"},
            {"user": "ann", "scope": "VIEW"},
            {"user": "anonymous", "scope": "VIEW"},
        ]
        # What an admin may see and others not is refused for each of them, kept or not.
        assert "errors" not in (await it.ask(RECEIPTS)).json
        for token in (ann, viewer, ""):
            assert (await it.ask(RECEIPTS, token=token)).json["data"] is None


async def test_a_token_that_is_revoked_has_no_kept_answer(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        secret, token = await it.services.tokens.create("gone", Scope.VIEW, user="gone")
        for _ in range(3):
            await it.data(RULES, token=secret)
        await it.services.tokens.revoke(token.id)
        assert (await it.ask(RULES, token=secret)).status == 401
        secret, _ = await it.services.tokens.create("short", Scope.VIEW, lifetime=3)
        for _ in range(3):
            await it.data(RULES, token=secret)
        it.clock.advance(4)
        assert (await it.ask(RULES, token=secret)).status == 401


async def test_other_variables_and_operations_are_other_questions(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        one = await task(it)
        query = "query($id: ID!) { task(id: $id) { id } }"
        assert (await it.data(query, id=one))["task"] == {"id": one}
        assert (await it.data(query, id="other"))["task"] is None
        both = "query A { viewer { user } } query B { viewer { scope } }"
        for name, field in (("A", "user"), ("B", "scope")) * 2:
            body = {"query": both, "operationName": name}
            found = (await it.call("POST", "/graphql", body)).json["data"]["viewer"]
            assert list(found) == [field]


async def test_ttl_is_the_shortest_of_its_fields(tmp_path: Path) -> None:
    async with asking(tmp_path, QUERY_CACHE_TTL="100", INDEX_HOT_QUERIES="false") as it:
        await twice(it, RULES)
        before = it.made
        it.clock.advance(99)
        await it.data(RULES)
        assert it.made == before
        both = "{ alertRules { name } systemStatus { version } }"
        await twice(it, both)
        before = it.made
        it.clock.advance(1.1)
        await it.data(both)
        assert it.made == before + 1


async def test_a_full_cache_stays_under_its_size(tmp_path: Path) -> None:
    async with asking(tmp_path, QUERY_CACHE_SIZE="1") as it:
        stats = "{ cacheStats { bytes maxBytes evictions entries } }"
        for number in range(110):  # about 12 KB each
            aliases = " ".join(f"a{number}x{n}: title" for n in range(25))
            await it.data(f"{{ alertRules {{ name title reading {aliases} }} }}")
        found = (await it.data(stats))["cacheStats"]
        assert found["maxBytes"] == 1024 * 1024
        assert 900_000 < found["bytes"] <= found["maxBytes"]
        assert found["evictions"] > 0
        assert found["entries"] < 110


async def test_who_asks_at_once_is_answered_by_one_execution(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await it.data("{ viewer { user } }")
        before = it.made
        found = await asyncio.gather(*(it.ask(COUNTS) for _ in range(50)))
        assert len({each.body for each in found}) == 1
        assert it.made == before + 1


async def test_errors_are_not_kept(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        query = '{ alertRules { name } tasks(after: "nonsense") { nodes { id } } }'
        await it.data(RULES)
        before = it.made
        for _ in range(3):
            assert (await it.ask(query)).json["errors"]
        assert it.made == before + 3


async def test_what_is_made_while_it_grows_old_is_not_kept(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await it.data(RULES)
        services, entered, go = it.services.tasks, asyncio.Event(), asyncio.Event()
        count = services.count

        async def slow(caller: object) -> dict[TaskState, int]:
            found = await count(OWNER)
            entered.set()
            await go.wait()
            return found

        services.count = slow  # type: ignore[method-assign]
        asked = asyncio.ensure_future(it.data(COUNTS))
        await entered.wait()
        services.count = count  # type: ignore[method-assign]
        it.rig.source.scripts["a"] = Script(gate=asyncio.Event())
        one = await task(it, TaskState.RUNNING)
        go.set()
        old = await asked
        assert {"state": "RUNNING", "count": 1} not in old["taskCounts"]
        assert {"state": "RUNNING", "count": 1} in (await it.data(COUNTS))["taskCounts"]
        await it.rest("POST", f"/tasks/{one}/cancel")


async def test_an_event_drops_what_is_kept_before_anybody_can_ask(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await twice(it, COUNTS)
        before = it.made
        it.rig.hub.publish(events.TaskRemoved(0.0, "x", "admin"))
        await it.data(COUNTS)
        assert it.made == before + 1
        # What that is not about stays.
        await twice(it, RULES)
        before = it.made
        it.rig.hub.publish(events.TaskRemoved(0.0, "x", "admin"))
        await it.data(RULES)
        assert it.made == before


# What the settings do


async def test_without_query_cache_enabled_each_is_made_anew(tmp_path: Path) -> None:
    async with asking(tmp_path, QUERY_CACHE_ENABLED="false") as it:
        for _ in range(3):
            await it.data(RULES)
        assert it.made == 3
        assert (await it.data("{ cacheStats { enabled hits } }"))["cacheStats"] == {
            "enabled": False,
            "hits": 0,
        }


async def test_without_query_optimization_documents_are_read_each_time(tmp_path: Path) -> None:
    async def read(directory: Path, **settings: str) -> int:
        directory.mkdir()
        async with asking(directory, QUERY_CACHE_ENABLED="false", **settings) as it:
            for _ in range(5):
                await it.data(RULES)
            return it.count("graphql.read")

    assert await read(tmp_path / "on") == 1
    assert await read(tmp_path / "off", ENABLE_QUERY_OPTIMIZATION="false") == 5


async def until_made(it: Asking, count: int) -> None:
    async with asyncio.timeout(20):
        while it.made < count:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def seconds(it: Asking, count: int) -> None:
    """Let time pass; what is renewed meanwhile is renewed."""
    for _ in range(count):
        it.clock.advance(1)
        for _ in range(20):
            await asyncio.sleep(0)


async def test_hot_queries_are_renewed_before_they_expire(tmp_path: Path) -> None:
    async with asking(tmp_path, QUERY_CACHE_TTL="100") as it:
        for _ in range(5):
            await it.data(RULES)
        await it.data("{ viewer { user } }")  # asked once: not hot
        assert it.made == 2
        await seconds(it, 89)
        assert it.made == 2
        await seconds(it, 3)
        await until_made(it, 3)
        await seconds(it, 10)
        await it.data(RULES)  # 102 s old, were it the first one
        assert it.made == 3
        # Nobody asks any more, but for that once: it is let go.
        await seconds(it, 200)
        assert it.made == 3


async def test_without_index_hot_queries_they_expire(tmp_path: Path) -> None:
    async with asking(tmp_path, QUERY_CACHE_TTL="100", INDEX_HOT_QUERIES="false") as it:
        for _ in range(5):
            await it.data(RULES)
        await seconds(it, 102)
        assert it.made == 1
        await it.data(RULES)
        assert it.made == 2


async def test_hot_queries_are_told_to_admins(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        for _ in range(4):
            await it.data(RULES)
        query = "{ hotQueries(limit: 1) { document count hits mean lastAt } }"
        found = (await it.data(query))["hotQueries"][0]
        assert (found["document"], found["count"], found["hits"]) == (RULES, 4, 3)
        token = await it.token("bob", Scope.OPERATE)
        assert (await it.ask(query, token=token)).json["errors"][0]["extensions"]["code"] == (
            "forbidden"
        )


async def metrics(it: Asking) -> dict[str, float]:
    page = it.services.metrics._page
    assert isinstance(page, Page)
    return {
        "".join([sample.name, *sample.labels.values()]): sample.value
        for family in await page.collect()
        for sample in family.samples
        if "query_cache" in sample.name
    }


async def test_the_cache_is_in_the_metrics_and_in_the_readings(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        names = "mltb_query_cache_"
        assert await metrics(it) == {  # before the first request, when nothing is loaded yet
            f"{names}requests_totalhit": 0,
            f"{names}requests_totalmiss": 0,
            f"{names}evictions_total": 0,
            f"{names}bytes": 0,
            f"{names}entries": 0,
        }
        for _ in range(4):
            await it.data(RULES)
        found = await metrics(it)
        assert found[f"{names}requests_totalhit"] == 3
        assert found[f"{names}requests_totalmiss"] == 1
        assert found[f"{names}entries"] == 1
        assert found[f"{names}bytes"] > 100
        current = "{ currentMetrics { name value } }"
        values = {
            each["name"]: each["value"] for each in (await it.data(current))["currentMetrics"]
        }
        assert 0.5 < values["query_cache_hit_ratio"] < 1


async def test_an_admin_makes_it_forget(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await twice(it, RULES)
        await twice(it, COUNTS)
        before = it.made
        await it.data('mutation { invalidateCache(tags: ["tasks"]) { __typename } }')
        await it.data(RULES)
        assert it.made == before
        await it.data(COUNTS)
        assert it.made == before + 1
        await it.data("mutation { invalidateCache { __typename } }")
        await it.data(RULES)
        assert it.made == before + 2
        wrong = 'mutation { invalidateCache(tags: ["x"]) { ... on Problem { code } } }'
        assert (await it.data(wrong))["invalidateCache"] == {"code": "not_found"}
        token = await it.token("bob", Scope.OPERATE)
        asked = "mutation { invalidateCache { ... on Problem { code } } }"
        assert (await it.data(asked, token=token))["invalidateCache"] == {"code": "forbidden"}


def test_questions_with_large_variables_are_not_remembered_to_be_asked_again() -> None:
    def due(size: int) -> int:
        hot = HotQueries()
        document, operation = cast("Document", None), cast("Operation", None)
        caller = Caller("ann", Scope.VIEW)
        kept = Kept(document, operation, {"text": "x" * size}, caller, 100.0, 0.0)
        hot.keep("key", kept)
        hot.hit("key")
        hot.hit("key")
        return len(hot.due(95.0))

    assert (due(10), due(100_000)) == (1, 0)

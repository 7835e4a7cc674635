"""No answer takes more queries of the database because there is more in it; and what was slow."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bot.domain.integrity import Check, CheckScope, CheckState, Condition, Finding, Order
from bot.services import OWNER, Scope, Submission
from bot.store.recovery import RecoveryStore
from tests.asking import Asking, asking

#: Each with all that hangs below it.
SHAPES = {
    "tasks": "{ tasks(first: 500) { nodes { id state progress { done } error { code } receipt"
    " { files { path } } stages { name } steps { name } path } pageInfo { endCursor } } }",
    "edges": "{ tasks(first: 500) { edges { cursor node { id receipt { path } } } } }",
    "receipts": "{ receipts(first: 500) { taskId files { path } stages } }",
    "checks": "{ checks(first: 500) { id findings { number } } }",
    "findings": "{ checks(first: 500) { id findings { number task { id state path } } } }",
    "counts": "{ taskCounts { count } }",
    "users": "{ users { name tokens { name } } }",
}


async def fill(it: Asking, count: int) -> None:
    """So many tasks that are done, checks with findings about each, and users."""
    wanted = [Submission(f"test:{count}x{n}", str(it.rig.root)) for n in range(count)]
    found = await it.services.tasks.submit_many(OWNER, wanted)
    ids = [each.task.id for each in found if each.task is not None]
    await asyncio.gather(*(it.rig.until(each) for each in ids))
    store = RecoveryStore(it.rig.store.database)
    for number, each in enumerate(ids):
        check = Check(f"{count}-{number:03}", "admin", Order(CheckScope.ALL), 1.0)
        check.state, check.finished_at = CheckState.DONE, 2.0
        await store.add_check(check)
        await store.save_check(
            check, [Finding(n, Condition.MISSING, f"/{n}", each) for n in range(1, 4)]
        )
        await it.services.tokens.create("test", Scope.VIEW, user=f"user{count}-{number}")


async def reads(it: Asking, query: str) -> tuple[int, int]:
    """How many statements a query takes, and how long its answer is."""
    before = it.count("store.read")
    found = await it.ask(query)
    assert "errors" not in found.json, found.body
    return it.count("store.read") - before, len(found.body)


async def test_the_number_of_statements_does_not_depend_on_that_of_rows(tmp_path: Path) -> None:
    settings = {"QUERY_CACHE_ENABLED": "false", "GRAPHQL_SECURITY__MAX_COST": "10000000"}
    async with asking(tmp_path, **settings) as it:
        await it.data("{ viewer { user } }")
        await fill(it, 1)
        few = {name: await reads(it, query) for name, query in SHAPES.items()}
        await fill(it, 60)
        many = {name: await reads(it, query) for name, query in SHAPES.items()}
        for name in SHAPES:
            assert many[name][0] == few[name][0], name
            assert name == "counts" or many[name][1] > 5 * few[name][1], name
        assert few["findings"][0] == 3  # checks, findings, tasks
        assert few["checks"][0] == 2


async def test_findings_are_those_of_their_check_and_page(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await it.data("{ viewer { user } }")
        await fill(it, 2)
        query = (
            "{ checks { id a: findings(first: 2) { number path } b: findings(after: 2)"
            " { number task { source } } } }"
        )
        found = (await it.data(query))["checks"]
        assert [each["id"] for each in found] == ["2-001", "2-000"]
        for each in found:
            assert each["a"] == [{"number": 1, "path": "/1"}, {"number": 2, "path": "/2"}]
            assert [finding["number"] for finding in each["b"]] == [3]
        sources = [each["b"][0]["task"]["source"] for each in found]
        assert sources == ["test:2x1", "test:2x0"]
        # Those of somebody else are not found by asking for them.
        ann = await it.services.tokens.authenticate(await it.token("ann", Scope.OPERATE))
        of = it.services.recovery.findings_of
        assert await of(ann, ["2-000"], after=0, limit=5) == {"2-000": []}
        assert len((await of(OWNER, ["2-000"], after=0, limit=5))["2-000"]) == 3


# What was slow


async def test_slow_operations_show_the_document_that_hurt(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        document = "query Hurts { taskCounts { count } }"
        await it.data(document)
        query = "{ slowOperations(limit: 500, threshold: 0) { operation failed detail } }"
        found = (await it.data(query))["slowOperations"]
        (mine,) = [each for each in found if each["operation"] == "graphql.query"]
        assert mine["failed"] is False
        assert mine["detail"]["operation"] == "Hurts"
        assert mine["detail"]["document"] == document
        prints = {each["detail"].get("fingerprint") for each in found}
        (field,) = [each for each in found if each["operation"] == "graphql.field.Query.taskCounts"]
        assert field["detail"]["fingerprint"] == mine["detail"]["fingerprint"]
        assert len(mine["detail"]["fingerprint"]) == 64
        assert len(prints) > 1


async def test_root_fields_are_timed_and_those_that_fail_are_counted(tmp_path: Path) -> None:
    async with asking(tmp_path) as it:
        await it.ask('{ viewer { user } tasks(first: 5, after: "nonsense") { nodes { id } } }')
        await it.data('mutation { triggerAlert(input: {title: "x"}) { __typename } }')
        stats = '{ operationStats(operation: "graphql") { operation count errors } }'
        found = {
            each["operation"]: (each["count"], each["errors"])
            for each in (await it.data(stats))["operationStats"]
        }
        assert found["graphql.field.Query.viewer"] == (1, 0)
        assert found["graphql.field.Query.tasks"] == (1, 1)
        assert found["graphql.field.Mutation.triggerAlert"] == (1, 0)
        assert found["graphql.query"] == (1, 1)
        assert found["graphql.mutation"] == (1, 0)


async def test_executed_operations_are_counted_in_the_metrics(tmp_path: Path) -> None:
    async with asking(tmp_path, GRAPHQL_SECURITY__MAX_COST="300") as it:
        await it.data("{ taskCounts { count } }")
        await it.data("{ taskCounts { count } }")  # kept
        await it.ask('{ task(id: "x") { id } tasks(first: 5, after: "nonsense") { nodes { id } } }')
        await it.ask("{ tasks(first: 500) { nodes { id } } }")  # too costly
        text, _ = await it.services.metrics.page(OWNER, "")
        for outcome, count in (("ok", 1), ("error", 1), ("refused", 1)):
            line = f'mltb_graphql_operations_total{{outcome="{outcome}",type="query"}} {count}.0'
            assert line in text.decode(), line


async def test_a_loader_fetches_each_task_once(tmp_path: Path) -> None:
    async with asking(tmp_path, QUERY_CACHE_ENABLED="false") as it:
        found = await it.rig.until(await it.rig.submit())
        asked = " ".join(f'a{n}: task(id: "{found.id}") {{ state }}' for n in range(20))
        before = it.count("store.read")
        data = await it.data(f"{{ {asked} }}")
        assert {each["state"] for each in data.values()} == {"DONE"}
        assert it.count("store.read") - before <= 2  # the token, and the task

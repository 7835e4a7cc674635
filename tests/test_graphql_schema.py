"""The schema: what it says of itself, what it can do, and how it is embedded."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi import FastAPI
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    is_introspection_type,
    is_specified_scalar_type,
    is_union_type,
)
from starlette.types import ASGIApp, Message

from bot import errors
from bot.app.service import running
from bot.cli import main
from bot.config import load
from bot.config_graphql import GraphqlSecurity
from bot.core import graphql_api
from bot.graphql import freshness
from bot.graphql.schema import core
from bot.services import OWNER, Caller, Scope
from tests.graphs import Graph
from tests.serving import Service

_ROOT = Path(__file__).resolve().parents[1]
_VENDOR = _ROOT / "bot/web/static/vendor"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("service")
    with Service(
        place,
        GRAPHQL_SECURITY__RATE_LIMIT_QUERIES="false",
        BACKUP_DIR=str(place / "backups"),
    ) as it:
        yield it


@pytest.fixture(scope="module")
def graph(service: Service) -> Graph:
    return Graph(service)


# What it says of itself


def _own() -> Iterator[Any]:
    for kind in core().type_map.values():
        if not (is_introspection_type(kind) or is_specified_scalar_type(kind)):
            yield kind


def test_everything_is_described() -> None:
    bare = []
    for kind in _own():
        if not (kind.description or is_union_type(kind)):
            bare.append(kind.name)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, field in kind.fields.items():
                if not field.description:
                    bare.append(f"{kind.name}.{name}")
                arguments = getattr(field, "args", {})
                bare += [
                    f"{kind.name}.{name}({of})"
                    for of, it in arguments.items()
                    if not it.description
                ]
    assert bare == []
    assert all(
        value.deprecation_reason != "No longer supported"
        for kind in _own()
        if isinstance(kind, GraphQLEnumType)
        for value in kind.values.values()
    )


def test_every_root_field_says_how_long_it_is_good_or_what_it_changes() -> None:
    schema = core()
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    declared = {name for kind, name in freshness.FIELDS if kind == "Query"}
    assert declared == {*schema.query_type.fields, "__schema", "__type", "__typename"}
    assert set(freshness.CHANGES) == set(schema.mutation_type.fields)
    for kind, name in freshness.FIELDS:
        found = schema.type_map[kind]
        assert isinstance(found, GraphQLObjectType)
        assert name in found.fields or name.startswith("__")
    known = {tag for each in freshness.FIELDS.values() for tag in each.tags}
    assert set().union(*freshness.CHANGES.values()) <= known


#: What REST can do, and where it is here. None: a stream of bytes, or a door of another kind.
_REST: dict[str, str | None] = {
    "POST /api/v3/tasks": "submitTasks",
    "GET /api/v3/tasks": "tasks",
    "POST /api/v3/tasks/batch": "submitTasks",
    "POST /api/v3/plan": "plan",
    "GET /api/v3/tasks/counts": "taskCounts",
    "GET /api/v3/tasks/{task_id}": "task",
    "PATCH /api/v3/tasks/{task_id}": "setPriority",
    "DELETE /api/v3/tasks/{task_id}": "deleteTask",
    "POST /api/v3/tasks/{task_id}/cancel": "cancelTask",
    "POST /api/v3/tasks/{task_id}/pause": "pauseTask",
    "POST /api/v3/tasks/{task_id}/resume": "resumeTask",
    "POST /api/v3/tasks/{task_id}/retry": "retryTask",
    "POST /api/v3/tasks/{task_id}/select": "selectFiles",
    "GET /api/v3/receipts": "receipts",
    "GET /api/v3/tokens": "users",
    "POST /api/v3/tokens": "createToken",
    "DELETE /api/v3/tokens/{token_id}": "revokeToken",
    "GET /api/v3/metrics/current": "currentMetrics",
    "GET /api/v3/metrics/history": "metrics",
    "GET /api/v3/profiler/stats": "operationStats",
    "DELETE /api/v3/profiler/stats": "resetProfiler",
    "GET /api/v3/profiler/slow-ops": "slowOperations",
    "GET /api/v3/profiler/slow-operations": "slowOperations",
    "POST /api/v3/profiler/profile": "takeProfile",
    "GET /api/v3/alerts/recent": "alertPage",
    "GET /api/v3/alerts/summary": "alertSummary",
    "POST /api/v3/alerts/trigger": "triggerAlert",
    "GET /api/v3/alerts/silences": "silences",
    "POST /api/v3/alerts/silences": "silenceAlert",
    "DELETE /api/v3/alerts/silences/{silence_id}": "endSilence",
    "GET /api/v3/alerts/rules": "alertRules",
    "GET /api/v3/alerts/channels": "alertChannels",
    "POST /api/v3/alerts/channels/{name}/test": "testAlertChannel",
    "GET /api/v3/alerts/notifications": "notifications",
    "GET /api/v3/alerts/{alert_id}": "alert",
    "POST /api/v3/alerts/{alert_id}/acknowledge": "acknowledgeAlert",
    "POST /api/v3/alerts/{alert_id}/resolve": "resolveAlert",
    "GET /api/v3/backups/list": "backups",
    "POST /api/v3/backups/create": "createBackup",
    "GET /api/v3/backups/stats": "backupStats",
    "GET /api/v3/backups/restore": "lastRestore",
    "POST /api/v3/backups/restore": "restoreBackup",
    "GET /api/v3/backups/{name}": "backup",
    "DELETE /api/v3/backups/{name}": "deleteBackup",
    "POST /api/v3/backups/{name}/verify": "verifyBackup",
    "GET /api/v3/backups/{name}/download": None,
    "POST /api/v3/recovery/verify-integrity": "verifyIntegrity",
    "GET /api/v3/recovery/checks/{check_id}": "check",
    "GET /api/v3/recovery/checks/{check_id}/findings": "check",
    "POST /api/v3/recovery/checks/{check_id}/cancel": "cancelCheck",
    "POST /api/v3/recovery/refetch": "refetch",
    "GET /api/v3/recovery/status": "recoveryStatus",
    "GET /api/v3/recovery/history": "checks",
    "GET /api/v3/plugins/keys": "pluginKeys",
    "POST /api/v3/plugins/keys/trust": "trustPluginKey",
    "POST /api/v3/plugins/keys/revoke": "revokePluginKey",
    "GET /api/v3/plugins/list": "plugins",
    "POST /api/v3/plugins/execute": "executePlugin",
    "POST /api/v3/plugins/enable": "enablePlugin",
    "POST /api/v3/plugins/disable": "disablePlugin",
    "POST /api/v3/plugins/reload": "reloadPlugin",
    "POST /api/v3/plugins/config": "configurePlugin",
    "GET /api/v3/plugins/{name}": "plugin",
    "GET /api/v3/plugins/{name}/config": "pluginConfig",
    "GET /api/v3/plugins/{name}/logs": "pluginLines",
    "GET /api/v3/logger/stats": "loggerStats",
    "GET /api/v3/logger/recent-logs": "logs",
    "GET /api/v3/logger/follow": "logs",
    "GET /api/v3/system/status": "systemStatus",
    "GET /api/v3/system/settings": "settings",
    "GET /api/v3/system/query-cache": "cacheStats",
    "GET /api/v3/system/hot-queries": "hotQueries",
    "POST /api/v3/system/query-cache/invalidate": "invalidateCache",
    "GET /api/v3/users": "users",
    "POST /api/v3/users": "addUser",
    "GET /api/v3/users/{name}": "users",
    "PATCH /api/v3/users/{name}": "changeUser",
    "DELETE /api/v3/users/{name}": "removeUser",
    "GET /api/v3/audit": "audit",
    "POST /api/v3/tasks/{task_id}/move": "moveTask",
    "POST /api/v3/tasks/bulk": "actOnTasks",
    # Sessions and pages are for browsers, and live metrics have a door of their own.
    "GET /api/v3/session": None,
    "POST /api/v3/session": None,
    "DELETE /api/v3/session": None,
    "POST /api/v3/session/password": None,
    "GET /api/v3/dashboard": None,
    "GET /api/v3/sse/live-metrics": None,
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": None,
}


def test_it_can_do_what_rest_can() -> None:
    paths = json.loads((_ROOT / "docs/openapi.json").read_text())["paths"]
    routes = {f"{method.upper()} {path}" for path, of in paths.items() for method in of}
    assert routes - set(_REST) == set(), "say where GraphQL has it"
    schema = core()
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    fields = {*schema.query_type.fields, *schema.mutation_type.fields}
    assert {name for name in _REST.values() if name} <= fields


# What it does besides: what no other test of it goes through


def test_tokens_are_made_and_ended(graph: Graph) -> None:
    made = graph.data(
        'mutation { createToken(name: "ci", scope: VIEW, user: "bob") '
        "{ ... on CreateTokenPayload { secret token { id scope } } } }"
    )["createToken"]
    other = Graph(graph.service, made["secret"])
    assert other.data("{ viewer { user scope } }") == {"viewer": {"user": "bob", "scope": "VIEW"}}
    ended = graph.data(
        "mutation($id: ID!) { revokeToken(id: $id) { __typename ... on RevokedToken { id } } }",
        id=made["token"]["id"],
    )["revokeToken"]
    assert ended == {"__typename": "RevokedToken", "id": made["token"]["id"]}
    assert other.post("{ viewer { user } }").status == 401
    operator = graph.as_("operate")
    refused = operator.data('mutation { createToken(name: "x", scope: ADMIN) { __typename } }')
    assert refused == {"createToken": {"__typename": "ForbiddenProblem"}}


_NEW = [
    ('deleteTask(id: "none")', "NotFoundProblem"),
    ('endSilence(id: "none")', "NotFoundProblem"),
    ('testAlertChannel(name: "none")', "NotFoundProblem"),
    ('deleteBackup(name: "none")', "InvalidInputProblem"),
    ('deleteBackup(name: "mltb-20260131T235959Z-0f9a3c7e.tar.zst")', "NotFoundProblem"),
    ('cancelCheck(id: "none")', "NotFoundProblem"),
    ('revokeToken(id: "none")', "NotFoundProblem"),
    ('trustPluginKey(key: "none")', "InvalidInputProblem"),
    ('revokePluginKey(key: "none")', "InvalidInputProblem"),
    ('enablePlugin(name: "none", repin: true)', "NotFoundProblem"),
    ('createToken(name: "")', "InvalidInputProblem"),
    ("takeProfile(seconds: 100)", "InvalidInputProblem"),
    ("resetProfiler", "ResetProfilerPayload"),
    ('setPriority(id: "none", priority: 1000)', "InvalidInputProblem"),
    ('restoreBackup(name: "a", confirm: "b")', "InvalidInputProblem"),
    ("submitTasks(input: [])", "InvalidInputProblem"),
    ('submitTasks(input: [{source: "nothing:x"}])', "SubmitTasksPayload"),
    ('silenceAlert(input: {reason: ""})', "InvalidInputProblem"),
    ("verifyIntegrity(input: {})", "InvalidInputProblem"),
    ('invalidateCache(tags: ["nothing"])', "NotFoundProblem"),
]


@pytest.mark.parametrize(("mutation", "kind"), _NEW)
def test_problems_are_part_of_the_answer(graph: Graph, mutation: str, kind: str) -> None:
    problem = "... on Problem { code message hint }"
    found = graph.data(f"mutation {{ it: {mutation} {{ __typename {problem} }} }}")["it"]
    assert found["__typename"] == kind, found
    if kind.endswith("Problem"):
        assert found["code"]
        assert found["message"]


def test_a_conflict_and_a_duplicate_are_problems_with_details(graph: Graph) -> None:
    submit = """mutation { submitTasks(input: [{source: "http://127.0.0.1:9/twice",
        startAt: "2099-01-01T00:00:00Z"}]) { ... on SubmitTasksPayload { items { task { id }
        problem { __typename code ... on ConflictProblem { details } } } } } }"""
    first = graph.data(submit)["submitTasks"]["items"][0]
    again = graph.data(submit)["submitTasks"]["items"][0]
    assert again["problem"]["__typename"] == "ConflictProblem"
    assert again["problem"]["details"]["task"] == first["task"]["id"]
    moved = graph.data(
        "mutation($id: ID!) { retryTask(id: $id) { ... on ConflictProblem { code } } }",
        id=first["task"]["id"],
    )
    assert moved == {"retryTask": {"code": "illegal_move"}}
    gone = """mutation($id: ID!) {
        cancelTask(id: $id) { __typename } deleteTask(id: $id) { __typename } }"""
    found = graph.data(gone, id=first["task"]["id"])
    assert found == {
        "cancelTask": {"__typename": "Task"},
        "deleteTask": {"__typename": "DeletedTask"},
    }
    assert graph.data("query($id: ID!) { task(id: $id) { id } }", id=first["task"]["id"]) == {
        "task": None
    }


def test_what_only_queries_can_tell_of_plugins_and_channels(graph: Graph) -> None:
    found = graph.data(
        '{ plugin(name: "none") { id } plugins { id signature reloadError } pluginKeys { key } '
        "notifications { id state } checks { id findings { path } } "
        'backup(name: "mltb-20260131T235959Z-0f9a3c7e.tar.zst") { name } }'
    )
    assert (found["plugin"], found["pluginKeys"], found["backup"]) == (None, [], None)
    assert graph.codes('{ pluginConfig(name: "none") { config } }') == ["not_found"]
    assert graph.codes('{ pluginLines(name: "none") }') == ["not_found"]
    for query in ("{ pluginKeys { key } }", "{ notifications { id } }"):
        assert graph.as_("operate").codes(query) == ["forbidden"]


def test_times_beyond_the_calendar_are_a_wrong_value(graph: Graph) -> None:
    for query in (
        '{ tasks(since: "0001-01-01T00:00:00") { nodes { id } } }',
        '{ metrics(names: ["uptime_seconds"], since: "0001-01-01T00:00:00") { size } }',
    ):
        assert not set(graph.codes(query)) - {"invalid_input"}


# Embedding


def test_the_interface_for_code_beside_it_is_what_the_guide_names() -> None:
    assert graphql_api.__all__ == ["execute", "graphql_app", "schema"]
    assert type(graphql_api.schema).__name__ == "Schema"


async def _asked(app: ASGIApp, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """The answer of an application to who asks for the viewer."""
    body = b'{"query": "{ viewer { user scope } }"}'
    given = {"content-type": "application/json", "host": "embedded", **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status: int = sent[0]["status"]
    content = b"".join(each.get("body", b"") for each in sent[1:])
    return status, json.loads(content) if content else dict(sent[0]["headers"])


async def test_it_can_be_mounted_into_another_application(tmp_path: Path) -> None:
    app = FastAPI()
    app.mount("/graphql", graphql_api.graphql_app)
    status, refused = await _asked(app, "/graphql/", {})
    assert (status, refused["errors"][0]["extensions"]["code"]) == (503, "unavailable")
    environ = {
        "DATA_DIR": str(tmp_path / "data"),
        "DOWNLOAD_DIR": str(tmp_path / "files"),
        "PLUGINS_DIR": str(tmp_path / "plugins"),
    }
    async with running(load(environ, tmp_path).settings) as service:
        secret, _ = await service.services.tokens.create("t", Scope.OPERATE)
        headers = {"authorization": f"Bearer {secret}"}
        expected = {"data": {"viewer": {"user": "admin", "scope": "OPERATE"}}}
        assert await _asked(app, "/graphql/", headers) == (200, expected)
        # The framework sends who leaves the slash out there; the service itself takes both.
        assert (await _asked(app, "/graphql", headers))[0] == 307
        assert (await _asked(app, "/graphql/", {}))[0] == 401
        found = await graphql_api.execute("{ viewer { user scope } }")
        assert found == {"data": {"viewer": {"user": OWNER.user, "scope": "ADMIN"}}}
        mine = await graphql_api.execute(
            "query Mine($n: Int!) { settings { name } tasks(first: $n) { nodes { id } } }",
            {"n": 1},
            "Mine",
            caller=Caller("eve", Scope.VIEW),
        )
        assert mine["errors"][0]["extensions"]["code"] == "forbidden"


def test_nothing_is_loaded_before_the_first_request(service: Service) -> None:
    code = (
        "import sys, bot.app, bot.cli, bot.core.graphql_api, bot.app.graphql;"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('strawberry', 'graphql')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Documents that are trusted


async def test_only_trusted_documents_are_taken_where_there_is_a_list(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    text = "query Who { viewer { user } }\n"
    (sources / "who.graphql").write_text(text)
    trusted = tmp_path / "trusted"
    done = CliRunner().invoke(main, ["graphql", "trust", str(sources), str(trusted)])
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert done.stdout.split()[0] == digest
    with Service(tmp_path / "s", GRAPHQL_TRUSTED_DOCUMENTS=str(trusted)) as service:
        graph = Graph(service)
        expected = {"data": {"viewer": {"user": "admin"}}}
        assert graph.post(None, also={"documentId": digest}).json == expected
        persisted = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
        assert graph.post(None, also={"extensions": persisted}).json == expected
        assert graph.post(text).json == expected
        found = graph.send("GET", f"/graphql?documentId={digest}")
        assert found.json == expected
        assert graph.codes("{ viewer { scope } }") == ["untrusted_document"]
        assert graph.post(None, also={"documentId": "0" * 64}).codes == ["unknown_document"]


@pytest.mark.parametrize("text", ["{ nothing }", "{", "{a" * 5000, "\udcff"])
def test_what_does_not_fit_the_schema_is_not_trusted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.graphql"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = CliRunner().invoke(main, ["graphql", "trust", str(path), str(tmp_path / "trusted")])
    assert done.exit_code == 2
    assert "wrong.graphql" in done.output
    assert not (tmp_path / "trusted").exists()


def test_the_schema_is_printed() -> None:
    done = CliRunner().invoke(main, ["graphql", "schema"])
    assert done.stdout.strip() == (_ROOT / "docs/schema.graphql").read_text().strip()


# GraphiQL


def test_what_graphiql_needs_is_here_as_it_was_published() -> None:
    listed = json.loads((_VENDOR / "vendor.json").read_text())
    files = {each["file"]: each["sha256"] for each in listed}
    assert set(files) == {each.name for each in _VENDOR.iterdir()} - {"vendor.json"}
    for name, digest in files.items():
        assert hashlib.sha256((_VENDOR / name).read_bytes()).hexdigest() == digest, name


# The page about it


def test_the_page_names_every_code_and_every_limit() -> None:
    page = (_ROOT / "docs/graphql.md").read_text()
    source = "".join(each.read_text() for each in sorted((_ROOT / "bot/graphql").glob("*.py")))
    refused = re.findall(r'Refused\(\s*"(\w+)"', source)
    bad = re.findall(r'Bad\(\s*\d+,\s*"(\w+)"', source)
    held = re.findall(r'\("(too_\w+)", size', source)
    codes = {*refused, *bad, *held, "syntax", "invalid_query", "not_by_get"}
    codes -= {errors.BodyTooLarge.code}  # it is on the page of errors
    rows = re.findall(r"^\| (`.+?) \| [A-Z`]", page, re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == codes
    for name in GraphqlSecurity.model_fields:
        assert f"`{name.upper()}`" in page, name


def test_users_come_change_and_go_and_the_record_has_no_password(graph: Graph) -> None:
    made = graph.data(
        'mutation { addUser(name: "eve", role: OPERATOR, password: "correct horse battery") '
        "{ ... on User { name role } ... on Problem { message } } }"
    )
    assert made["addUser"] == {"name": "eve", "role": "operator"}
    changed = graph.data(
        'mutation { changeUser(name: "eve", role: VIEWER) { ... on User { role } } }'
    )
    assert changed["changeUser"] == {"role": "viewer"}
    gone = graph.data('mutation { removeUser(name: "eve") { ... on RemovedUser { name } } }')
    assert gone["removeUser"] == {"name": "eve"}
    deeds = graph.data("{ audit(first: 10) { items { action user details } } }")["audit"]["items"]
    assert {"graphql addUser", "graphql changeUser", "graphql removeUser"} <= {
        each["action"] for each in deeds
    }
    assert "correct horse battery" not in json.dumps(deeds)


def test_many_tasks_at_once(graph: Graph) -> None:
    later = '{source: "http://127.0.0.1:9/%s", startAt: "2099-01-01T00:00:00Z"}'
    made = graph.data(
        f"mutation {{ submitTasks(input: [{later % 'one'}, {later % 'two'}]) "
        "{ ... on SubmitTasksPayload { items { task { id } } } } }"
    )
    first, second = (each["task"]["id"] for each in made["submitTasks"]["items"])
    moved = graph.data(
        f'mutation {{ moveTask(id: "{second}", before: "{first}") '
        "{ ... on Task { id } ... on Problem { message } } }"
    )
    assert moved["moveTask"] == {"id": second}
    done = graph.data(
        f'mutation {{ actOnTasks(ids: ["{first}", "{second}", "none"], action: CANCEL) '
        "{ ... on ActOnTasksPayload { accepted refused "
        "items { task { state } problem { code } } } } }"
    )
    assert done["actOnTasks"] == {
        "accepted": 2,
        "refused": 1,
        "items": [
            {"task": {"state": "CANCELLED"}, "problem": None},
            {"task": {"state": "CANCELLED"}, "problem": None},
            {"task": None, "problem": {"code": "not_found"}},
        ],
    }

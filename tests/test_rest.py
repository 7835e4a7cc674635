"""The REST interface, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp

from bot.app.operations import opened_operations
from bot.app.plugins import build_plugins, opened_plugins
from bot.domain.task import TaskState
from bot.errors import NetworkFailed
from bot.services import OWNER, Scope
from bot.web import schemas, schemas_system, server
from bot.web.attached import Served
from tests.rig import Rig, Script, rig
from tools.docs import DOCS


@dataclass(slots=True)
class Web:
    """A served rig and its tokens, by scope."""

    rig: Rig
    port: int
    secrets: dict[str, str]
    app: Any

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        scope: str | None = "admin",
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body, headers."""
        return await asyncio.to_thread(self._call, method, path, body, scope, headers or {}, raw)

    def _call(
        self,
        method: str,
        path: str,
        body: object,
        scope: str | None,
        headers: dict[str, str],
        raw: bytes | None,
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        if scope is not None:
            headers = {"Authorization": f"Bearer {self.secrets[scope]}", **headers}
        payload = raw if raw is not None else None if body is None else json.dumps(body).encode()
        connection.request(method, path, payload, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        kind = response.getheader("Content-Type", "")
        decoded = json.loads(content) if "json" in kind and content else content
        return response.status, decoded, {k.lower(): v for k, v in response.getheaders()}


@asynccontextmanager
async def web(
    directory: Path, *, served: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> AsyncIterator[Web]:
    """The application over a rig, on a port of its own; or what ``served`` makes of it."""
    async with (
        rig(directory) as it,
        opened_plugins(it.base, it.transfers, build_plugins(it.base)) as host,
        opened_operations(
            it.base,
            it.transfers,
            it.tasks,
            it.tokens,
            host,
            is_open=lambda: it.scheduler.open,
        ) as services,
    ):
        secrets = {}
        for scope in Scope:
            secrets[scope.name.lower()], _ = await it.tokens.create("test", scope)
        app = server.build(
            Served(services),
            ready=lambda: None if it.scheduler.open else "stops",
            profiler=it.profiler,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            served(app), log_config=None, lifespan="off", ws="none", proxy_headers=False
        )
        running = uvicorn.Server(config)
        running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.ensure_future(running._serve([listener]))
        try:
            yield Web(it, listener.getsockname()[1], secrets, app)
        finally:
            running.should_exit = True
            await serving


async def test_health_needs_no_token(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        assert (await it.call("GET", "/healthz", scope=None))[:2] == (200, {"status": "alive"})
        assert (await it.call("GET", "/readyz", scope=None))[0] == 200
        await it.rig.scheduler.stop()
        assert (await it.call("GET", "/readyz", scope=None))[:2] == (503, {"status": "stops"})


#: The page and its form to log in are for everybody.
_OPEN = {("get", "/api/v3/dashboard"), ("post", "/api/v3/session")}


async def test_every_other_route_needs_one(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        checked = 0
        for template, methods in it.app.openapi()["paths"].items():
            if not template.startswith("/api/"):
                continue
            for method in methods:
                if (method, template) in _OPEN:
                    continue
                path = template.replace("{task_id}", "0").replace("{token_id}", "0")
                for headers in ({}, {"Authorization": "Bearer mltb_wrong"}):
                    status, body, got = await it.call(
                        method.upper(), path, {}, scope=None, headers=headers
                    )
                    assert (status, body["code"]) == (401, "unauthenticated"), path
                    assert got["www-authenticate"].startswith("Bearer")
                    checked += 1
        assert checked >= 32


async def test_submit_show_and_wait(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        status, task, _ = await it.call("POST", "/api/v3/tasks", {"source": "test:a"})
        assert status == 201
        schemas.TaskOut.model_validate(task)
        assert task["state"] == "queued"
        while task["state"] != "done":
            path = f"/api/v3/tasks/{task['id']}?wait=10&version={task['version']}"
            _, task, _ = await it.call("GET", path)
        schemas.TaskOut.model_validate(task)
        assert Path(task["path"]).read_bytes() == b"content"
        status, page, _ = await it.call("GET", "/api/v3/tasks?state=done&text=test")
        schemas.TaskPageOut.model_validate(page)
        assert [item["id"] for item in page["items"]] == [task["id"]]
        _, counts, _ = await it.call("GET", "/api/v3/tasks/counts")
        assert counts["done"] == 1
        assert set(counts) == set(TaskState)
        _, receipts, _ = await it.call("GET", "/api/v3/receipts")
        schemas.ReceiptListOut.model_validate(receipts)
        assert (await it.call("DELETE", f"/api/v3/tasks/{task['id']}"))[0] == 204
        assert (await it.call("GET", f"/api/v3/tasks/{task['id']}"))[0] == 404


async def test_the_verbs(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        it.rig.source.scripts["a"] = Script(gate=asyncio.Event())
        _, task, _ = await it.call("POST", "/api/v3/tasks", {"source": "test:a"})
        at = f"/api/v3/tasks/{task['id']}"
        await it.rig.until(task["id"], TaskState.RUNNING)
        assert (await it.call("POST", f"{at}/pause"))[1]["state"] == "paused"
        assert (await it.call("PATCH", at, {"priority": 7}))[1]["priority"] == 7
        assert (await it.call("POST", f"{at}/resume"))[1]["state"] == "queued"
        status, problem, headers = await it.call("POST", f"{at}/retry")
        assert (status, problem["code"]) in {(409, "conflict"), (409, "illegal_move")}
        assert headers["content-type"] == "application/problem+json"
        schemas.ProblemOut.model_validate(problem)
        assert (await it.call("POST", f"{at}/cancel"))[1]["state"] == "cancelled"
        assert (await it.call("POST", f"{at}/select", {"files": [0]}))[0] == 409


async def test_a_failure_is_shown_with_its_reason(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        it.rig.source.scripts["a"] = Script(errors=[NetworkFailed("no route")] * 9)
        _, task, _ = await it.call("POST", "/api/v3/tasks", {"source": "test:a"})
        await it.rig.until(task["id"], TaskState.RETRYING)
        _, task, _ = await it.call("GET", f"/api/v3/tasks/{task['id']}")
        assert task["error"]["code"] == "network"
        assert task["error"]["stage"] == "fetch"
        schemas.TaskOut.model_validate(task)


async def test_scopes(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        for scope, status in (("view", 403), ("operate", 201), ("admin", 201)):
            body = {"source": f"test:{scope}"}
            assert (await it.call("POST", "/api/v3/tasks", body, scope=scope))[0] == status
        assert (await it.call("GET", "/api/v3/tasks", scope="view"))[0] == 200
        assert (await it.call("GET", "/api/v3/tokens", scope="operate"))[0] == 403
        status, token, _ = await it.call("POST", "/api/v3/tokens", {"scope": "view", "name": "n"})
        assert status == 201
        it.secrets["new"] = token["secret"]
        assert (await it.call("GET", "/api/v3/tasks", scope="new"))[0] == 200
        listed = (await it.call("GET", "/api/v3/tokens"))[1]["items"]
        assert all("secret" not in each for each in listed)
        assert (await it.call("DELETE", f"/api/v3/tokens/{token['id']}"))[0] == 204
        assert (await it.call("GET", "/api/v3/tasks", scope="new"))[0] == 401


async def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        secret, _ = await it.rig.tokens.create("short", Scope.VIEW, lifetime=10.0)
        it.secrets["short"] = secret
        assert (await it.call("GET", "/api/v3/tasks", scope="short"))[0] == 200
        it.rig.clock.advance(11)
        status, problem, _ = await it.call("GET", "/api/v3/tasks", scope="short")
        assert status == 401
        assert "expired" in problem["detail"]


async def test_a_batch_answers_one_by_one(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        body = {"tasks": [{"source": "test:a"}, {"source": "nope:x"}, {"source": "test:b"}]}
        status, answer, _ = await it.call("POST", "/api/v3/tasks/batch", body)
        assert (status, answer["accepted"], answer["refused"]) == (201, 2, 1)
        schemas.BatchOut.model_validate(answer)
        assert answer["items"][1]["error"]["code"] == "unsupported"


async def test_an_idempotency_key(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        headers = {"Idempotency-Key": "once"}
        first = await it.call("POST", "/api/v3/tasks", {"source": "test:a"}, headers=headers)
        second = await it.call("POST", "/api/v3/tasks", {"source": "test:a"}, headers=headers)
        assert first[1]["id"] == second[1]["id"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"source": ""},
        {"source": "test:a", "unknown": 1},
        {"source": "test:a\nHost: x"},
        {"source": "test:a", "priority": 1000},
        {"source": "test:a", "options": {"checksum": "crc:1"}},
        {"source": "test:a", "options": {"overwrite": "maybe"}},
        {"source": "test:a", "options": {"limit": 0}},
        {"source": "test:a", "steps": [{"name": "melt"}]},
        {"source": "test:a", "options": {"engine": "aria2"}},
    ],
)
async def test_a_wrong_body_says_what_is_wrong(tmp_path: Path, body: dict[str, Any]) -> None:
    async with web(tmp_path) as it:
        status, problem, headers = await it.call("POST", "/api/v3/tasks", body)
        assert (status, problem["code"]) == (422, "invalid_input")
        assert headers["content-type"] == "application/problem+json"
        assert problem["detail"]
        assert (await it.rig.tasks.count(OWNER))[TaskState.QUEUED] == 0


async def test_hostile_names_and_destinations_are_refused(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        for options in ({"name": "../x"}, {"name": ".hidden"}, {"name": "a\0b"}):
            body = {"source": "test:a", "options": options}
            status, problem, _ = await it.call("POST", "/api/v3/tasks", body)
            assert (status, problem["code"]) == (403, "policy")
        for to in ("/etc", f"{it.rig.root}/../../etc"):
            status, problem, _ = await it.call(
                "POST", "/api/v3/tasks", {"source": "test:a", "to": to}
            )
            assert (status, problem["code"]) == (403, "policy")


async def test_what_is_not_http_as_it_should_be(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        assert (await it.call("GET", "/nothing"))[1]["code"] == "not_found"
        status, problem, headers = await it.call("PUT", "/api/v3/tasks", {})
        assert (status, problem["status"]) == (405, 405)
        assert "POST" in headers["allow"]
        status, problem, _ = await it.call("POST", "/api/v3/tasks", raw=b"{not json")
        assert status == 422
        status, _, _ = await it.call(
            "POST", "/api/v3/tasks", raw=b"x" * 10, headers={"Content-Length": str(1 << 40)}
        )
        assert status == 413
        assert (await it.call("GET", "/api/v3/tasks?cursor=garbage"))[0] == 422


async def test_secrets_do_not_come_out(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        body = {
            "source": "test://anna:hidden1@host/a",
            "options": {"password": "hidden2", "headers": {"Cookie": "hidden3"}},
            "steps": [{"name": "upper", "params": {"password": "hidden4"}}],
        }
        _, task, _ = await it.call("POST", "/api/v3/tasks", body)
        _, shown, _ = await it.call("GET", f"/api/v3/tasks/{task['id']}")
        text = json.dumps([task, shown, (await it.call("GET", "/api/v3/tasks"))[1]])
        assert "hidden" not in text
        assert "anna" in text


async def test_the_page_is_served_with_a_strict_policy(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        status, _, headers = await it.call("GET", "/", scope=None)
        assert (status, headers["location"]) == (307, "/api/v3/dashboard")
        status, page, headers = await it.call("GET", headers["location"], scope=None)
        assert status == 200
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for asset in set(re.findall(rb'(?:href|src)="(/api/v3/static/[^"]+)"', page)):
            assert (await it.call("GET", asset.decode(), scope=None))[0] == 200
        for name in ("../server.py", "%2e%2e/server.py", "..%2fserver.py"):
            assert (await it.call("GET", f"/api/v3/static/{name}", scope=None))[0] in {400, 404}


async def test_what_is_unchanged_is_not_sent_again(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        _, task, _ = await it.call("POST", "/api/v3/tasks", {"source": "test:a"})
        await it.rig.until(task["id"], TaskState.DONE)
        for path in (f"/api/v3/tasks/{task['id']}", "/api/v3/tasks", "/api/v3/tokens"):
            _, _, headers = await it.call("GET", path)
            same = {"If-None-Match": headers["etag"]}
            status, body, again = await it.call("GET", path, headers=same)
            assert (status, body, again["etag"]) == (304, b"", headers["etag"])
            other = {"If-None-Match": 'W/"x"'}
            assert (await it.call("GET", path, headers=other))[0] == 200
        await it.call("DELETE", f"/api/v3/tasks/{task['id']}")
        _, _, headers = await it.call("GET", "/api/v3/tasks")
        assert (await it.call("GET", "/api/v3/tasks", headers=same))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "listed"),
    [
        ("/api/v3/tokens", {"name": "once"}, "/api/v3/tokens"),
        ("/api/v3/users", {"name": "ann", "password": "correct horse"}, "/api/v3/users"),
        ("/api/v3/alerts/trigger", {"title": "Once"}, "/api/v3/alerts/recent"),
        (
            "/api/v3/alerts/silences",
            {"seconds": 60, "reason": "r", "rule": "x"},
            "/api/v3/alerts/silences",
        ),
    ],
)
async def test_what_is_made_once_is_not_made_again(
    tmp_path: Path, path: str, body: dict[str, Any], listed: str
) -> None:
    async with web(tmp_path) as it:
        before = len((await it.call("GET", listed))[1]["items"])
        key = {"Idempotency-Key": "once"}
        calls = [it.call("POST", path, body, headers=key) for _ in range(3)]
        first, *others = await asyncio.gather(*calls)
        assert first[0] in {201, 202}, first
        assert all(each[:2] == first[:2] for each in others)
        items = (await it.call("GET", listed))[1]["items"]
        assert len(items) == before + 1
        assert items[0].get("count", 1) == 1
        other = {**body, "name": "another"} if "name" in body else {**body, "severity": "low"}
        assert (await it.call("POST", path, other, headers=key))[0] == 409
        # The answer is for who got it first.
        nobody = await it.call("POST", path, body, headers=key, scope=None)
        assert nobody[0] == 401
        assert (await it.call("POST", path, body, headers=key, scope="view"))[0] == 403


async def test_a_refused_request_may_be_repeated_with_its_key(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        key = {"Idempotency-Key": "k"}
        body = {"name": "ann", "password": "correct horse"}
        await it.call("POST", "/api/v3/users", body)
        assert (await it.call("POST", "/api/v3/users", body, headers=key))[0] == 409
        await it.call("DELETE", "/api/v3/users/ann")
        assert (await it.call("POST", "/api/v3/users", body, headers=key))[0] == 201
        long = {"Idempotency-Key": "k" * 201}
        assert (await it.call("POST", "/api/v3/users", body, headers=long))[0] == 422


async def test_the_service_as_a_whole(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        _, status, _ = await it.call("GET", "/api/v3/system/status", scope="view")
        schemas_system.StatusOut.model_validate(status)
        assert status["open"] is True
        _, settings, _ = await it.call("GET", "/api/v3/system/settings")
        assert "WEB_PORT" in {each["name"] for each in settings["items"]}
        assert (await it.call("GET", "/api/v3/system/settings", scope="operate"))[0] == 403
        # This one has no GraphQL.
        assert (await it.call("GET", "/api/v3/system/query-cache"))[0] == 404


#: Where REST does what GraphQL does; what is left out has the same name in both.
IN_REST = {
    "actOnTasks": "POST /api/v3/tasks/bulk",
    "moveTask": "POST /api/v3/tasks/{task_id}/move",
    "addUser": "POST /api/v3/users",
    "changeUser": "PATCH /api/v3/users/{name}",
    "removeUser": "DELETE /api/v3/users/{name}",
    "audit": "GET /api/v3/audit",
    "viewer": "GET /api/v3/session",
    "task": "GET /api/v3/tasks/{task_id}",
    "tasks": "GET /api/v3/tasks",
    "taskCounts": "GET /api/v3/tasks/counts",
    "plan": "POST /api/v3/plan",
    "queue": "GET /api/v3/system/status",
    "receipts": "GET /api/v3/receipts",
    "alerts": "GET /api/v3/alerts/recent",
    "alertPage": "GET /api/v3/alerts/recent",
    "alert": "GET /api/v3/alerts/{alert_id}",
    "alertSummary": "GET /api/v3/alerts/summary",
    "silences": "GET /api/v3/alerts/silences",
    "alertRules": "GET /api/v3/alerts/rules",
    "alertChannels": "GET /api/v3/alerts/channels",
    "backups": "GET /api/v3/backups/list",
    "backupStats": "GET /api/v3/backups/stats",
    "lastRestore": "GET /api/v3/backups/restore",
    "loggerStats": "GET /api/v3/logger/stats",
    "logs": "GET /api/v3/logger/recent-logs",
    "currentMetrics": "GET /api/v3/metrics/current",
    "metrics": "GET /api/v3/metrics/history",
    "operationStats": "GET /api/v3/profiler/stats",
    "slowOperations": "GET /api/v3/profiler/slow-operations",
    "recoveryStatus": "GET /api/v3/recovery/status",
    "starts": "GET /api/v3/recovery/history",
    "check": "GET /api/v3/recovery/checks/{check_id}",
    "checks": "GET /api/v3/recovery/history",
    "systemStatus": "GET /api/v3/system/status",
    "plugins": "GET /api/v3/plugins/list",
    "settings": "GET /api/v3/system/settings",
    "users": "GET /api/v3/users",
    "cacheStats": "GET /api/v3/system/query-cache",
    "hotQueries": "GET /api/v3/system/hot-queries",
    "submitTask": "POST /api/v3/tasks",
    "submitTasks": "POST /api/v3/tasks/batch",
    "cancelTask": "POST /api/v3/tasks/{task_id}/cancel",
    "retryTask": "POST /api/v3/tasks/{task_id}/retry",
    "pauseTask": "POST /api/v3/tasks/{task_id}/pause",
    "resumeTask": "POST /api/v3/tasks/{task_id}/resume",
    "setPriority": "PATCH /api/v3/tasks/{task_id}",
    "selectFiles": "POST /api/v3/tasks/{task_id}/select",
    "triggerAlert": "POST /api/v3/alerts/trigger",
    "acknowledgeAlert": "POST /api/v3/alerts/{alert_id}/acknowledge",
    "resolveAlert": "POST /api/v3/alerts/{alert_id}/resolve",
    "silenceAlert": "POST /api/v3/alerts/silences",
    "createBackup": "POST /api/v3/backups/create",
    "verifyBackup": "POST /api/v3/backups/{name}/verify",
    "restoreBackup": "POST /api/v3/backups/restore",
    "verifyIntegrity": "POST /api/v3/recovery/verify-integrity",
    "refetch": "POST /api/v3/recovery/refetch",
    "enablePlugin": "POST /api/v3/plugins/enable",
    "disablePlugin": "POST /api/v3/plugins/disable",
    "reloadPlugin": "POST /api/v3/plugins/reload",
    "configurePlugin": "POST /api/v3/plugins/config",
    "executePlugin": "POST /api/v3/plugins/execute",
    "backup": "GET /api/v3/backups/{name}",
    "notifications": "GET /api/v3/alerts/notifications",
    "testAlertChannel": "POST /api/v3/alerts/channels/{name}/test",
    "pluginLines": "GET /api/v3/plugins/{name}/logs",
    "resetProfiler": "DELETE /api/v3/profiler/stats",
    "plugin": "GET /api/v3/plugins/{name}",
    "pluginConfig": "GET /api/v3/plugins/{name}/config",
    "endSilence": "DELETE /api/v3/alerts/silences/{silence_id}",
    "takeProfile": "POST /api/v3/profiler/profile",
    "createToken": "POST /api/v3/tokens",
    "revokeToken": "DELETE /api/v3/tokens/{token_id}",
    "deleteTask": "DELETE /api/v3/tasks/{task_id}",
    "deleteBackup": "DELETE /api/v3/backups/{name}",
    "cancelCheck": "POST /api/v3/recovery/checks/{check_id}/cancel",
    "pluginKeys": "GET /api/v3/plugins/keys",
    "trustPluginKey": "POST /api/v3/plugins/keys/trust",
    "revokePluginKey": "POST /api/v3/plugins/keys/revoke",
    "invalidateCache": "POST /api/v3/system/query-cache/invalidate",
}


def test_rest_can_all_that_graphql_can() -> None:
    text = (DOCS / "schema.graphql").read_text()
    wanted = set()
    for kind in ("Query", "Mutation"):
        body = re.search(rf"^type {kind} \{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
        assert body is not None
        wanted |= set(re.findall(r"^  ([a-z]\w+)[(:]", body[1], re.MULTILINE))
    described = json.loads((DOCS / "openapi.json").read_text())["paths"]
    calls = {
        f"{method.upper()} {path}" for path, methods in described.items() for method in methods
    }
    assert wanted - set(IN_REST) == set(), "say where REST does it"
    assert set(IN_REST.values()) <= calls


def test_lists_and_errors_have_one_shape() -> None:
    described = json.loads((DOCS / "openapi.json").read_text())
    of = described["components"]["schemas"]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if not path.startswith("/api/v3"):
                continue
            assert operation["description"], path
            assert set(operation["tags"]) <= {tag["name"] for tag in described["tags"]}, path
            for status, answer in operation["responses"].items():
                media = answer.get("content", {})
                if int(status) >= 400:
                    assert set(media) >= {"application/problem+json"}, (method, path, status)
                shape = media.get("application/json", {}).get("schema", {})
                assert shape.get("type") != "array", (method, path)
                fields = of.get(shape.get("$ref", "").rpartition("/")[2], {}).get("properties", {})
                if method == "get" and "items" in fields:
                    assert {"status", "items", "cursor"} <= set(fields), path
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                assert body.get("examples") or body.get("example"), f"{method} {path}: no example"


async def test_the_description_is_there_for_people_without_another_host(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        status, page, headers = await it.call("GET", "/docs", scope=None)
        assert status == 200
        assert "unsafe" not in headers["content-security-policy"]
        for name in re.findall(rb'(?:src|href)="([^"]+)"', page):
            assert name.startswith(b"/api/v3/")
            assert (await it.call("GET", name.decode(), scope=None))[0] == 200

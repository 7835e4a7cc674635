"""Who gets in, and from where; and everything under /api/v3 in an application that is not ours."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from bot.core.advanced_dashboard import router
from bot.web.attached import ATTACHED
from tests.test_rest import web


async def test_another_application_can_include_all_of_it(tmp_path: Path) -> None:
    host = FastAPI()

    @host.get("/theirs")
    async def theirs() -> dict[str, str]:
        return {"of": "the host"}

    host.include_router(router)
    async with web(tmp_path, served=lambda _: host) as it:
        status, problem, _ = await it.call("GET", "/api/v3/tasks")
        assert (status, problem["code"]) == (503, "unavailable")
        with ATTACHED.attached(it.app.state.served):
            status, task, _ = await it.call("POST", "/api/v3/tasks", {"source": "test:a"})
            assert status == 201
            path = f"/api/v3/tasks/{task['id']}?wait=5&version=0"
            assert (await it.call("GET", path))[1]["id"] == task["id"]
            _, problem, headers = await it.call("GET", "/api/v3/tasks/zzz")
            assert headers["content-type"] == "application/problem+json"
            assert problem["code"] == "not_found"
            assert problem["request_id"] == headers["x-request-id"]
            assert (await it.call("POST", "/api/v3/tasks", {}))[1]["code"] == "invalid_input"
            _, _, headers = await it.call("GET", "/api/v3/dashboard", scope=None)
            assert headers["content-type"].startswith("text/html")
            assert "unsafe" not in headers["content-security-policy"]
            assert (await it.call("GET", "/api/v3/static/icon.svg", scope=None))[0] == 200
            assert (await it.call("GET", "/api/v3/tasks", scope=None))[0] == 401
        assert (await it.call("GET", "/theirs", scope=None))[1] == {"of": "the host"}
        assert "/api/v3/tasks" in host.openapi()["paths"]

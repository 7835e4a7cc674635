"""Who gets in, and from where; and everything under /api/v3 in an application that is not ours."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI

from bot.core.advanced_dashboard import dashboard_app, router
from bot.services import Caller, Scope
from bot.web.gate import Gate, Rules
from tests.serving import Service
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
        with dashboard_app.attached(lambda: it.app):
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


#: What the process of the shared service is told of the network.
SETTINGS = {
    "TRUSTED_PROXIES": "127.0.0.1",
    "CORS_ORIGINS": "https://friend.example",
    "DASHBOARD_SECURITY__REQUIRE_HTTPS": "true",
    "DASHBOARD_SECURITY__MAX_REQUESTS_PER_SECOND": "1",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Behind a proxy that ends HTTPS, which is whoever asks from 127.0.0.1."""
    it = Service(tmp_path_factory.mktemp("access"))
    it.env |= SETTINGS
    with it:
        yield it


Answer = tuple[int, Any, dict[str, str]]


def ask(service: Service, method: str, path: str, *, source: str, **headers: str) -> Answer:
    """What somebody at ``source`` gets through the proxy. ``X_Forwarded_Proto`` is https unless
    said otherwise."""
    host, port = urlsplit(service.url).netloc.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    sent = {"X-Forwarded-For": source, "X-Forwarded-Proto": "https"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request(method, path, None, {k: v for k, v in sent.items() if v})
        response = connection.getresponse()
        body = response.read()
        found = {name.lower(): value for name, value in response.getheaders()}
        is_json = "json" in found.get("content-type", "")
        return response.status, json.loads(body) if is_json and body else body, found


def bearer(service: Service) -> str:
    return f"Bearer {(service.data / 'token').read_text().strip()}"


def test_plain_http_is_refused_where_https_is_wanted(service: Service) -> None:
    status, problem, headers = ask(
        service, "GET", "/api/v3/tasks", source="10.1.0.1", X_Forwarded_Proto="http"
    )
    assert (status, problem["code"]) == (403, "forbidden")
    assert "strict-transport-security" not in headers
    for path in ("/healthz", "/readyz"):
        assert ask(service, "GET", path, source="10.1.0.1", X_Forwarded_Proto="http")[0] == 200
    status, _, headers = ask(
        service, "GET", "/api/v3/tasks", source="10.1.0.1", Authorization=bearer(service)
    )
    assert (status, headers["strict-transport-security"]) == (200, "max-age=31536000")
    # The machine's own socket is encrypted by nobody, and needs it not.
    assert service.client.get("/tasks")["items"] == []


def test_a_session_behind_https_is_for_https_alone(service: Service) -> None:
    host, port = urlsplit(service.url).netloc.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    token = bearer(service).removeprefix("Bearer ")
    sent = {
        "X-Forwarded-For": "10.1.0.2",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "mirror.example",
        "Origin": "https://mirror.example",
        "Content-Type": "application/json",
    }
    with contextlib.closing(connection):
        connection.request("POST", "/api/v3/session", json.dumps({"token": token}), sent)
        response = connection.getresponse()
        assert response.status == 200
        assert "Secure" in (response.getheader("Set-Cookie") or "")
    deed = service.client.get("/audit", limit=1)["items"][0]
    assert (deed["action"], deed["address"]) == ("POST /api/v3/session", "10.1.0.2")


def test_an_address_that_asks_too_often_has_to_wait_and_others_do_not(service: Service) -> None:
    for path in ("/healthz", "/graphql"):
        found = [ask(service, "GET", path, source="10.2.0.1") for _ in range(13)]
        limited = [each for each in found if each[0] == 429]
        assert limited
        assert limited[0][1]["code"] == "too_many"
        assert int(limited[0][2]["retry-after"]) >= 1
    # What stands before the address that the proxy saw is its sender's invention.
    assert ask(service, "GET", "/healthz", source="10.9.9.9, 10.2.0.1")[0] == 429
    assert ask(service, "GET", "/healthz", source="10.2.0.2")[0] == 200
    # One network of IPv6 is one sender.
    found = [ask(service, "GET", "/healthz", source=f"2001:db8::{n}") for n in range(13)]
    assert found[-1][0] == 429
    assert ask(service, "GET", "/healthz", source="2001:db8:0:1::1")[0] == 200


def test_pages_of_listed_sites_may_read_answers(service: Service) -> None:
    friend, stranger = "https://friend.example", "https://stranger.example"
    wanted = {"Access_Control_Request_Method": "GET"}
    status, _, headers = ask(
        service, "OPTIONS", "/api/v3/tasks", source="10.3.0.1", Origin=friend, **wanted
    )
    assert (status, headers["access-control-allow-origin"]) == (204, friend)
    assert "access-control-allow-credentials" not in headers
    for path in ("/api/v3/tasks", "/graphql?query={systemStatus{open}}"):
        answer = ask(
            service, "GET", path, source="10.3.0.1", Origin=friend, Authorization=bearer(service)
        )
        assert (answer[0], answer[2]["access-control-allow-origin"]) == (200, friend), answer
        answer = ask(service, "GET", path, source="10.3.0.1", Origin=stranger)
        assert "access-control-allow-origin" not in answer[2]
    status, _, headers = ask(
        service, "OPTIONS", "/api/v3/tasks", source="10.3.0.1", Origin=stranger, **wanted
    )
    assert (status, "access-control-allow-origin" in headers) == (405, False)


def test_every_answer_is_a_careful_one(service: Service) -> None:
    for number, path in enumerate(
        ("/healthz", "/nothing", "/api/v3/tasks", "/api/v3/dashboard", "/", "/graphql")
    ):
        headers = ask(service, "GET", path, source=f"10.4.0.{number}")[2]
        for name in ("content-security-policy", "x-content-type-options", "referrer-policy"):
            assert headers[name], (path, name)
        assert "unsafe" not in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert "server" not in headers


async def test_headers_of_a_proxy_that_is_none_are_not_believed(tmp_path: Path) -> None:
    rules = Rules(
        proxies=[ipaddress.ip_network("10.0.0.0/8")],
        origins=frozenset(),
        require_https=True,
        throttle=None,
    )
    async with web(tmp_path, served=lambda app: Gate(app, rules)) as it:
        headers = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https"}
        assert (await it.call("GET", "/api/v3/tasks", headers=headers))[0] == 403


async def test_without_a_login_anybody_looks_and_nobody_moves(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        nobody = Caller("anonymous", Scope.VIEW, via="nobody", looks=True)
        _, task, _ = await it.call("POST", "/api/v3/tasks", {"source": "test:a"})
        it.app.state.served.services.sessions.anonymous = nobody
        status, who, _ = await it.call("GET", "/api/v3/session", scope=None)
        assert (status, who["user"], who["scope"], who["csrf"]) == (200, "anonymous", "view", None)
        assert (await it.call("GET", "/api/v3/metrics/current", scope=None))[0] == 200
        assert (await it.call("GET", f"/api/v3/tasks/{task['id']}", scope=None))[0] == 200
        old = {"Cookie": "mltb_session=over"}
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=old))[0] == 200
        body, wrong = {"source": "test:a"}, {"Authorization": "Bearer mltb_wrong"}
        assert (await it.call("POST", "/api/v3/tasks", body, scope=None))[0] == 403
        assert (await it.call("GET", "/api/v3/logger/recent-logs", scope=None))[0] == 403
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=wrong))[0] == 401


def test_users_and_the_record_from_the_shell(service: Service) -> None:
    ran = service.run("user", "add", "ann", "--role", "viewer", given="correct horse battery\n")
    assert ran.status == 0, ran.err
    assert service.run("user", "add", "bob", given="short\n").status == 1
    assert service.run("user", "password", "ann", given="another horse battery\n").status == 0
    assert service.run("user", "role", "ann", "operator").status == 0
    listed = {user["name"]: user["role"] for user in service.run("user", "list", "--json").lines}
    assert listed == {"admin": None, "ann": "operator"}
    assert service.run("user", "remove", "ann").status == 0
    deeds = service.run("audit", "--json", "--limit", "5").lines
    assert [deed["action"].partition(" ")[0] for deed in deeds][:3] == ["DELETE", "PATCH", "PATCH"]
    assert "battery" not in str(deeds)


def test_a_mutation_of_graphql_is_recorded_too(service: Service) -> None:
    query = 'mutation { cancelTask(id: "nothing") { __typename } }'
    host, port = urlsplit(service.url).netloc.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    sent = {
        "X-Forwarded-For": "10.5.0.1",
        "X-Forwarded-Proto": "https",
        "Content-Type": "application/json",
        "Authorization": bearer(service),
    }
    with contextlib.closing(connection):
        connection.request("POST", "/graphql", json.dumps({"query": query}), sent)
        assert connection.getresponse().status == 200
    deed = service.client.get("/audit", limit=1)["items"][0]
    assert (deed["action"], deed["target"]) == ("graphql cancelTask", "nothing")
    assert (deed["outcome"], deed["address"], deed["user"]) == (404, "10.5.0.1", "admin")

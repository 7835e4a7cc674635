"""Sessions: cookies in place of tokens, and what other sites can't do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_rest import Web, web


async def log_in(it: Web, body: dict[str, Any] | None = None) -> dict[str, str]:
    """The headers of a browser that is logged in."""
    body = body or {"token": it.secrets["admin"]}
    status, who, headers = await it.call("POST", "/api/v3/session", body, scope=None)
    assert status == 200, who
    cookie, _, rest = headers["set-cookie"].partition(";")
    assert {part.strip() for part in rest.split(";")} >= {"HttpOnly", "SameSite=strict", "Path=/"}
    return {"Cookie": cookie, "X-CSRF-Token": who["csrf"]}


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


async def test_a_session_stands_for_its_token(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        mine = await log_in(it)
        status, who, headers = await it.call("GET", "/api/v3/session", scope=None, headers=mine)
        assert status == 200
        csrf = mine["X-CSRF-Token"]
        assert who == {"status": "ok", "user": "admin", "scope": "admin", "csrf": csrf}
        assert headers["cache-control"] == "no-store"
        body = {"source": "test:a"}
        assert (await it.call("POST", "/api/v3/tasks", body, scope=None, headers=mine))[0] == 201
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 200
        gone = await it.call("DELETE", "/api/v3/session", scope=None, headers=mine)
        assert (gone[0], "Max-Age=0" in gone[2]["set-cookie"]) == (204, True)
        for path in ("/api/v3/session", "/api/v3/tasks"):
            assert (await it.call("GET", path, scope=None, headers=mine))[0] == 401


async def test_a_write_needs_what_another_site_cannot_know(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        mine = await log_in(it)
        for headers in (
            without(mine, "X-CSRF-Token"),
            mine | {"X-CSRF-Token": "0" * 64},
            mine | {"X-CSRF-Token": "é"},
            mine | {"Origin": "https://example.org"},
        ):
            for method, path in (
                ("POST", "/api/v3/tasks"),
                ("PATCH", "/api/v3/tasks/0"),
                ("DELETE", "/api/v3/tasks/0"),
                ("DELETE", "/api/v3/session"),
            ):
                status, problem, _ = await it.call(
                    method, path, {"source": "test:a"}, scope=None, headers=headers
                )
                assert (status, problem["code"]) == (403, "csrf"), (method, headers)
        # What is read shows no more to another site than the browser lets it see.
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 200


async def test_another_site_cannot_log_somebody_in(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        body = {"token": it.secrets["view"]}
        headers = {"Origin": "https://example.org"}
        answer = await it.call("POST", "/api/v3/session", body, scope=None, headers=headers)
        assert (answer[0], "set-cookie" in answer[2]) == (403, False)


@pytest.mark.parametrize("cookie", ["", "mltb_session=", "mltb_session=x", "mltb_session=é; a=b"])
async def test_what_is_no_session_is_refused(tmp_path: Path, cookie: str) -> None:
    async with web(tmp_path) as it:
        headers = {"Cookie": cookie}
        assert (await it.call("GET", "/api/v3/session", scope=None, headers=headers))[0] == 401


async def test_a_session_reaches_no_further_than_its_token_and_ends_with_it(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        _, token, _ = await it.call("POST", "/api/v3/tokens", {"scope": "view", "name": "n"})
        mine = await log_in(it, {"token": token["secret"]})
        body = {"source": "test:a"}
        assert (await it.call("POST", "/api/v3/tasks", body, scope=None, headers=mine))[0] == 403
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 200
        assert (await it.call("DELETE", f"/api/v3/tokens/{token['id']}"))[0] == 204
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 401


async def test_a_session_ends_by_itself(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        mine = await log_in(it)
        for _ in range(3):
            it.rig.clock.advance(80_000)
            assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 200
        it.rig.clock.advance(86_401)
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 401
        mine = await log_in(it)
        for _ in range(8):
            it.rig.clock.advance(80_000)
            status = (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0]
        assert status == 401  # after a week, however busy it was


async def test_the_secret_of_a_session_is_stored_nowhere(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        secret = (await log_in(it))["Cookie"].partition("=")[2].encode()
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or secret not in file.read_bytes()

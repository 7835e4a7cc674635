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


PASSWORD = "correct horse battery"


async def test_a_password_logs_in_with_a_role(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        for role, scope in (("viewer", "view"), ("operator", "operate"), ("admin", "admin")):
            body = {"name": role, "role": role, "password": PASSWORD}
            status, user, _ = await it.call("POST", "/api/v3/users", body)
            assert (status, user["role"]) == (201, role)
            mine = await log_in(it, {"user": role, "password": PASSWORD})
            _, who, _ = await it.call("GET", "/api/v3/session", scope=None, headers=mine)
            assert (who["user"], who["scope"]) == (role, scope)
        assert (await it.call("POST", "/api/v3/users", body))[0] == 409
        # Another role holds at once for who is logged in.
        path = "/api/v3/users/admin"
        assert (await it.call("PATCH", path, {"role": "viewer"}))[1]["role"] == "viewer"
        assert (await it.call("GET", "/api/v3/users", scope=None, headers=mine))[0] == 403


async def test_what_ends_the_sessions_of_a_user(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        name, new = "/api/v3/users/ann", "another horse battery"
        body = {"name": "ann", "role": "operator", "password": PASSWORD}
        await it.call("POST", "/api/v3/users", body)
        mine = await log_in(it, {"user": "ann", "password": PASSWORD})
        change = {"current_password": "wrong wrong wrong", "new_password": new}
        path = "/api/v3/session/password"
        assert (await it.call("POST", path, change, scope=None, headers=mine))[0] == 403
        change["current_password"] = PASSWORD
        assert (await it.call("POST", path, change, scope=None, headers=mine))[0] == 204
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 401
        mine = await log_in(it, {"user": "ann", "password": new})
        assert (await it.call("PATCH", name, {"password": PASSWORD}))[0] == 200
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 401
        mine = await log_in(it, {"user": "ann", "password": PASSWORD})
        assert (await it.call("DELETE", name))[0] == 204
        assert (await it.call("GET", "/api/v3/tasks", scope=None, headers=mine))[0] == 401
        assert (await it.call("GET", name))[0] == 404


async def test_a_refused_login_says_nothing_of_who_there_is(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        body = {"name": "ann", "role": "admin", "password": PASSWORD}
        await it.call("POST", "/api/v3/users", body)
        said = set()
        for user, password in (("ann", "x"), ("bob", PASSWORD), ("ann", "é" * 200)):
            wrong = {"user": user, "password": password}
            status, problem, _ = await it.call("POST", "/api/v3/session", wrong, scope=None)
            del problem["request_id"]
            said.add((status, str(problem)))
        assert len(said) == 1, said
        for wrong in ({}, {"user": "ann"}, {"token": "x", "user": "ann", "password": "x"}):
            assert (await it.call("POST", "/api/v3/session", wrong, scope=None))[0] == 422


async def test_who_tries_too_often_has_to_wait(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        await it.call("POST", "/api/v3/users", {"name": "ann", "password": PASSWORD})
        right = {"user": "ann", "password": PASSWORD}
        for _ in range(12):  # a right one does not count
            await log_in(it, right)
        for _ in range(10):
            wrong = {"token": "mltb_wrong"}
            assert (await it.call("POST", "/api/v3/session", wrong, scope=None))[0] == 401
        status, problem, headers = await it.call("POST", "/api/v3/session", right, scope=None)
        assert (status, problem["code"]) == (429, "too_many")
        it.rig.clock.advance(int(headers["retry-after"]))
        await log_in(it, right)


async def test_every_write_is_recorded_without_its_secrets(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        body = {"name": "ann", "role": "viewer", "password": PASSWORD}
        await it.call("POST", "/api/v3/users", body)
        mine = await log_in(it, {"user": "ann", "password": PASSWORD})
        wrong = {"user": "ann", "password": "hidden hidden"}
        await it.call("POST", "/api/v3/session", wrong, scope=None)
        task = {"source": "test://u:hidden1@host/a", "options": {"password": "hidden2"}}
        await it.call("POST", "/api/v3/tasks", task, scope=None, headers=mine)
        _, made, _ = await it.call("POST", "/api/v3/tasks", task)
        await it.call("GET", "/api/v3/tasks")
        await it.call("POST", "/api/v3/tasks", task, scope=None)  # nobody's: nothing was done
        status, page, _ = await it.call("GET", "/api/v3/audit")
        assert status == 200
        names = ("user", "via", "action", "target", "outcome")
        shown = [tuple(deed[name] for name in names) for deed in page["items"]]
        assert shown == [
            ("admin", "token", "POST /api/v3/tasks", made["id"], 201),
            ("ann", "session", "POST /api/v3/tasks", None, 403),
            ("ann", "nobody", "POST /api/v3/session", None, 401),
            ("ann", "session", "POST /api/v3/session", None, 200),
            ("admin", "token", "POST /api/v3/users", "ann", 201),
        ]
        assert {deed["address"] for deed in page["items"]} == {"127.0.0.1"}
        assert page["items"][0]["details"]["source"] == "test://u:***@host/a"
        assert "hidden" not in str(page)
        assert PASSWORD not in str(page)
        _, first, _ = await it.call("GET", "/api/v3/audit?limit=2&user=ann")
        _, rest, _ = await it.call("GET", f"/api/v3/audit?user=ann&cursor={first['cursor']}")
        assert [len(first["items"]), len(rest["items"])] == [2, 1]
        assert (await it.call("GET", "/api/v3/audit", scope="operate"))[0] == 403

"""GraphQL over HTTP, as the specification of that name and the issue of its security want it."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.graphs import Graph
from tests.servers.missing import requires
from tests.serving import Service

_VIEWER = "{ viewer { user scope } }"
_RESPONSE = "application/graphql-response+json"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("service")
    with Service(place, GRAPHQL_SECURITY__RATE_LIMIT_QUERIES="false") as running:
        yield running


@pytest.fixture(scope="module")
def graph(service: Service) -> Graph:
    return Graph(service)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """One without introspection, that nobody needs a token for."""
    with Service(
        tmp_path_factory.mktemp("closed"),
        GRAPHQL_SECURITY__REQUIRE_AUTHENTICATION="false",
        GRAPHQL_INTROSPECTION="false",
        GRAPHQL_TIMEOUT="0.2",
    ) as running:
        yield Graph(running, token=None)


# The specification

_AUDIT = """
import { auditServer } from "graphql-http";
const [url, authorization] = process.argv.slice(2);
const fetchFn = (to, init) =>
  fetch(to, { ...init, headers: { ...init?.headers, authorization } });
const found = await auditServer({ url, fetchFn });
console.log(JSON.stringify(found.map(({ id, name, status }) => ({ id, name, status }))));
"""


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that audits the server whose URL it is given."""
    requires("node", how="install Node.js 18 or newer")
    requires("npm", how="install it with Node.js")
    place = tmp_path_factory.mktemp("audit")
    wanted = {"graphql": "16.11.0", "graphql-http": "1.23.1"}
    (place / "package.json").write_text(json.dumps({"private": True, "dependencies": wanted}))
    (place / "audit.mjs").write_text(_AUDIT)
    flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=0"]
    done = subprocess.run(
        ["npm", "install", *flags], cwd=place, capture_output=True, timeout=60, check=False
    )
    requires("graphql-http", how="let npm reach a registry", found=done.returncode == 0)
    return place / "audit.mjs"


def test_the_audit_of_the_specification_passes(graph: Graph, audit: Path) -> None:
    done = subprocess.run(
        ["node", audit, f"{graph.service.url}/graphql", graph.headers["Authorization"]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    assert [each for each in found if each["status"] != "ok"] == []
    assert len(found) == 61


# Reading a request


def test_a_query_by_post_and_by_get(graph: Graph) -> None:
    expected = {"data": {"viewer": {"user": "admin", "scope": "ADMIN"}}}
    posted, got = graph.post(_VIEWER), graph.get(_VIEWER)
    assert (posted.status, posted.json) == (got.status, got.json) == (200, expected)
    assert graph.send("POST", "/graphql/", json.dumps({"query": _VIEWER}).encode()).json == expected
    asked = "query($n: String!) { __type(name: $n) { name } }"
    assert graph.get(asked, variables='{"n": "Task"}').json["data"]["__type"] == {"name": "Task"}


def test_the_schema_as_the_guide_asks_for_it(graph: Graph) -> None:
    # The braces are not escaped, as curl --globoff or a browser's address bar send them.
    reply = graph.send("GET", "/graphql?query={__schema{types{name}}}")
    assert reply.status == 200
    assert {"name": "Task"} in reply.json["data"]["__schema"]["types"]


def test_a_mutation_does_not_come_by_get(graph: Graph) -> None:
    mutation = 'mutation { triggerAlert(input: {title: "by get"}) { __typename } }'
    reply = graph.get(mutation)
    assert (reply.status, reply.headers["allow"], reply.codes) == (405, "POST", ["not_by_get"])
    events = graph.get(mutation, headers={"Accept": "text/event-stream"})
    assert (events.status, events.codes) == (405, ["not_by_get"])
    assert graph.data("{ alerts { title } }") == {"alerts": []}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(graph: Graph, method: str) -> None:
    reply = graph.send(method, body=b"{}")
    assert (reply.status, reply.headers["allow"], reply.codes) == (405, "GET, POST", ["method"])


@pytest.mark.parametrize(
    ("accept", "status", "media"),
    [
        ("", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        (_RESPONSE, 200, _RESPONSE),
        (f"{_RESPONSE}; charset=utf-8, application/json;q=0.9", 200, _RESPONSE),
        ("text/plain", 406, "application/json"),
    ],
)
def test_the_media_type_of_the_answer(graph: Graph, accept: str, status: int, media: str) -> None:
    reply = graph.post(_VIEWER, headers={"Accept": accept})
    assert (reply.status, reply.headers["content-type"]) == (status, media)


def test_a_broken_document_is_200_to_old_clients_and_400_to_new_ones(graph: Graph) -> None:
    for query, code in (("{", "syntax"), ("{ nothing }", "invalid_query")):
        old = graph.post(query)
        new = graph.post(query, headers={"Accept": _RESPONSE})
        assert (old.status, new.status, old.codes, new.codes) == (200, 400, [code], [code])
        assert "data" not in new.json


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON; Charset=UTF8", 200),
        ("application/json; charset=utf-16", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/plain", 415),
        ("application/graphql", 415),
    ],
)
def test_the_content_type_of_a_request(graph: Graph, content_type: str, status: int) -> None:
    reply = graph.post(_VIEWER, headers={"Content-Type": content_type})
    assert reply.status == status
    assert reply.codes == ([] if status == 200 else ["media_type"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'[{"query": "{ viewer { user } }"}]', "batching_off"),
        (b' \n [{"query": "{ viewer { user } }"}]', "batching_off"),
        (b"", "bad_request"),
        (b"{", "bad_request"),
        (b"null", "bad_request"),
        (b"{}", "no_query"),
        (b'{"query": 1}', "bad_request"),
        (b'{"query": "{ viewer { user } }", "variables": []}', "bad_request"),
        (b'{"query": "{ viewer { user } }", "operationName": 1}', "bad_request"),
        (b'{"query": "\xff"}', "bad_request"),
        (b'{"query": "{ viewer { user } }", "variables": {"a": "\\ud800"}}', "bad_request"),
        (b'{"query": "{ viewer { user } }", "variables": ' + b'{"a":' * 10_000, "bad_request"),
    ],
)
def test_bodies_that_are_no_request(graph: Graph, body: bytes, code: str) -> None:
    reply = graph.send(body=body)
    assert (reply.status, reply.codes) == (400, [code])


@pytest.mark.parametrize(
    "query",
    [
        "query=%7B__typename%7D&variables=%5B",
        "query=%7B__typename%7D&variables=%5B%5D",
        "query=%7B__typename%7D&variables=NaN",
        "query=%7B__typename%7D&variables=%7B%22a%22%3A%22%5Cud800%22%7D",
        "query=%ff",
        "&".join(["query=%7B__typename%7D"] * 20),
        "query=%7B__typename%7D&extensions=1",
    ],
)
def test_query_strings_that_are_no_request(graph: Graph, query: str) -> None:
    reply = graph.send("GET", f"/graphql?{query}")
    assert (reply.status, reply.codes) == (400, ["bad_request"])


def test_a_body_over_the_limit_is_not_read(graph: Graph) -> None:
    large = b'{"query": "{ viewer { user } }", "variables": {"a": "' + b"a" * 300_000 + b'"}}'
    reply = graph.send(body=large)
    assert (reply.status, reply.codes) == (413, ["body_too_large"])
    # One that does not say how large it is.
    connection = http.client.HTTPConnection(urlsplit(graph.service.url).netloc, timeout=60)
    with closing(connection):
        headers = {"Content-Type": "application/json", **graph.headers}
        parts = (large[at : at + 50_000] for at in range(0, len(large), 50_000))
        connection.request("POST", "/graphql", parts, headers, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_numbers_of_64_bits_go_both_ways(graph: Graph) -> None:
    largest, submission = 2**63 - 1, {"source": "http://127.0.0.1:9/a.bin"}
    wanted = {**submission, "options": {"limit": largest}, "startAt": "2099-01-01T00:00:00Z"}
    mutation = """mutation($i: [SubmissionInput!]!) { submitTasks(input: $i) {
        ... on SubmitTasksPayload { items { task { id } problem { message } } } } }"""
    found = graph.data(mutation, i=[wanted])["submitTasks"]["items"][0]
    assert found["problem"] is None
    task = graph.service.journal(found["task"]["id"])
    assert task["options"]["limit"] == largest
    for wrong in (2**63, -(2**63) - 1, 1.5, "1", True):
        options = {**submission, "options": {"limit": wrong}}
        assert graph.codes(mutation, i=[options]) == ["invalid_query"]


# Who asks


def test_without_a_token_nobody_gets_an_answer(graph: Graph) -> None:
    for token in (None, "mltb_wrong", "nonsense", "mltb_" + "a" * 5000):
        for reply in (
            Graph(graph.service, token).post(_VIEWER),
            Graph(graph.service, token).get(_VIEWER),
        ):
            assert (reply.status, reply.codes) == (401, ["unauthenticated"])
            assert reply.headers["www-authenticate"].startswith("Bearer")


def test_where_no_token_is_needed_anybody_looks_and_nobody_changes(closed: Graph) -> None:
    assert closed.data(_VIEWER) == {"viewer": {"user": "anonymous", "scope": "VIEW"}}
    assert closed.codes("{ settings { name } }") == ["forbidden"]
    found = closed.data('mutation { triggerAlert(input: {title: "x"}) { __typename } }')
    assert found == {"triggerAlert": {"__typename": "ForbiddenProblem"}}
    # One that is sent has to be good all the same.
    assert Graph(closed.service, "mltb_wrong").post(_VIEWER).status == 401
    assert Graph(closed.service).data(_VIEWER)["viewer"]["user"] == "admin"


def test_scopes_hold_for_each_field(graph: Graph) -> None:
    viewer = graph.as_("view")
    reply = viewer.post("{ viewer { user } users { name } }")
    assert reply.json["data"] is None
    error = reply.json["errors"][0]
    assert (error["path"], error["extensions"]["code"]) == (["users"], "forbidden")
    assert "scope view" in error["extensions"]["hint"]


def test_pages_of_other_sites_may_not_ask(graph: Graph) -> None:
    host = urlsplit(graph.service.url).netloc
    for headers, status in (
        ({"Origin": f"http://{host}"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://behind.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ):
        for reply in (
            graph.post(_VIEWER, headers=headers),
            graph.get(_VIEWER, headers=headers),
            graph.get(
                "subscription { tasks { id } }", headers={"Accept": "text/event-stream", **headers}
            )
            if status == 403
            else graph.post(_VIEWER, headers=headers),
        ):
            assert (reply.status, reply.codes) == (status, [] if status == 200 else ["cross_site"])
    assert "access-control-allow-origin" not in graph.post(_VIEWER).headers


# Twice the same


def test_a_request_with_the_same_key_is_done_once(graph: Graph) -> None:
    mutation = (
        "mutation($t: String!) { triggerAlert(input: {title: $t}) { ... on Alert { id count } } }"
    )
    key = {"Idempotency-Key": "once"}
    first = graph.post(mutation, {"t": "once"}, headers=key)
    again = graph.post(mutation, {"t": "once"}, headers=key)
    assert first.body == again.body
    assert first.json["data"]["triggerAlert"]["count"] == 1
    # Forgetting answers does not forget what was done.
    graph.data("mutation { invalidateCache { __typename } }")
    assert graph.post(mutation, {"t": "once"}, headers=key).body == first.body
    # Another body under the key is another request; another user has keys of their own.
    other = graph.post(mutation, {"t": "another"}, headers=key)
    assert (other.status, other.codes) == (409, ["conflict"])
    somebody = graph.as_("operate", "somebody").post(mutation, {"t": "once"}, headers=key)
    assert somebody.json["data"]["triggerAlert"]["id"] != first.json["data"]["triggerAlert"]["id"]
    long = graph.post(mutation, {"t": "once"}, headers={"Idempotency-Key": "k" * 201})
    assert (long.status, long.codes) == (400, ["idempotency_key"])


def test_a_request_that_was_refused_may_be_mended_under_its_key(graph: Graph) -> None:
    key = {"Idempotency-Key": "mended"}
    wrong = graph.post("mutation { triggerAlert { __typename } }", headers=key)
    assert wrong.codes == ["invalid_query"]
    right = 'mutation { triggerAlert(input: {title: "mended"}) { __typename } }'
    assert graph.post(right, headers=key).json["data"]["triggerAlert"] == {"__typename": "Alert"}


def test_requests_have_ids(graph: Graph) -> None:
    named = graph.post(_VIEWER, headers={"X-Request-ID": "abc-1"})
    assert named.headers["x-request-id"] == "abc-1"
    ids = {graph.post(_VIEWER).headers["x-request-id"] for _ in range(3)}
    strange = graph.post(_VIEWER, headers={"X-Request-ID": "a b<c>"}).headers["x-request-id"]
    assert len(ids | {strange, "a b<c>"}) == 5


# What is not told


def test_without_introspection_the_schema_is_not_told(closed: Graph) -> None:
    for query in ("{ __schema { types { name } } }", '{ __type(name: "Task") { name } }'):
        assert set(closed.codes(query)) == {"invalid_query"}
    assert closed.data("{ __typename }") == {"__typename": "Query"}
    page = closed.send("GET", headers={"Accept": "text/html"})
    assert b"<html" not in page.body
    assert page.status != 200


def test_graphiql_is_there_for_browsers(graph: Graph) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = graph.send("GET", headers=browser)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert b"//" not in page.body.replace(b"<!doctype html>", b""), "nothing comes from elsewhere"
    # A link with a query is a query, for a browser too.
    assert graph.get(_VIEWER, headers=browser).json["data"]["viewer"]["user"] == "admin"


def test_names_are_not_guessed(graph: Graph) -> None:
    reply = graph.post("{ systemStatu { version } }")
    assert "Did you mean" not in reply.body.decode()


def test_a_fault_is_told_by_an_id_that_finds_the_log_line(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        graph = Graph(service)
        with closing(sqlite3.connect(service.data / "mltb.db")) as database:
            database.execute("DROP TABLE receipts")
        reply = graph.post("{ viewer { user } receipts { path } }")
        error = reply.json["errors"][0]
        assert error["message"] == "a fault of the service"
        assert error["extensions"]["code"] == "internal"
        assert b"receipts_" not in reply.body
        assert b"sqlite" not in reply.body.lower()
        assert b"Traceback" not in reply.body
        lines = graph.data("{ logs(level: ERROR) { items { message error } } }")["logs"]["items"]
        found = [line for line in lines if error["extensions"]["id"] in line["message"]]
        assert "no such table" in found[0]["error"]


def test_an_operation_that_takes_too_long_is_ended(closed: Graph) -> None:
    # Connections are taken, and nobody ever answers.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        source = f"http://127.0.0.1:{mute.getsockname()[1]}/slow.bin"
        query = "query($s: String!) { plan(source: {source: $s}) { name } }"
        assert Graph(closed.service).codes(query, s=source) == ["timeout"]

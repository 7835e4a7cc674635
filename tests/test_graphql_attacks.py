"""Documents and requests that are meant to hurt: each is refused with its code, and others are
answered all the while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import schemathesis
from graphql import get_introspection_query
from hypothesis import HealthCheck, Phase, given, seed, settings

from bot.domain.profiling import UNPROFILED
from bot.graphql.documents import Documents
from bot.graphql.guards import Limits, Refused
from bot.graphql.schema import core, sdl
from tests.graphs import Graph
from tests.serving import Service

_CHAIN = "".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }} " for n in range(60))
_PAIRS = "".join(f"fragment f{n} on Query {{ viewer {{ user }} }} " for n in range(150))


def _tree(depth: int) -> str:
    """Fields of one name within each other, two of them at each place."""
    inner = "name" if depth == 0 else _tree(depth - 1) * 2
    return f"ofType {{ {inner} }} "


#: Each with its code, at the limits as they come.
_DOCUMENTS: dict[str, tuple[str, str]] = {
    "20,000 aliases": (
        "{" + " ".join(f"a{n}: viewer {{ user }}" for n in range(20_000)) + "}",
        "too_long",
    ),
    "aliases": (
        "{" + " ".join(f"a{n}: viewer {{ user }}" for n in range(31)) + "}",
        "too_many_aliases",
    ),
    "200 levels": ("{a" * 200 + "}" * 200, "too_deep"),
    "2,000 levels": ("{a" * 2000 + "}" * 2000, "too_deep"),
    "levels of fragments": ("{" + "... {" * 250 + "viewer { user }" + "}" * 250 + "}", "too_deep"),
    "levels of a value": (
        "{ tasks(text: " + "[" * 900 + "]" * 900 + ") { nodes { id } } }",
        "too_deep",
    ),
    "a fragment in itself": ("{ ...a } fragment a on Query { ...a }", "fragment_cycle"),
    "fragments in a circle": (
        "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        "fragment_cycle",
    ),
    "a circle that nobody enters": (
        "{ viewer { user } } fragment a on Query { ...b } fragment b on Query { ...a }",
        "fragment_cycle",
    ),
    "fragments that double": (
        "{ ...f0 } " + _CHAIN + "fragment f60 on Query { viewer { user } }",
        "too_wide",
    ),
    "fields": ("{ viewer {" + "user " * 501 + "} }", "too_wide"),
    "fields over operations": (
        " ".join(f"query q{n} {{ viewer {{ user user user }} }}" for n in range(130)),
        "too_wide",
    ),
    "fields of one name": ("{ viewer {" + "user " * 490 + "} }", "too_intricate"),
    "objects of one name": ("{" + "viewer { user } " * 240 + "}", "too_intricate"),
    "a tree of one name": ('{ __type(name: "Task") {' + _tree(7) + "} }", "too_intricate"),
    "pairs of fragments": (
        "{" + " ".join(f"...f{n}" for n in range(150)) + "}" + _PAIRS,
        "too_intricate",
    ),
    "directives": ("{ viewer { user " + "@include(if: true) " * 51 + "} }", "too_many_directives"),
    "a flood of directives": ("{ viewer { user " + "@a " * 900 + "} }", "too_many_directives"),
    "tokens": ("{ tasks(states: [" + "DONE " * 2000 + "]) { nodes { id } } }", "too_many_tokens"),
    "comments": ("#\n" * 2100 + "{ viewer { user } }", "too_many_tokens"),
    "blanks": ("," * 200_000 + "{ viewer { user } }", "too_long"),
    "a long text": ('{ tasks(text: "' + "a" * 200_000 + '") { nodes { id } } }', "too_long"),
    "a costly list": (
        "{ tasks(first: 500) { nodes { stages { name } steps { name } id name state } } }",
        "too_costly",
    ),
    "a list that is larger than numbers": (
        "query($n: Int! = 2147483647) { tasks(first: $n) { nodes { id } } }",
        "too_costly",
    ),
    "introspection in depth": (
        "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
        "invalid_query",
    ),
    "introspection in width": (
        "{" + " ".join(f"a{n}: __schema {{ types {{ ...t }} }}" for n in range(20)) + "}"
        "fragment t on __Type { fields { args { type { name kind ofType { name } } }"
        " type { fields { name description } } } }",
        "too_costly",
    ),
    "unlike types": ("{ systemStatu { version } }", "invalid_query"),
    "NUL": ("{ viewer { user } }\0", "syntax"),
    "a surrogate": ('{ tasks(text: "\\ud800") { nodes { id } } }', "syntax"),
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    place = tmp_path_factory.mktemp("service")
    with Service(place, GRAPHQL_SECURITY__RATE_LIMIT_QUERIES="false") as service:
        yield Graph(service)


@pytest.mark.parametrize("name", _DOCUMENTS)
def test_a_document_that_is_meant_to_hurt_is_refused(graph: Graph, name: str) -> None:
    document, code = _DOCUMENTS[name]
    reply = graph.send(body=json.dumps({"query": document}).encode())
    if reply.status == 413:
        assert reply.codes == ["body_too_large"]
        return
    assert set(reply.codes) == {code}
    assert len(reply.body) < 20_000, "nothing of it comes back"
    assert "data" not in reply.json


def test_others_are_answered_meanwhile(graph: Graph) -> None:
    bodies = [json.dumps({"query": document}).encode() for document, _ in _DOCUMENTS.values()]
    with ThreadPoolExecutor(8) as pool:
        attacks = [pool.submit(graph.send, body=body) for body in bodies * 2]
        for _ in range(20):
            assert graph.data("{ viewer { user } }") == {"viewer": {"user": "admin"}}
        assert {each.result().status for each in attacks} <= {200, 413}


def test_variables_that_are_meant_to_hurt_are_refused(graph: Graph) -> None:
    run = 'mutation($d: JSON) { executePlugin(name: "none", data: $d) { __typename } }'
    deep = (
        b'{"query": "{ viewer { user } }", "variables": {"d": '
        + b"[" * 10_000
        + b"]" * 10_000
        + b"}}"
    )
    assert graph.send(body=deep).codes == ["bad_request"]
    submit = (
        "mutation($i: [SubmissionInput!]!) { submitTasks(input: $i) { ... on Problem { code } } }"
    )
    many = [{"source": "nothing:x"}] * 8000
    assert graph.data(submit, i=many)["submitTasks"]["code"] == "invalid_input"
    for value in ("\u202e", "\U0001f600" * 50, "%", "'; DROP TABLE tasks; --"):
        found = graph.data("query($t: String) { tasks(text: $t) { nodes { id } } }", t=value)
        assert found == {"tasks": {"nodes": []}}
    search = "query($t: String) { tasks(text: $t) { nodes { id } } }"
    assert graph.codes(search, t="\0") == ["invalid_input"]
    assert graph.data(run, d={"a": "\0"})["executePlugin"]["__typename"] == "NotFoundProblem"
    for first in (0, -1, 501):
        assert graph.codes("query($n: Int!) { tasks(first: $n) { nodes { id } } }", n=first) == [
            "invalid_input"
        ]
    assert graph.codes('{ tasks(after: "x") { nodes { id } } }') == ["invalid_input"]


def test_what_tools_ask_of_the_schema_is_answered(graph: Graph) -> None:
    found = graph.data(get_introspection_query(input_value_deprecation=True, specified_by_url=True))
    assert "Task" in {each["name"] for each in found["__schema"]["types"]}


def _documents(**changed: int) -> Documents:
    limits = {"depth": 10, "length": 32768, "tokens": 2000, "aliases": 30, "directives": 50}
    limits |= {"fields": 500, "cost": 20_000, **changed}
    return Documents(
        core(),
        Limits(**limits),
        introspection=True,
        suggestions=False,
        longest=300,
        kept=500,
        profiler=UNPROFILED,
    )


def test_documents_that_are_remembered_stay_within_their_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.graphql.documents._KEPT_SIZE", 1_000_000)
    documents = _documents()
    for number in range(20):
        documents.read("{ viewer {" + "user scope " * 60 + "} } #" + str(number))
    assert 0 < len(documents._known) < 20
    # What is no document is not remembered: it would push out those that are.
    assert documents.read("{ nothing }").errors
    assert "{ nothing }" not in documents._known


@pytest.mark.parametrize(
    ("limit", "document", "code"),
    [
        ("depth", "{ tasks { nodes { id } } }", "too_deep"),
        ("length", "{ viewer { user } }", "too_long"),
        ("tokens", "{ viewer { user } }", "too_many_tokens"),
        ("aliases", "{ a: viewer { b: user c: scope } }", "too_many_aliases"),
        (
            "directives",
            "{ viewer { user @skip(if: false) scope @skip(if: false) } a @skip(if: false) }",
            "too_many_directives",
        ),
        ("fields", "{ viewer { user scope } }", "too_wide"),
    ],
)
def test_each_limit_is_its_number(limit: str, document: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        _documents(**{limit: 2}).read(document)
    assert refused.value.code == code
    _documents(**{limit: len(document)}).read(document)


def test_whatever_fits_the_schema_is_answered_without_a_fault(graph: Graph) -> None:
    schema = schemathesis.graphql.from_file(sdl())
    strategy = schema.as_strategy()

    @seed(20260131)
    @given(case=strategy)
    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        reply = graph.send(body=json.dumps({"query": case.body}).encode())
        assert reply.status < 500, case.body
        assert "internal" not in reply.codes, (case.body, reply.body)

    ask()

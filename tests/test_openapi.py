"""The OpenAPI description is what the service does: schemathesis sends what it allows and what it
does not, and every answer has to be one that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving import Service

#: What would end the service, what does not end by itself, and what takes its time.
LEFT_OUT = {
    ("POST", "/api/v3/backups/restore"),
    ("GET", "/api/v3/logger/follow"),
    ("GET", "/api/v3/sse/live-metrics"),
    ("POST", "/api/v3/profiler/profile"),
    ("POST", "/api/v3/backups/create"),
}


def no_fault(ctx: Any, response: Any, case: Any) -> bool | None:
    """A source that does not answer is a 502; a fault of ours is none of what may be."""
    assert response.status_code != 500, response.text
    return None


CHECKS = (
    no_fault,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
EXAMPLES = 6  # requests for each operation


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all: each operation meets what those before it left."""
    it = Service(tmp_path_factory.mktemp("openapi"))
    it.env |= {"DASHBOARD_SECURITY__RATE_LIMIT": "false", "EGRESS_ALLOW": ""}
    with it:
        yield it


def test_every_answer_is_one_that_the_description_names(service: Service) -> None:
    token = (service.data / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    described: dict[str, Any] = requests.get(
        f"{service.url}/api/v3/openapi.json", headers=headers, timeout=20
    ).json()
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=service.url)
    wrong, asked = [], 0
    with requests.Session() as session:
        session.headers.update(headers)
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            if (operation.method.upper(), operation.path) in LEFT_OUT:
                continue
            asked += 1
            problem = _tried(operation, session)
            if problem is not None:
                wrong.append(f"{operation.method.upper()} {operation.path}: {problem}")
    assert wrong == []
    assert asked > 60
    assert "Traceback" not in service.log


def _tried(operation: Any, session: requests.Session) -> str | None:
    """What was wrong with an answer, if anything."""

    @hypothesis.seed(6)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.query = {**(case.query or {})}
        case.query.pop("wait", None)
        response = case.call(session=session, timeout=20)
        case.validate_response(response, checks=CHECKS)

    try:
        ask()
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - told together
        return str(error)[:900]
    return None

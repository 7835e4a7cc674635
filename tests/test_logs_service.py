"""The log of a real service: what it writes, how it is read, and what it outlives."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator

import pytest

from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Resource
from tests.serving import Json, Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs."""
    with Service(tmp_path_factory.mktemp("logs") / "s", RETRY_ATTEMPTS="1") as service:
        yield service


def lines(service: Service, **query: object) -> list[Json]:
    """The newest lines, the newest first."""
    found: list[Json] = service.client.get("/logger/recent-logs", **query)["items"]
    return found


def kept(service: Service) -> list[Json]:
    """The lines in the files, oldest first."""
    files = sorted((service.data / "logs").glob("mltb-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_task_has_its_lines(service: Service, http_server: HttpServer) -> None:
    url = http_server.add("/x.bin", Resource(Generated(10_000, seed=1)))
    task = service.fetch(url)
    found = lines(service, task=task["id"])
    kinds = [line["message"] for line in reversed(found)]
    assert kinds[0] == "task.submitted"
    assert kinds[-1] == "task.done"
    assert {line["task"] for line in found} == {task["id"]}
    assert all(line["request"] is None for line in found[:-1])
    # The request that brought the task has a line of its own, with the same id.
    request = found[-1]["request"]
    posted = lines(service, request=request)
    assert [line["message"] for line in posted] == ["POST /api/v3/tasks", "task.submitted"]


def test_the_files_are_for_their_user_alone(service: Service) -> None:
    directory = service.data / "logs"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

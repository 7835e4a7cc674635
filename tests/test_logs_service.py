"""The log of a real service: what it writes, how it is read, and what it outlives."""

from __future__ import annotations

import http.client
import json
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.errors import MltbError
from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Resource
from tests.serving import PATIENCE, Json, Service, eventually


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
    # The request that brought the task has a line of its own, with the same id, and so has the
    # record of what was changed.
    request = found[-1]["request"]
    posted = lines(service, request=request)
    assert [line["message"] for line in posted] == [
        "POST /api/v3/tasks",
        "admin POST /api/v3/tasks: 201",
        "task.submitted",
    ]


def test_the_files_are_for_their_user_alone(service: Service) -> None:
    directory = service.data / "logs"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def _connection(service: Service) -> http.client.HTTPConnection:
    parts = urlsplit(service.url)
    assert parts.hostname is not None
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)


def _asked(service: Service, request: str | None) -> str:
    """The id that the answer to a request has."""
    headers = {} if request is None else {"X-Request-ID": request}
    with closing(_connection(service)) as connection:
        connection.request("GET", "/api/v3/nothing", headers=headers)
        answer = connection.getresponse()
        answer.read()
        found = answer.getheader("X-Request-ID")
    assert found is not None
    return found


def _told(service: Service, request: str) -> list[Json]:
    """The lines of a request; the last is written after its answer."""
    eventually(lambda: bool(lines(service, request=request)), lambda: service.log)
    return lines(service, request=request)


def test_an_answer_tells_the_id_of_its_lines(service: Service) -> None:
    request = _asked(service, None)
    (line,) = _told(service, request)
    assert line["message"] == "GET /api/v3/nothing"
    assert line["fields"]["status"] == 404
    assert _asked(service, "from-a-proxy-17") == "from-a-proxy-17"
    assert _asked(service, None) != request


@pytest.mark.parametrize("hostile", ["x" * 500, "a b", '"};rm', "<script>", "\x9b31m"])
def test_a_hostile_id_is_not_taken(service: Service, hostile: str) -> None:
    found = _asked(service, hostile)
    assert found != hostile
    assert found.isalnum()


def test_who_may_read_lines(service: Service) -> None:
    for scope, status in (("view", 403), ("operate", 403), ("admin", 200)):
        made = service.client.post("/tokens", {"name": "t", "scope": scope})
        with closing(_connection(service)) as connection:
            headers = {"Authorization": f"Bearer {made['secret']}"}
            connection.request("GET", "/api/v3/logger/recent-logs", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            connection.request("GET", "/api/v3/logger/stats", headers=headers)
            stats = json.loads(connection.getresponse().read())
        assert stats["enabled"] is True
        assert stats["files"] >= 1
        assert stats["bytes"] > 0
        assert stats["dropped"] == 0


def test_secrets_of_a_submission_are_not_in_the_files(
    service: Service, http_server: HttpServer
) -> None:
    url = http_server.add("/secret.bin", Resource(Generated(100, seed=2)))
    source = url.replace("://", "://ann:hunter22@") + "?token=s3cr3t-t0ken"
    service.fetch(source, options={"headers": {"Authorization": "Bearer abcdef123456"}})
    text = "".join(path.read_text() for path in (service.data / "logs").iterdir())
    assert "secret.bin" in text
    for secret in ("hunter22", "s3cr3t-t0ken", "abcdef123456"):
        assert secret not in text
        assert secret not in service.log


def test_lines_outlive_a_kill(tmp_path: Path) -> None:
    service = Service(tmp_path / "s")
    with service:
        request = _asked(service, None)
        _told(service, request)
        service.kill()
        assert request in {line["request"] for line in kept(service)}
        service.start()
        assert lines(service, request=request)[0]["message"] == "GET /api/v3/nothing"
        before = service.run("logs", "--request", request, "--json").lines
        service.terminate()
        after = service.run("logs", "--request", request, "--json").lines
        assert before == after
        assert before[0]["request"] == request


def test_a_disk_without_room_for_lines_stops_nothing(
    tmp_path: Path, http_server: HttpServer
) -> None:
    """The service goes on where a file can't grow: lines are dropped, counted and told."""
    service = Service(tmp_path / "s", file_size=2 << 20, LOG_MAX_SIZE="64M", LOG_LEVEL="debug")
    logs = service.data / "logs"
    logs.mkdir(parents=True, mode=0o700)
    (logs / "mltb-00000001.jsonl").write_bytes(b"{}\n" * ((2 << 20) // 3 - 300))
    with service:
        url = http_server.add("/full.bin", Resource(Generated(1000, seed=3)))
        assert service.fetch(url)["state"] == "done"
        eventually(
            lambda: service.client.get("/logger/stats")["dropped"] > 0,
            lambda: str(service.client.get("/logger/stats")),
        )
        assert service.terminate() == 0
    assert "takes no lines" in service.log
    assert "could not be written" in service.log


def test_who_follows_is_let_go_when_the_service_stops(tmp_path: Path) -> None:
    with Service(tmp_path / "s") as service, closing(_connection(service)) as connection:
        token = service.client.post("/tokens", {"name": "t", "scope": "admin"})["secret"]
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("GET", "/api/v3/logger/follow", headers=headers)
        answer = connection.getresponse()
        assert answer.getheader("Content-Type", "").startswith("text/event-stream")
        assert answer.readline() == b": following\n"
        request = _asked(service, None)
        told: list[str] = []
        while not told or request not in told[-1]:
            line = answer.readline().decode()
            assert line
            if line.startswith("data: "):
                told.append(line)
        assert json.loads(told[-1].removeprefix("data: "))["message"] == "GET /api/v3/nothing"
        assert service.terminate() == 0
        assert answer.read() is not None


def test_a_wrong_question_says_what_is_allowed(service: Service) -> None:
    for query in ({"level": "loud"}, {"limit": 0}, {"cursor": "x"}, {"since": "yesterday"}):
        with pytest.raises(MltbError):
            service.client.get("/logger/recent-logs", **query)

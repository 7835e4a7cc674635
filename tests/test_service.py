"""The service as its user meets it: what it does with bad input, limits, signals and neighbours."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from bot.cli.client import ServiceError
from tests.archives import zipped
from tests.servers.behaviours import Gate, Gated, Misdeclared
from tests.servers.headers import HOSTILE_NAMES, named
from tests.servers.http import HttpServer
from tests.servers.message import Route
from tests.servers.rclone import Serve, write_config
from tests.servers.routes import MIB, Generated, Literal, Redirect, Resource, Status
from tests.servers.tls import Authority
from tests.servers.torrent import Swarm, make_torrent
from tests.serving import Json, Service, hidden, sha256, visible

_SMALL = Generated(10_000, seed=1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all that goes wrong without harm to it; impatient, so that failures come soon."""
    directory = tmp_path_factory.mktemp("service")
    with Service(
        directory / "s",
        RETRY_ATTEMPTS="2",
        HTTP_STALL_TIMEOUT="3",
        TORRENT_STALL_TIMEOUT="2",
        RCLONE_CONFIG=str(write_config(directory / "rclone.conf", {})),
    ) as service:
        yield service


@pytest.fixture
def target(service: Service, request: pytest.FixtureRequest) -> Path:
    """A directory of its own below DOWNLOAD_DIR; not made yet."""
    return service.files / str(abs(hash(request.node.nodeid)))


def refused(service: Service, source: str, **body: Any) -> ServiceError:
    """The answer to a submission that is not taken."""
    before = service.client.get("/tasks", limit=1)["items"]
    with pytest.raises(ServiceError) as caught:
        service.mirror(source, **body)
    assert service.client.get("/tasks", limit=1)["items"] == before, "it was stored"
    return caught.value


def failed(service: Service, task: Json, target: Path | None = None) -> Json:
    """Why the task failed; once it is deleted, nothing of it is left."""
    found = service.until(task)
    assert found["state"] == "failed", found
    error: Json = found["error"]
    assert error["message"]
    service.client.delete(f"/tasks/{task['id']}")
    mine = [path for path in hidden([service.files]) if task["id"] in str(path)]
    assert mine == []
    if target is not None:
        assert not target.exists()
    return error


# Links that are none


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("just words", "unsupported"),
        ("http://", "unsupported"),
        ("http://[::1", "unsupported"),
        ("http://example.org:99999/x", "unsupported"),
        ("gopher://example.org/x", "unsupported"),
        ("file:///etc/passwd", "unsupported"),
        ("/etc/passwd", "unsupported"),
        ("magnet:?dn=nothing", "unsupported"),
        ("http://example.org/a\nb", "invalid_input"),
    ],
)
def test_a_source_that_is_none_is_refused_at_once(service: Service, source: str, code: str) -> None:
    answer = refused(service, source)
    assert answer.name == code
    assert answer.hint
    assert answer.problem["status"] == 422


@pytest.mark.parametrize("to", ["/etc", "/", "relative/path", "../..", "{files}/../../etc"])
def test_a_destination_outside_of_the_roots_is_refused(service: Service, to: str) -> None:
    answer = refused(service, "http://127.0.0.1:1/x", to=to.format(files=service.files))
    assert answer.name in {"policy", "unsupported"}
    assert answer.hint


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", ".bashrc", "..", " "])
def test_a_name_that_is_a_path_is_refused(service: Service, name: str) -> None:
    answer = refused(service, "http://127.0.0.1:1/x", options={"name": name})
    assert answer.name == "policy"


# Names that servers give


# A NUL is no part of a header: that answer is refused, see below.
@pytest.mark.parametrize("kind", sorted(HOSTILE_NAMES.keys() - {"nul"}))
def test_whatever_the_server_calls_it_it_lands_in_the_destination(
    service: Service, http_server: HttpServer, target: Path, kind: str
) -> None:
    url = http_server.add("/x.bin", named(Resource(_SMALL), HOSTILE_NAMES[kind]))
    task = service.fetch(url, target)
    assert task["state"] == "done", task["error"]
    path = Path(task["path"])
    assert path.parent == target
    assert not path.name.startswith(".")
    assert len(os.fsencode(path.name)) <= 255
    assert sha256(path) == _SMALL.sha256


def test_a_name_of_300_characters_is_shortened_before_its_extension(
    service: Service, http_server: HttpServer, target: Path
) -> None:
    task = service.fetch(http_server.add(f"/{'n' * 300}.tar.gz", Resource(_SMALL)), target)
    name = Path(task["path"]).name
    assert (task["state"], len(name), name[-9:]) == ("done", 255, "nn.tar.gz")


@pytest.mark.parametrize("letter", ["n", "é", "€"])
def test_a_wished_name_of_255_characters_fits(
    service: Service, http_server: HttpServer, target: Path, letter: str
) -> None:
    url = http_server.add("/x", Resource(_SMALL))
    task = service.fetch(url, target, options={"name": letter * 251 + ".bin"})
    assert task["state"] == "done", task["error"]
    name = Path(task["path"]).name
    assert len(os.fsencode(name)) in range(252, 256)
    assert name.endswith(f"{letter}.bin")


# Servers


@pytest.mark.parametrize(
    ("route", "code", "told"),
    [
        (Status(404), "source_not_found", "404"),
        (Status(410), "source_not_found", "410"),
        (Status(403), "unauthorised", "403"),
        (Status(503), "refused", "503"),
        (named(Resource(_SMALL), HOSTILE_NAMES["nul"]), "refused", "NUL"),
        (Redirect("/x"), "unsupported", "circle"),
        (Redirect("gopher://example.org/"), "unsupported", "gopher"),
        (Redirect("file:///etc/passwd"), "unsupported", "file"),
        (Misdeclared(Resource(_SMALL), 5000), "network", "5000 bytes missing"),
        (Misdeclared(Resource(_SMALL), -5000), "corrupt", "5000"),
    ],
)
def test_servers_that_do_not_give_what_they_should(
    service: Service, http_server: HttpServer, target: Path, route: Route, code: str, told: str
) -> None:
    task = service.mirror(http_server.add("/x", route), target)
    error = failed(service, task, target)
    assert error["code"] == code, error
    assert told in error["message"], error


@pytest.mark.parametrize("wrong", ["untrusted", "expired", "wrong_host"])
def test_a_certificate_that_does_not_verify(
    service: Service, authority: Authority, target: Path, wrong: str
) -> None:
    with HttpServer(tls=getattr(authority, wrong)()) as server:
        task = service.mirror(server.content("/x.bin", 1000), target)
        error = failed(service, task, target)
        assert error["code"] == "policy", error
        assert "certificate" in error["message"].lower(), error
        assert server.seen.requests() == []


def test_a_checksum_that_does_not_fit(
    service: Service, http_server: HttpServer, target: Path
) -> None:
    url = http_server.add("/x", Resource(_SMALL))
    task = service.mirror(url, target, options={"checksum": f"sha256:{'0' * 64}"})
    error = failed(service, task, target)
    assert (error["code"], error["stage"]) == ("corrupt", "fetch")
    assert _SMALL.sha256 in error["message"]


def test_a_torrent_without_peers_says_what_was_tried(
    service: Service, http_server: HttpServer, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone.bin").write_bytes(b"nobody has this")
    torrent = make_torrent(tmp_path / "alone.bin", trackers=(http_server.url("/announce"),))
    error = failed(service, service.mirror(torrent.magnet(), target), target)
    assert error["code"] == "network", error
    assert "peers" in error["message"], error
    assert "Not Found" in error["message"], "the tracker's answer is the reason"


# Destinations


@pytest.mark.parametrize(
    ("arguments", "password", "code"),
    [(("--read-only",), Serve.password, "refused"), ((), "wrong", "unauthorised")],
)
def test_a_remote_that_refuses(
    tmp_path: Path, http_server: HttpServer, arguments: tuple[str, ...], password: str, code: str
) -> None:
    root, config = tmp_path / "dav", tmp_path / "rclone.conf"
    root.mkdir()
    with Serve("webdav", root, arguments=arguments) as served:
        served.password = password
        served.write_config(config, "dav")
        with Service(tmp_path / "s", RCLONE_CONFIG=str(config), RETRY_ATTEMPTS="1") as service:
            for stream in (True, False):
                url = http_server.content(f"/{stream}.bin", 1000)
                task = service.mirror(url, "dav:", options={"stream": stream})
                error = failed(service, task)
                assert error["code"] == code, error
                assert error["stage"] == "deliver"
                assert "dav:" in error["message"], error
            assert list(root.iterdir()) == []


def test_a_remote_that_nobody_configured(service: Service, http_server: HttpServer) -> None:
    task = service.mirror(http_server.content("/x.bin", 1000), "nowhere:x")
    error = failed(service, task)
    assert (error["code"], error["stage"]) == ("unsupported", "deliver"), error
    assert "nowhere" in error["message"], error


def test_a_file_where_the_destination_should_be(
    service: Service, http_server: HttpServer, target: Path
) -> None:
    target.parent.mkdir(exist_ok=True)
    target.write_text("mine")
    error = failed(service, service.mirror(http_server.content("/x.bin", 1000), target))
    assert error["code"] == "policy", error
    assert str(target) in error["message"]
    assert target.read_text() == "mine"


# Limits of the system


@pytest.mark.skipif(sys.platform != "linux", reason="psutil reads limits on Linux")
def test_a_low_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    with Service(tmp_path / "s", open_files=200) as service:
        process = psutil.Process(service.process_now.pid)
        soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard != 200


# A full disk


def test_a_disk_that_is_full_in_the_middle(tmp_path: Path, http_server: HttpServer) -> None:
    """The task fails with the reason; with room again, it goes on from what is there."""
    url = http_server.add("/x.bin", Resource(Generated(12 * MIB, 1)))
    with Service(tmp_path / "s", file_size=6 * MIB) as service:
        task = service.mirror(url, options={"segments": 1})
        found = service.until(task)
        assert found["state"] == "failed"
        assert found["error"]["code"] == "no_space", found["error"]
        assert "free" in found["error"]["message"]
        assert visible(service.files) == []
        assert service.fetch(http_server.content("/small.bin", 1000))["state"] == "done"
        assert service.terminate() == 0
        service.file_size = 0
        service.start()
        service.client.post(f"/tasks/{task['id']}/retry")
        done = service.until(task)
        assert (done["state"], done["sha256"]) == ("done", Generated(12 * MIB, 1).sha256)
        starts = [seen.offset for seen in http_server.seen.requests("/x.bin", "GET")]
        assert starts[-1] >= 5 * MIB, "what was there was fetched again"
        service.expect_clean()


def test_a_disk_that_is_full_for_a_step_or_a_torrent(
    tmp_path: Path, http_server: HttpServer
) -> None:
    made = Generated(9 * MIB, 3)
    shared = tmp_path / "big.bin"
    shared.write_bytes(made.data())
    sparse = b"".join(Generated(32, n).data() + bytes(992) for n in range(9 * 1024))
    archive = zipped({"one.bin": sparse, "two.bin": sparse})
    packed = http_server.add("/x.zip", Resource(Literal(archive)))
    with Swarm(shared) as swarm, Service(tmp_path / "s", file_size=4 * MIB) as service:
        tasks = [
            service.mirror(packed, steps=[{"name": "extract"}]),
            service.mirror(swarm.torrent_url),
        ]
        for task in tasks:
            error = failed(service, task)
            assert error["code"] == "no_space", error
        assert visible(service.files) == []
        service.expect_clean()


def test_a_task_that_can_never_fit_fails_with_the_figures(
    tmp_path: Path, http_server: HttpServer
) -> None:
    with Service(tmp_path / "s", DISK_RESERVE="900T", DISK_WAIT="0") as service:
        error = failed(service, service.mirror(http_server.content("/x.bin", 5000)))
        assert error["code"] == "no_space"
        assert "5000 bytes" in error["message"]
        assert "DISK_RESERVE" in error["hint"]
        assert http_server.seen.bytes_sent("/x.bin") == 0


# Egress


def test_private_addresses_are_refused_by_default(tmp_path: Path, http_server: HttpServer) -> None:
    (tmp_path / "x.bin").write_bytes(b"x" * 1000)
    magnet = make_torrent(tmp_path / "x.bin", trackers=(http_server.url("/announce"),)).magnet(
        f"127.0.0.1:{http_server.port}"
    )
    port = http_server.port
    links = [
        http_server.content("/x.bin", 1000),
        f"http://localhost:{port}/x.bin",
        f"http://2130706433:{port}/x.bin",
        f"http://0x7f.1:{port}/x.bin",
        f"http://[::ffff:127.0.0.1]:{port}/x.bin",
        f"ftp://127.0.0.1:{port}/x.bin",
        f"{http_server.url('/x.torrent')}",
    ]
    with Service(
        tmp_path / "s", EGRESS_ALLOW="", RETRY_ATTEMPTS="1", TORRENT_STALL_TIMEOUT="2"
    ) as service:
        for link in links:
            assert failed(service, service.mirror(link))["code"] == "policy", link
        page = service.mirror(http_server.url("/watch"), options={"engine": "ytdlp"})
        assert failed(service, page)["code"] == "policy"
        error = failed(service, service.mirror(magnet))
        assert error["code"] in {"policy", "network"}, error
    assert http_server.seen.connections == 0


def test_what_is_allowed_leads_nowhere_else(tmp_path: Path, http_server: HttpServer) -> None:
    """Redirects, trackers, peers, web seeds and pages: each address is asked about by itself."""
    (tmp_path / "x.bin").write_bytes(b"x" * 100_000)
    with HttpServer(host="127.0.0.2") as other:
        torrent = make_torrent(
            tmp_path / "x.bin",
            trackers=(other.url("/announce"),),
            web_seeds=(other.content("/x.bin", 100_000),),
        )
        video = f"<html><video src='{other.url('/video.mp4')}'></video></html>"
        http_server.add("/page", Resource(Literal(video.encode()), "text/html"))
        http_server.add("/x.torrent", Resource(Literal(torrent.data)))
        http_server.add("/there", Redirect(other.url("/x.bin")))
        http_server.add("/t.torrent", Redirect(other.url("/t.torrent")))
        peer = f"127.0.0.2:{other.port}"
        cases: list[tuple[str, Json, set[str]]] = [
            (http_server.url("/there"), {}, {"policy"}),
            (http_server.url("/t.torrent"), {}, {"policy"}),
            (http_server.url("/x.torrent"), {}, {"network", "policy"}),
            (torrent.magnet(peer), {}, {"network", "policy"}),
            (http_server.url("/page"), {"engine": "ytdlp"}, {"policy"}),
        ]
        with Service(tmp_path / "s", RETRY_ATTEMPTS="1", TORRENT_STALL_TIMEOUT="2") as service:
            for link, options, codes in cases:
                error = failed(service, service.mirror(link, options=options))
                assert error["code"] in codes, (link, error)
        assert other.seen.connections == 0


# Neighbours and signals


def test_two_services_do_not_share_a_directory(tmp_path: Path) -> None:
    with Service(tmp_path / "s") as service:
        second = service.run("serve")
        assert second.status == 2
        assert str(service.data) in second.err
        assert "DATA_DIR" in second.err
        assert service.client.get("/tasks")["items"] == []


def test_a_port_that_is_taken(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path / "s")
    ran = service.run("serve", "--port", str(http_server.port))
    assert ran.status == 2
    assert f"127.0.0.1:{http_server.port}" in ran.err
    assert "WEB_PORT" in ran.err
    assert "Traceback" not in ran.err
    with service:
        assert service.client.get("/tasks")["items"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_next_start_goes_on(
    tmp_path: Path, http_server: HttpServer, number: signal.Signals
) -> None:
    gate, made = Gate(), Generated(4 * MIB, 5)
    url = http_server.add("/x.bin", Gated(Resource(made), gate, MIB))
    with Service(tmp_path / "s") as service:
        task = service.mirror(url, options={"segments": 1})
        service.until_checkpoint(task)
        assert service.terminate(number) == 0
        service.expect_no_children()
        assert visible(service.files) == []
        gate.open()
        service.start()
        assert service.until(task)["sha256"] == made.sha256
        assert http_server.seen.repeated("/x.bin") == 0
        assert "Traceback" not in service.log


def test_the_link_that_it_prints_leads_in(tmp_path: Path) -> None:
    with Service(tmp_path / "s") as service:
        link = urlsplit(service.greeting[0].partition(": ")[2])
        token = link.fragment.removeprefix("token=")
        for path, headers, status in (
            ("/", {}, 307),
            ("/api/v3/dashboard", {}, 200),
            ("/healthz", {}, 200),
            ("/readyz", {}, 200),
            ("/api/v3/tasks", {}, 401),
            ("/api/v3/tasks", {"Authorization": f"Bearer {token}"}, 200),
        ):
            assert link.port is not None
            connection = http.client.HTTPConnection("127.0.0.1", link.port, timeout=20)
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().status == status, path
            connection.close()


# Limits, pauses, ends


def test_limits_of_the_service_and_of_a_task(tmp_path: Path, http_server: HttpServer) -> None:
    """A limit makes it last as long as it has to, at least; longer on a busy machine."""
    with Service(tmp_path / "s", BANDWIDTH_LIMIT="4M") as service:
        whole = service.mirror(http_server.content("/a.bin", 6 * MIB))
        own = service.mirror(http_server.content("/b.bin", MIB), options={"limit": MIB // 2})
        for task, least in ((whole, 1.0), (own, 1.4)):
            found = service.until(task)
            assert found["state"] == "done"
            assert found["stages"][0]["seconds"] >= least


def test_pause_and_resume(service: Service, http_server: HttpServer, target: Path) -> None:
    gate, made = Gate(), Generated(3 * MIB, 6)
    url = http_server.add("/x.bin", Gated(Resource(made), gate, MIB))
    task = service.mirror(url, target, options={"segments": 1})
    service.until_checkpoint(task)
    assert service.client.post(f"/tasks/{task['id']}/pause")["state"] == "paused"
    http_server.seen.wait_for(lambda seen: seen.open_connections == 0)
    gate.open()
    assert service.task(task)["state"] == "paused"
    service.client.post(f"/tasks/{task['id']}/resume")
    done = service.until(task)
    assert (done["state"], done["sha256"]) == ("done", made.sha256)
    assert http_server.seen.repeated("/x.bin") == 0


@pytest.mark.parametrize("when", ["queued", "running", "paused"])
def test_cancelling_leaves_nothing(
    service: Service, http_server: HttpServer, target: Path, when: str
) -> None:
    url = http_server.add("/x.bin", Gated(Resource(Generated(3 * MIB, 6)), Gate(), MIB))
    later = {"start_at": "2100-01-01T00:00:00Z"} if when == "queued" else {}
    task = service.mirror(url, target, **later)
    if when != "queued":
        service.until_checkpoint(task)
    if when == "paused":
        service.client.post(f"/tasks/{task['id']}/pause")
    assert service.client.post(f"/tasks/{task['id']}/cancel")["state"] == "cancelled"
    assert not target.exists()
    assert [path for path in hidden([service.files]) if task["id"] in str(path)] == []
    http_server.seen.wait_for(lambda seen: seen.open_connections == 0)

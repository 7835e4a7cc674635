"""What was delivered, compared with its receipts long after, by a real service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bot.cli.client import ServiceError
from tests.servers.http import HttpServer
from tests.servers.rclone import Serve, write_config
from tests.servers.routes import Generated, Resource
from tests.serving import Json, Service, sha256, visible

_KINDS = ("webdav", "s3")
# What is written lies on the disk at once.
_AT_ONCE = ("--vfs-write-back", "0s")


@pytest.fixture(scope="module")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The directories behind ``dav:`` and ``s3:bucket``, and the rclone.conf."""
    base = tmp_path_factory.mktemp("remotes")
    roots = {kind: base / kind for kind in _KINDS}
    (roots["s3"] / "bucket").mkdir(parents=True)
    roots["webdav"].mkdir()
    with ExitStack() as stack:
        sections = {
            kind: stack.enter_context(Serve(kind, root, arguments=_AT_ONCE)).section()  # type: ignore[arg-type]
            for kind, root in roots.items()
        }
        yield {**roots, "config": write_config(base / "rclone.conf", sections)}


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, remotes: dict[str, Path]
) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    with Service(directory, RCLONE_CONFIG=str(remotes["config"]), RETRY_ATTEMPTS="3") as service:
        yield service


def verify(service: Service, **body: Any) -> Json:
    """A check, once it is over."""
    check: Json = service.client.post("/recovery/verify-integrity", {"wait": 60, **body})
    assert check["status"] == "ok"
    assert check["state"] != "running"
    return check


def found(check: Json) -> dict[str, str]:
    """The condition of each path."""
    return {each["path"]: each["condition"] for each in check["first_findings"]}


def refetch(service: Service, check: Json, state: str = "done") -> None:
    """Fetch again what a check found wrong, to the end."""
    for finding in check["first_findings"]:
        body = {"check": check["id"], "finding": finding["number"]}
        task = service.client.post("/recovery/refetch", body)["task"]
        assert service.until(task)["state"] == state, task
        # Asked twice, the same task.
        assert service.client.post("/recovery/refetch", body)["task"]["id"] == task["id"]


def test_damage_is_found_and_fetched_again(
    tmp_path: Path, service: Service, http_server: HttpServer
) -> None:
    names = ["byte.bin", "short.bin", "gone.bin", "link.bin", "sound.bin"]
    made = {name: Generated(300_000, seed=name) for name in names}
    root = service.files / "damage"
    for name in names:
        http_server.add(f"/{name}", Resource(made[name]))
        assert service.fetch(http_server.url(f"/{name}"), root)["state"] == "done"
    assert verify(service, path=str(root))["wrong"] == 0
    outside = tmp_path / "outside"
    outside.write_bytes(made["link.bin"].data())
    with (root / "byte.bin").open("r+b") as file:
        file.seek(200_000)
        byte = file.read(1)
        file.seek(200_000)
        file.write(bytes([byte[0] ^ 1]))
    os.truncate(root / "short.bin", 299_999)
    (root / "gone.bin").unlink()
    (root / "link.bin").unlink()
    (root / "link.bin").symlink_to(outside)
    check = verify(service, path=str(root))
    assert found(check) == {
        str(root / "byte.bin"): "hash_differs",
        str(root / "short.bin"): "size_differs",
        str(root / "gone.bin"): "missing",
        str(root / "link.bin"): "unreadable",
    }
    assert (check["files"], check["wrong"], check["receipts"]) == (5, 4, 5)
    told = {each["condition"]: each for each in check["first_findings"]}
    assert told["hash_differs"]["expected"] == f"sha256:{made['byte.bin'].sha256}"
    assert told["hash_differs"]["found"] == f"sha256:{sha256(root / 'byte.bin')}"
    assert (told["size_differs"]["expected"], told["size_differs"]["found"]) == ("300000", "299999")
    refetch(service, check)
    assert visible(root) == sorted(names)
    assert {name: sha256(root / name) for name in names} == {n: m.sha256 for n, m in made.items()}
    assert not (root / "link.bin").is_symlink()
    assert outside.read_bytes() == made["link.bin"].data(), "it wrote through the link"
    after = verify(service, path=str(root))
    # The receipts of the damaged files speak for nothing any more.
    assert (after["wrong"], after["files"]) == (0, 5)


@pytest.mark.parametrize("kind", _KINDS)
def test_a_remote_is_compared_and_put_right(
    service: Service, remotes: dict[str, Path], http_server: HttpServer, kind: str
) -> None:
    to = "s3:bucket/kept" if kind == "s3" else "webdav:kept"
    root = remotes[kind] / ("bucket/kept" if kind == "s3" else "kept")
    made = {name: Generated(50_000, seed=f"{kind}{name}") for name in ("a.bin", "b.bin", "c.bin")}
    for name, content in made.items():
        http_server.add(f"/{kind}-{name}", Resource(content))
        done = service.fetch(http_server.url(f"/{kind}-{name}"), to, options={"name": name})
        assert done["path"] == f"{to}/{name}", done["error"]
    assert verify(service, path=to)["wrong"] == 0
    (root / "a.bin").write_bytes(made["a.bin"].data()[:-1] + b"?")
    (root / "b.bin").unlink()
    check = verify(service, path=to)
    assert found(check) == {f"{to}/a.bin": "hash_differs", f"{to}/b.bin": "missing"}
    assert check["files"] == 3
    refetch(service, check)
    assert {name: sha256(root / name) for name in made} == {n: m.sha256 for n, m in made.items()}
    assert verify(service, path=to)["wrong"] == 0


def test_a_source_that_changed_does_not_replace_anything(
    service: Service, http_server: HttpServer
) -> None:
    root = service.files / "changed"
    http_server.add("/doc.bin", Resource(Generated(9_000, seed="old")))
    assert service.fetch(http_server.url("/doc.bin"), root)["state"] == "done"
    (root / "doc.bin").write_bytes(b"what is left of it")
    http_server.add("/doc.bin", Resource(Generated(9_000, seed="new")))
    check = verify(service, path=str(root / "doc.bin"))
    refetch(service, check, "failed")
    assert (root / "doc.bin").read_bytes() == b"what is left of it"


def test_a_file_of_a_folder_under_a_chosen_name_is_found(
    service: Service, http_server: HttpServer
) -> None:
    root = service.files / "twice"
    for seed in ("first", "second"):
        http_server.add("/same.bin", Resource(Generated(8_000, seed=seed)))
        task = service.fetch(http_server.url("/same.bin"), root)
    other = sha256(root / "same.bin")
    second = Path(task["path"])
    assert second.name != "same.bin"
    second.unlink()
    check = verify(service, task=task["id"])
    assert found(check) == {str(second): "missing"}
    refetch(service, check)
    assert sha256(second) == task["sha256"]
    assert sha256(root / "same.bin") == other


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/etc/passwd", "policy"),
        ("{files}/../data/mltb.db", "policy"),
        ("{files}/out/passwd", "policy"),
        ("{files}/.mltb/x", "policy"),
        ("{files}/nul\0", "policy"),
    ],
)
def test_a_hostile_path_is_refused(service: Service, path: str, code: str) -> None:
    service.files.mkdir(exist_ok=True)
    link = service.files / "out"
    if not link.is_symlink():
        link.symlink_to("/etc")
    with pytest.raises(ServiceError) as caught:
        verify(service, path=path.format(files=service.files))
    assert caught.value.name == code


def test_a_path_without_a_receipt_is_unknown(service: Service) -> None:
    (service.files / "stranger.bin").write_bytes(b"x")
    for path in (str(service.files / "stranger.bin"), "webdav:nowhere", "::odd"):
        check = verify(service, path=path)
        assert found(check) == {path: "unknown"}
        assert (check["wrong"], check["undecided"], check["files"]) == (0, 1, 0)


def test_the_command_says_it_by_its_exit_status(service: Service, http_server: HttpServer) -> None:
    http_server.add("/told.bin", Resource(Generated(7_000, seed="told")))
    root = service.files / "told"
    task = service.fetch(http_server.url("/told.bin"), root)
    (root / "told.bin").unlink()
    ran = service.run("verify", task["id"], "--json", "--refetch")
    assert ran.status == 1
    finding, again, check = ran.lines
    assert (finding["condition"], check["state"], check["wrong"]) == ("missing", "done", 1)
    service.until(again["id"])
    assert service.run("verify", str(root)).status == 0
    assert "name one thing" in service.run("verify").err
    assert "after a clean stop" in service.run("recovery").out
    history = service.client.get("/recovery/history")["items"]
    assert check["id"] in {each["id"] for each in history}


def test_the_data_directory_is_sound_and_its_faults_are_found(service: Service) -> None:
    check = verify(service, data=True)
    assert check["first_findings"] == []
    assert service.client.get("/recovery/status")["data"]["id"] == check["id"]
    stray, readable = service.data / "state.json.part", service.data / "token"
    stray.touch(mode=0o600)
    os.utime(stray, (1, 1))
    readable.chmod(0o644)
    lost = service.files / ".mltb" / "0123456789abcdef"
    lost.mkdir(parents=True)
    try:
        check = verify(service, data=True)
    finally:
        readable.chmod(0o600)
        stray.unlink()
        lost.rmdir()
    assert found(check) == {str(stray): "stray", str(readable): "mode", str(lost): "dangling"}
    told = {each["condition"]: each for each in check["first_findings"]}
    assert (told["mode"]["expected"], told["mode"]["found"]) == ("0600", "0644")

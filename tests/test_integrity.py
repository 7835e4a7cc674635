"""What was delivered, compared with its receipts long after, by a real service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.servers.http import HttpServer
from tests.servers.rclone import Serve, write_config
from tests.servers.routes import Generated, Resource
from tests.serving import Json, Service, sha256, visible

_KINDS = ("webdav", "s3")


@pytest.fixture(scope="module")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The directories behind ``dav:`` and ``s3:bucket``, and the rclone.conf."""
    base = tmp_path_factory.mktemp("remotes")
    roots = {kind: base / kind for kind in _KINDS}
    (roots["s3"] / "bucket").mkdir(parents=True)
    roots["webdav"].mkdir()
    with ExitStack() as stack:
        sections = {
            kind: stack.enter_context(Serve(kind, root)).section()  # type: ignore[arg-type]
            for kind, root in roots.items()
        }
        yield {**roots, "config": write_config(base / "rclone.conf", sections)}


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, remotes: dict[str, Path]
) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    with Service(directory, RCLONE_CONFIG=str(remotes["config"]), RETRY_ATTEMPTS="1") as service:
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

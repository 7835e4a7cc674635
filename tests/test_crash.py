"""``kill -9`` at any moment, and a start: everything goes on, and ends as if nothing had been."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.crashing import MOMENTS, Workload
from tests.servers.behaviours import Gate, Gated, Throttled
from tests.servers.http import HttpServer
from tests.servers.rclone import Serve, write_config
from tests.servers.routes import MIB, Generated, Resource
from tests.servers.torrent import PIECE, Swarm
from tests.serving import Service, eventually, hidden, sha256, visible

_SHM = Path("/dev/shm")
_LIMIT = 2 * MIB  # bytes a second of the seed


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_kills(tmp_path: Path, http_server: HttpServer) -> None:
    seed = int(os.environ.get("CRASH_SEED") or random.randrange(1 << 32))
    sys.stdout.write(f"CRASH_SEED={seed}\n")  # shown when it fails; set it to draw the same again
    rng = random.Random(seed)
    shared = _shared(tmp_path / "swarm" / "set")
    gate = Gate()
    with ExitStack() as stack:
        # Where a disk is slow a connection pauses, and its two sockets take in megabytes that
        # nobody reads: to the server they look like bytes that came twice.
        quick = stack.enter_context(_memory_disk(tmp_path))
        service = Service(quick / "s", RCLONE_CONFIG=str(tmp_path / "rclone.conf"), MAX_ACTIVE="6")
        remotes = _remotes(quick, tmp_path / "rclone.conf", stack)
        swarm = stack.enter_context(Swarm(shared, limit=_LIMIT))
        stack.enter_context(service)
        work = Workload(service, http_server, remotes, rng)
        work.add_torrent(swarm, shared)
        paused = work.add_held(gate)
        service.client.post(f"/tasks/{paused}/pause")
        for moment in rng.sample(MOMENTS, len(MOMENTS)):
            while len(work.unfinished()) < 6:
                work.add()
            moment(work)
            work.kill()
            service.start()
        assert service.task(paused)["state"] == "paused"
        gate.open()
        service.client.post(f"/tasks/{paused}/resume")
        for task in work.wanted:
            service.until(task)
        work.check()
        work.check_bytes()
        assert service.terminate() == 0
        service.expect_no_children()


def _shared(root: Path) -> Path:
    root.mkdir(parents=True)
    for number, size in enumerate((3 * MIB, MIB, 100)):
        (root / f"{number}.bin").write_bytes(Generated(size, f"t{number}").data())
    return root


@contextmanager
def _memory_disk(otherwise: Path) -> Iterator[Path]:
    """A directory in memory, where there is room for it."""
    if not _SHM.is_dir() or shutil.disk_usage(_SHM).free < 2 << 30:
        yield otherwise
        return
    with TemporaryDirectory(dir=_SHM, prefix="mltb-test-") as name:
        yield Path(name)


def _remotes(directory: Path, config: Path, stack: ExitStack) -> dict[str, Path]:
    """A remote on this machine, one behind WebDAV and one behind S3, all in ``rclone.conf``: they
    rename, rename slowly, and do not rename at all."""
    disk, dav, bucket = directory / "disk", directory / "dav", directory / "s3" / "bucket"
    for root in (disk, dav, bucket):
        root.mkdir(parents=True)
    served = stack.enter_context(Serve("webdav", dav, arguments=("--vfs-write-back", "0s")))
    write_config(config, {"disk": {"type": "alias", "remote": str(disk)}})
    served.write_config(config, "dav")
    stack.enter_context(Serve("s3", bucket.parent)).write_config(config, "s3")
    return {"disk:": disk, "dav:": dav, "s3:bucket": bucket}


@pytest.mark.parametrize("segments", [1, 4])
def test_a_fetch_goes_on_from_the_byte_that_came_last(
    tmp_path: Path, http_server: HttpServer, segments: int
) -> None:
    """What was received lies in the file, and does not come again."""
    made, gate = Generated(24 * MIB, seed=segments), Gate()
    # Where a connection hands a part of its piece to another one, it reads on until it has hung up:
    # not fast, so that little is on the way then.
    held = Throttled(Gated(Resource(made), gate, MIB // 2), 8 * MIB)
    url = http_server.add("/file.bin", held)
    with Service(tmp_path / "s") as service:
        task = service.mirror(url, options={"segments": segments})
        service.until_checkpoint(task)
        arrived = segments * MIB // 2
        eventually(
            lambda: _received(service) >= arrived,
            lambda: f"{_received(service)} of {arrived} bytes",
        )
        service.kill()
        gate.open()
        service.start()
        done = service.until(task)
        assert (done["state"], done["sha256"]) == ("done", made.sha256)
        assert http_server.seen.repeated("/file.bin") <= (segments - 1) * MIB // 4
        service.expect_clean()


def _received(service: Service) -> int:
    """The bytes that half fetched files, which have holes, take on the disk."""
    parts = [path for path in hidden([service.files]) if path.name.endswith(".part")]
    return sum(part.stat().st_blocks * 512 for part in parts)


def test_a_torrent_goes_on_from_the_pieces_that_it_has(tmp_path: Path) -> None:
    shared = _shared(tmp_path / "swarm" / "set")
    with Swarm(shared, limit=_LIMIT) as swarm, Service(tmp_path / "s") as service:
        task = service.mirror(swarm.magnet)
        swarm.seed.wait_uploaded(2 * MIB)
        swarm.seed.drop_peers()
        left = time.time_ns()
        resume = service.data / "torrents"
        eventually(
            lambda: any(path.stat().st_mtime_ns > left for path in resume.glob("*.resume")),
            lambda: f"{sorted(resume.iterdir())}",
        )
        service.kill()
        swarm.seed.accept_peers()
        service.start()
        assert service.until(task)["state"] == "done"
        assert {name: sha256(service.files / "set" / name) for name in visible(shared)} == {
            name: sha256(shared / name) for name in visible(shared)
        }
        # The blocks that were on the way when the seed went away, and the pieces they are of.
        assert swarm.seed.stats().uploaded <= swarm.torrent.size + 16 * PIECE
        service.expect_clean()


def test_an_upload_that_has_its_name_is_not_made_again(
    tmp_path: Path, http_server: HttpServer
) -> None:
    """Killed when the file appears, before the journal says so, a stream arrives once."""
    with ExitStack() as stack:
        disk = _remotes(tmp_path, tmp_path / "rclone.conf", stack)["disk:"]
        service = stack.enter_context(
            Service(tmp_path / "s", RCLONE_CONFIG=str(tmp_path / "rclone.conf"))
        )
        tasks = {}
        for number in range(4):
            name = f"file-{number}.bin"
            tasks[name] = service.mirror(http_server.content(f"/{name}", MIB, number), "disk:")
            eventually((disk / name).exists, lambda: service.log)
            service.kill()
            service.start()
        assert [service.until(task)["state"] for task in tasks.values()] == ["done"] * 4
        assert visible(disk) == sorted(tasks)
        for number, name in enumerate(tasks):
            assert sha256(disk / name) == Generated(MIB, number).sha256
            assert http_server.seen.bytes_sent(f"/{name}") == MIB, "it was fetched again"
        service.expect_clean(disk, service.files)

"""The torrent engine against real peers, trackers and web seeds on loopback."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ports import DeliverJob, Fetched, FetchJob
from bot.domain.task import TaskOptions
from bot.engines.egress import EgressPolicy
from bot.engines.torrent import TorrentEngine
from bot.engines.torrent_job import failure_of
from bot.engines.torrent_source import DATA_PREFIX, Contents, Layout, hashes_of
from bot.errors import (
    Corrupt,
    InternalFailure,
    InvalidInput,
    NetworkFailed,
    NoSpace,
    PolicyRefused,
    Refused,
    SourceNotFound,
    Unsupported,
)
from tests.servers.http import HttpServer
from tests.servers.message import Request, Response
from tests.servers.routes import Generated, Literal, Resource
from tests.servers.torrent import Swarm, Torrent, TorrentSeed, Tracker, make_torrent

MIB = 1024 * 1024
LOOPBACK = ("127.0.0.1",)
#: The last address of a refused range, and the first after it.
EDGES = (
    *(
        "9.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.127.255.255",
    ),
    *(
        "100.128.0.0",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.15.255.255",
        "172.32.0.0",
    ),
    *("192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.17.0.0", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.1", "223.255.255.255", "224.0.0.1", "255.255.255.255", "8.8.8.8"),
    *("::", "::1", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "2000::1", "2001::1", "2001:db8::1"),
    *("2001:1ff:ffff::1", "2001:200::1", "2002:7f00:1::", "3ffe::1", "3fff::1", "2606:4700::1111"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "5f00::1", "fec0::1"),
)


@asynccontextmanager
async def _engine(
    state: Path,
    allow: tuple[str, ...] = LOOPBACK,
    torrent: bytes = b"",
    **options: Any,
) -> AsyncIterator[TorrentEngine]:
    async def fetch_torrent(url: str, _: TaskOptions) -> bytes:
        return torrent

    settings: dict[str, Any] = {
        "dht": False,
        "utp": False,
        "stall_timeout": 60.0,
        "interfaces": ("127.0.0.1",),
        **options,
    }
    engine = TorrentEngine(EgressPolicy(allow), state, fetch_torrent=fetch_torrent, **settings)
    try:
        yield engine
    finally:
        await engine.close()


def _job(
    source: str, directory: Path, options: TaskOptions | None = None, **more: Any
) -> tuple[FetchJob, list[dict[str, Any]]]:
    tokens: list[dict[str, Any]] = []

    async def checkpoint(token: dict[str, Any]) -> None:
        tokens.append(token)

    directory.mkdir(exist_ok=True)
    fields = {"id": "job", "token": None, **more}
    return FetchJob(
        source=source,
        directory=directory,
        options=options or TaskOptions(),
        checkpoint=checkpoint,
        **fields,
    ), tokens


def _inline(torrent: Torrent) -> str:
    return DATA_PREFIX + base64.b64encode(torrent.data).decode()


def _tree(directory: Path) -> dict[str, str]:
    """The SHA-256 of everything below, by path."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if not path.is_dir()
    }


def _same(fetched: Fetched, directory: Path) -> bool:
    return {file.path: file.sha256 for file in fetched.files} == _tree(directory)


async def _until(reached: Callable[[], object], what: str) -> None:
    for _ in range(6000):
        if reached():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never came: {what}")


def _big(root: Path, size: int = 8 * MIB) -> Path:
    """A single file, long enough to be interrupted."""
    root.mkdir(exist_ok=True)
    path = root / "big.bin"
    path.write_bytes(Generated(size, "big").data())
    return path


# Fetching


async def test_magnet_is_planned_and_fetched(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state") as engine:
        plan = await engine.plan(swarm.magnet, TaskOptions())
        assert (plan.name, plan.size, plan.resumable) == ("set", 3_000_003, True)
        assert sorted((file.path, file.size) for file in plan.files) == [
            ("a.bin", 1_000_000),
            ("b.bin", 1_000_001),
            ("sub/c.bin", 1_000_002),
        ]
        assert plan.identity == f"btih:{swarm.torrent.info_hash}"
        job, tokens = _job(swarm.magnet, tmp_path / "got")
        fetched = await engine.fetch(job)
    assert fetched.name == "set"
    assert _tree(job.directory) == _tree(tmp_path / "swarm" / "set")
    assert _same(fetched, job.directory)
    assert tokens[0]["identity"] == plan.identity


async def test_url_of_a_torrent_file(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state", torrent=swarm.torrent.data) as engine:
        assert engine.accepts(swarm.torrent_url)
        job, _ = _job(swarm.torrent_url, tmp_path / "got")
        assert _same(await engine.fetch(job), job.directory)
    assert _tree(job.directory) == _tree(tmp_path / "swarm" / "set")


@pytest.mark.parametrize("version", ["v2", "hybrid"])
async def test_magnets_of_version_2(version: Any, tmp_path: Path) -> None:
    root = tmp_path / "swarm" / "two"
    root.mkdir(parents=True)
    for name in ("x", "y"):
        (root / name).write_bytes(Generated(300_000, name).data())
    with Swarm(root, version=version) as swarm:
        async with _engine(tmp_path / "state") as engine:
            job, _ = _job(swarm.magnet, tmp_path / "got")
            assert _same(await engine.fetch(job), job.directory)
    assert _tree(job.directory) == _tree(root)


async def test_selection_leaves_nothing_else(swarm: Swarm, tmp_path: Path) -> None:
    source = _inline(swarm.torrent)
    async with _engine(tmp_path / "state") as engine:
        plan = await engine.plan(source, TaskOptions())
        middle = next(file for file in plan.files if file.path == "b.bin")
        options = TaskOptions(select=[middle.index])
        assert (await engine.plan(source, options)).size == middle.size
        job, _ = _job(source, tmp_path / "got", options)
        fetched = await engine.fetch(job)
    assert [file.path for file in fetched.files] == ["b.bin"]
    assert _same(fetched, job.directory)
    assert swarm.seed.stats().uploaded < 2_000_000
    # The pieces that the file shares with its neighbours are gone too.
    assert not list((tmp_path / "state").rglob("*.parts"))


async def test_selection_of_a_file_that_is_not_there(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state") as engine:
        with pytest.raises(SourceNotFound, match="no file with the index 7"):
            await engine.plan(_inline(swarm.torrent), TaskOptions(select=[0, 7]))
        with pytest.raises(Corrupt, match="no file of the torrent is selected"):
            await engine.plan(_inline(swarm.torrent), TaskOptions(select=[]))


async def test_stale_peer_does_not_hide_a_living_one_at_its_address(
    swarm: Swarm, tmp_path: Path
) -> None:
    for stale in (1, 65535):
        swarm.tracker.register(swarm.torrent, stale)
    async with _engine(tmp_path / "state") as engine:
        job, _ = _job(swarm.magnet, tmp_path / "got")
        assert _same(await engine.fetch(job), job.directory)


async def test_checksum_of_one_file(tmp_path: Path) -> None:
    path = _big(tmp_path / "seed", MIB)
    sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
    with Swarm(path) as swarm:
        async with _engine(tmp_path / "state") as engine:
            right = TaskOptions(checksum=f"SHA1:{sha1.upper()}")
            job, _ = _job(swarm.magnet, tmp_path / "got", right)
            assert _same(await engine.fetch(job), job.directory)
            job, _ = _job(swarm.magnet, tmp_path / "got", TaskOptions(checksum=f"md5:{'0' * 32}"))
            with pytest.raises(Corrupt, match=r"the md5 of big\.bin is"):
                await engine.fetch(job)
            with pytest.raises(InvalidInput, match="is not a checksum"):
                await engine.plan(swarm.magnet, TaskOptions(checksum="sha1:00"))


async def test_checksum_of_many_files(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state") as engine:
        with pytest.raises(InvalidInput, match="the torrent has 3 files"):
            await engine.plan(swarm.magnet, TaskOptions(checksum=f"md5:{'0' * 32}"))


# Going on


async def test_killed_worker_fails_the_job_and_nothing_safe_is_fetched_twice(
    tmp_path: Path,
) -> None:
    path = _big(tmp_path / "seed")
    with Swarm(path, limit=2 * MIB) as swarm:
        async with _engine(tmp_path / "state") as engine:
            job, tokens = _job(swarm.seed.magnet, tmp_path / "got")
            task = asyncio.create_task(engine.fetch(job))
            await _until(lambda: _saved(tmp_path / "state") > 2 * MIB, "resume data")
            safe = _saved(tmp_path / "state")
            assert engine.worker_pid is not None
            os.kill(engine.worker_pid, signal.SIGKILL)
            with pytest.raises(NetworkFailed, match="killed by signal 9") as caught:
                await task
            assert caught.value.retryable
            assert engine.snapshot() == {}
            before = swarm.seed.stats().uploaded
            swarm.seed.set_limit(0)
            job, _ = _job(swarm.seed.magnet, job.directory, token=tokens[-1])
            assert _same(await engine.fetch(job), job.directory)
        assert swarm.seed.stats().uploaded - before <= swarm.torrent.size - safe + 64 * 1024
    assert (job.directory / "big.bin").read_bytes() == path.read_bytes()


def _saved(state: Path) -> int:
    """The bytes of whole pieces that the resume file vouches for."""
    path = state / "job.resume"
    if not path.exists():
        return 0
    parameters = lt.read_resume_data(path.read_bytes().partition(b"\n")[2])
    return sum(parameters.have_pieces) * 64 * 1024


async def test_cancelled_job_touches_nothing_more_and_goes_on(tmp_path: Path) -> None:
    path = _big(tmp_path / "seed")
    with Swarm(path, limit=2 * MIB) as swarm:
        async with _engine(tmp_path / "state") as engine:
            job, _ = _job(swarm.seed.magnet, tmp_path / "got")
            task = asyncio.create_task(engine.fetch(job))
            await _until(lambda: _done(engine) > MIB, "a megabyte")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert engine.snapshot() == {}
            safe, left = _saved(tmp_path / "state"), _tree(job.directory)
            assert safe > 0
            swarm.seed.set_limit(0)
            before = swarm.seed.stats().uploaded
            assert _tree(job.directory) == left
            assert _same(await engine.fetch(job), job.directory)
        assert swarm.seed.stats().uploaded - before <= swarm.torrent.size - safe + 64 * 1024
    assert (job.directory / "big.bin").read_bytes() == path.read_bytes()


def _done(engine: TorrentEngine, job: str = "job") -> int:
    progress = engine.snapshot().get(job)
    return progress.done if progress else 0


async def test_resume_without_the_network_s_metadata(tmp_path: Path) -> None:
    """A new service, whose plans are gone, goes on without asking peers what is in the torrent."""
    path = _big(tmp_path / "seed")
    with Swarm(path) as swarm:
        state = tmp_path / "state"
        async with _engine(state) as engine:
            job, _ = _job(swarm.magnet, tmp_path / "got")
            await engine.fetch(job)
    for plan in state.glob("*.metadata"):
        plan.unlink()
    async with _engine(state, stall_timeout=30) as engine:
        fetched = await engine.fetch(job)
    assert _same(fetched, job.directory)


@pytest.mark.parametrize("loss", ["missing", "broken", "other boot"])
async def test_files_are_checked_where_resume_data_is_of_no_use(loss: str, tmp_path: Path) -> None:
    path = _big(tmp_path / "seed")
    with Swarm(path) as swarm:
        state = tmp_path / "state"
        async with _engine(state) as engine:
            job, _ = _job(_inline(swarm.torrent), tmp_path / "got")
            await engine.fetch(job)
            before = swarm.seed.stats().uploaded
            _spoil(state / "job.resume", loss)
            with (job.directory / "big.bin").open("r+b") as file:
                file.seek(3 * MIB)
                file.write(b"damage")
            fetched = await engine.fetch(job)
        assert 0 < swarm.seed.stats().uploaded - before <= 2 * 64 * 1024
    assert fetched.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def _spoil(resume: Path, loss: str) -> None:
    header, _, body = resume.read_bytes().partition(b"\n")
    if loss == "missing":
        resume.unlink()
    elif loss == "broken":
        resume.write_bytes(header + b"\n" + body[: len(body) // 2])
    else:
        resume.write_bytes(
            json.dumps({**json.loads(header), "boot": "another"}).encode() + b"\n" + body
        )


async def test_file_that_lost_its_end_is_fetched_again(tmp_path: Path) -> None:
    with Swarm(_big(tmp_path / "seed")) as swarm:
        async with _engine(tmp_path / "state") as engine:
            job, _ = _job(_inline(swarm.torrent), tmp_path / "got")
            await engine.fetch(job)
            os.truncate(job.directory / "big.bin", MIB)
            assert _same(await engine.fetch(job), job.directory)
    assert _tree(job.directory) == _tree(tmp_path / "seed")


async def test_second_job_for_the_same_torrent_is_told_who_has_it(tmp_path: Path) -> None:
    with Swarm(_big(tmp_path / "seed"), limit=MIB) as swarm:
        async with _engine(tmp_path / "state") as engine:
            job, _ = _job(swarm.magnet, tmp_path / "got")
            task = asyncio.create_task(engine.fetch(job))
            await _until(lambda: _done(engine), "a first byte")
            # A plan needs no peers any more, whoever asks.
            assert (await engine.plan(swarm.magnet, TaskOptions())).name == "big.bin"
            other, _ = _job(swarm.magnet, tmp_path / "other", id="other")
            with pytest.raises(Refused, match="task job is busy with the same torrent"):
                await engine.fetch(other)
            swarm.seed.set_limit(0)
            assert _same(await task, job.directory)


async def test_limits_hold_for_one_job_and_for_all(tmp_path: Path) -> None:
    with Swarm(_big(tmp_path / "seed")) as swarm:
        async with _engine(tmp_path / "state") as engine:
            engine.set_limit(256 * 1024)
            job, _ = _job(swarm.magnet, tmp_path / "got", limit=128 * 1024)
            task = asyncio.create_task(engine.fetch(job))
            await _until(lambda: _done(engine) > 0, "a first byte")
            engine.set_limit(None)
            samples = await _next_samples(engine, 2)
            assert samples[0] < samples[-1] < samples[0] + MIB  # the job's own limit
            engine.set_limit(256 * 1024)
            engine.set_limit(None, "job")
            samples = await _next_samples(engine, 2)
            assert samples[0] < samples[-1] < samples[0] + MIB  # the limit of all
            engine.set_limit(None)
            assert _same(await task, job.directory)


async def _next_samples(engine: TorrentEngine, count: int) -> list[int]:
    samples = [_done(engine)]
    while len(samples) <= count:
        last = samples[-1]
        await _until(lambda last=last: _done(engine) != last, "progress")  # type: ignore[misc]
        samples.append(_done(engine))
    return samples


# Failing


async def test_magnet_without_peers_says_what_was_tried(
    tmp_path: Path, http_server: HttpServer
) -> None:
    url = http_server.add("/announce", Tracker(failure="go away"))
    torrent = make_torrent(_big(tmp_path / "seed"), trackers=(url,))
    async with _engine(tmp_path / "state", stall_timeout=2.0) as engine:
        with pytest.raises(NetworkFailed) as caught:
            await engine.plan(torrent.magnet(), TaskOptions())
    message = caught.value.message
    assert "no metadata for 2 seconds" in message
    assert "0 peers known" in message
    assert "go away" in message
    assert "the DHT is off" in message


async def test_torrent_that_stands_still_says_so(tmp_path: Path) -> None:
    with Swarm(_big(tmp_path / "seed"), limit=2 * MIB) as swarm:
        async with _engine(tmp_path / "state", stall_timeout=3.0) as engine:
            job, _ = _job(swarm.magnet, tmp_path / "got")
            task = asyncio.create_task(engine.fetch(job))
            await _until(lambda: _done(engine), "a first byte")
            swarm.seed.drop_peers()
            with pytest.raises(NetworkFailed, match="no piece for 3 seconds: 1 peers known"):
                await task


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        (DATA_PREFIX + "AAAA", Corrupt, "not a torrent file"),
        (DATA_PREFIX + "what?", Corrupt, "not base64"),
        (
            DATA_PREFIX + base64.b64encode(bytes(10_000_001)).decode(),
            Unsupported,
            "at most 10000000",
        ),
        ("magnet:?dn=nothing", Unsupported, "is no torrent"),
    ],
)
async def test_sources_that_are_no_torrents(
    source: str, error: type[Exception], match: str, tmp_path: Path
) -> None:
    async with _engine(tmp_path / "state") as engine:
        with pytest.raises(error, match=match):
            await engine.plan(source, TaskOptions())


async def test_url_that_gives_a_web_page(tmp_path: Path) -> None:
    async with _engine(tmp_path / "state", torrent=b"<!doctype html>") as engine:
        for _ in range(2):  # what was wrong is not kept
            with pytest.raises(Corrupt, match="not a torrent file"):
                await engine.plan("http://example.invalid/x.torrent", TaskOptions())


async def test_directory_in_the_way_of_a_file(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state") as engine:
        job, _ = _job(_inline(swarm.torrent), tmp_path / "got")
        (job.directory / "b.bin" / "x").mkdir(parents=True)
        with pytest.raises(InternalFailure, match=r"b\.bin can't be read"):
            await engine.fetch(job)


def test_full_disk_is_told_from_other_errors() -> None:
    def code(number: int) -> str:
        return failure_of(lt.error_code(number, lt.system_category()), "x").code

    assert code(errno.ENOSPC) == code(errno.EDQUOT) == NoSpace.code
    assert code(errno.EIO) == InternalFailure.code


async def test_it_does_not_deliver(tmp_path: Path) -> None:
    async with _engine(tmp_path / "state") as engine:
        job, _ = _job("magnet:", tmp_path)
        delivery = DeliverJob("x", tmp_path, [], "/x", None, None, job.checkpoint)
        assert not engine.delivers_to("/x")
        with pytest.raises(Unsupported):
            await engine.deliver(delivery)
        with pytest.raises(Unsupported):
            await engine.discard(delivery, None)


# Hostile torrents


def _bencoded(files: list[tuple[list[bytes], bytes, dict[bytes, Any]]], name: bytes) -> bytes:
    piece = 16 * 1024
    blob = b"".join(data for _, data, _ in files)
    hashes = [hashlib.sha1(blob[at : at + piece]).digest() for at in range(0, len(blob), piece)]
    info: Any = {
        b"name": name,
        b"piece length": piece,
        b"pieces": b"".join(hashes),
        b"files": [{b"path": path, b"length": len(data), **more} for path, data, more in files],
    }
    return lt.bencode({b"info": info})


HOSTILE: list[tuple[list[bytes], bytes, dict[bytes, Any]]] = [
    ([b"..", b"..", b"etc", b"passwd"], b"1" * 20_000, {}),
    ([b"/etc", b"shadow"], b"2" * 20_000, {}),
    ([b"a/b\\c", b"x" * 300 + b".mkv"], b"3" * 20_000, {}),
    ([b".pad", b"1000"], bytes(1000), {b"attr": b"p"}),
    ([b"link"], b"", {b"attr": b"l", b"symlink path": [b"..", b"..", b"etc"]}),
    ([b"run.sh"], b"5" * 20_000, {b"attr": b"x"}),
    ([b"same"], b"6" * 10, {}),
    ([b"same"], b"7" * 10, {}),
    ([b"SAME", b"below"], b"8" * 10, {}),
    ([b"empty"], b"", {}),
    ([b"\x1b[31m\xe2\x80\xaefdp.exe"], b"9" * 10, {}),
    ([*[b"d" * 200] * 40, b"deep.txt"], b"0" * 10, {}),
]


async def test_hostile_names_stay_inside_and_apart(tmp_path: Path) -> None:
    """The content is laid where the plan says; libtorrent must find all of it there."""
    data = _bencoded(HOSTILE, b"../../evil")
    source = DATA_PREFIX + base64.b64encode(data).decode()
    async with _engine(tmp_path / "state") as engine:
        plan = await engine.plan(source, TaskOptions())
        assert plan.note == "1 links in it are left out"
        paths = {file.index: file.path for file in plan.files}
        assert set(range(len(HOSTILE))) - set(paths) == {3, 4}
        assert len({path.casefold() for path in paths.values()}) == len(paths)
        job, _ = _job(source, tmp_path / "got")
        for index, path in paths.items():
            target = job.directory / path
            assert target.resolve().is_relative_to(job.directory.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            if HOSTILE[index][1]:
                target.write_bytes(HOSTILE[index][1])
                target.chmod(0o755)
        (job.directory / "stranger").symlink_to("/etc")
        (job.directory / "also").mkdir()
        (job.directory / "also" / "this").write_text("left by somebody")
        fetched = await engine.fetch(job)
    assert plan.name == fetched.name
    assert "/" not in plan.name
    assert not plan.name.startswith(".")
    assert sorted(_tree(job.directory)) == sorted(paths.values())
    assert _same(fetched, job.directory)
    for path in paths.values():
        mode = (job.directory / path).lstat().st_mode
        assert stat.S_ISREG(mode)
        assert not mode & 0o111
    assert not (job.directory / "also").exists()


def test_places_are_safe_and_apart_for_any_names() -> None:
    names = ["x/a", "x/a/b", "x/A", "x/a (2)", "x/a", "x", "x/" + "é" * 300, "x/" + "é" * 300, "x/"]
    contents = Contents("0" * 40, None, [], [], [], "x", [(name, 1, "file") for name in names])
    paths = Layout(contents).paths
    folded = [path.casefold() for path in paths]
    assert len(set(folded)) == len(paths)
    for path in folded:
        assert not any(other.startswith(f"{path}/") for other in folded)
        assert all(0 < len(part.encode()) <= 255 for part in path.split("/"))


# Sharing


async def test_seeding_to_a_ratio(swarm: Swarm, tmp_path: Path) -> None:
    options = TaskOptions(seed_ratio=1.0)
    async with _engine(tmp_path / "a") as giver, _engine(tmp_path / "b") as taker:
        job, _ = _job(swarm.magnet, tmp_path / "got", options)
        await giver.fetch(job)
        swarm.seed.drop_peers()
        task = asyncio.create_task(giver.seed(job))
        other, _ = _job(swarm.magnet, tmp_path / "other", id="other")
        assert _same(await taker.fetch(other), other.directory)
        reached = await task
    assert reached["ratio"] >= 1
    assert reached["uploaded"] >= swarm.torrent.size
    assert _tree(other.directory) == _tree(tmp_path / "swarm" / "set")
    assert not (tmp_path / "a" / "job.resume").exists()


async def test_seeding_of_a_part_by_the_defaults_of_the_engine(
    swarm: Swarm, tmp_path: Path
) -> None:
    options = TaskOptions(select=[0])
    async with _engine(tmp_path / "state", seed_time=0.5) as engine:
        job, _ = _job(swarm.magnet, tmp_path / "got", options)
        await engine.fetch(job)
        left = _tree(job.directory)
        # What the file shares with its neighbours is needed to share it, and lies elsewhere.
        assert list((tmp_path / "state").rglob("*.parts"))
        reached = await engine.seed(job)
    assert reached["seconds"] >= 0.5
    assert _tree(job.directory) == left
    assert not list((tmp_path / "state").rglob("*.parts"))


async def test_seeding_of_files_that_are_gone(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state") as engine:
        job, _ = _job(swarm.magnet, tmp_path / "got", TaskOptions(seed_seconds=60))
        await engine.fetch(job)
        (job.directory / "b.bin").unlink()
        before = swarm.seed.stats().uploaded
        with pytest.raises(SourceNotFound, match="gone or were changed"):
            await engine.seed(job)
        assert swarm.seed.stats().uploaded == before


async def test_no_seeding_unless_asked_for(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state") as engine:
        job, _ = _job(swarm.magnet, tmp_path / "got")
        assert await engine.seed(job) == {"uploaded": 0, "ratio": 0.0, "seconds": 0.0}
        assert engine.worker_pid is None


# Egress


async def test_loopback_is_refused_without_a_try(swarm: Swarm, tmp_path: Path) -> None:
    async with _engine(tmp_path / "state", allow=()) as engine:
        with pytest.raises(PolicyRefused, match=r"127\.0\.0\.1 is an address"):
            await engine.plan(swarm.torrent.magnet(swarm.seed.peer), TaskOptions())
    assert swarm.tracker.announced == []
    assert swarm.seed.stats().seen == ()


async def test_name_of_a_refused_address_is_refused_when_it_is_resolved(tmp_path: Path) -> None:
    with HttpServer() as server:
        tracker = Tracker()
        server.add("/announce", tracker)
        server.add("/big.bin", Resource(Literal(b"x")))
        tracker_url = server.url("/announce", host="localhost")
        web_seed = server.url("/big.bin", host="localhost")
        path = _big(tmp_path / "seed")
        torrent = make_torrent(path, trackers=(tracker_url,), web_seeds=(web_seed,))
        async with _engine(tmp_path / "state", allow=(), stall_timeout=4.0) as engine:
            job, _ = _job(_inline(torrent), tmp_path / "got")
            with pytest.raises(NetworkFailed, match="banned by IP filter"):
                await engine.fetch(job)
        assert server.seen.connections == 0


async def test_host_that_is_allowed_by_name(tmp_path: Path) -> None:
    with HttpServer() as server:
        path = _big(tmp_path / "seed")
        tracker = Tracker()
        server.add("/announce", tracker)
        torrent = make_torrent(path, trackers=(server.url("/announce", host="localhost"),))
        with TorrentSeed(torrent, path.parent) as seed:
            tracker.register(torrent, seed.port)
            async with _engine(tmp_path / "state", allow=("localhost",)) as engine:
                job, _ = _job(torrent.magnet(), tmp_path / "got")
                assert _same(await engine.fetch(job), job.directory)


async def test_peers_from_a_tracker_are_refused_by_address(tmp_path: Path) -> None:
    path = _big(tmp_path / "seed")
    tracker = Tracker()
    with HttpServer(host="127.0.0.2") as server:
        torrent = make_torrent(path, trackers=(server.add("/announce", tracker),))
        with TorrentSeed(torrent, path.parent) as seed:
            tracker.register(torrent, seed.port)
            async with _engine(
                tmp_path / "state",
                allow=("127.0.0.2",),
                interfaces=("127.0.0.2",),
                stall_timeout=4.0,
            ) as engine:
                with pytest.raises(NetworkFailed, match="policy refused 1 peers"):
                    await engine.plan(torrent.magnet(), TaskOptions())
            assert tracker.announced
            assert seed.stats().seen == ()


async def test_redirect_of_a_tracker_is_refused_by_address(tmp_path: Path) -> None:
    with HttpServer(host="127.0.0.2") as front, HttpServer() as back:
        target = back.add("/announce", Tracker())

        def away(request: Request) -> Response:
            return Response(
                302, [("Location", f"{target}?{request.target.partition('?')[2]}")], b""
            )

        torrent = make_torrent(_big(tmp_path / "seed"), trackers=(front.add("/announce", away),))
        async with _engine(
            tmp_path / "state",
            allow=("127.0.0.2",),
            interfaces=("127.0.0.2",),
            stall_timeout=4.0,
        ) as engine:
            with pytest.raises(NetworkFailed):
                await engine.plan(torrent.magnet(), TaskOptions())
        assert front.seen.connections
        assert back.seen.connections == 0


async def test_web_seed(tmp_path: Path) -> None:
    path = _big(tmp_path / "seed")
    with HttpServer() as server:
        url = server.add("/big.bin", Resource(Literal(path.read_bytes())))
        torrent = make_torrent(path, web_seeds=(url,))
        async with _engine(tmp_path / "state") as engine:
            job, _ = _job(_inline(torrent), tmp_path / "got")
            assert _same(await engine.fetch(job), job.directory)
    assert _tree(job.directory) == _tree(path.parent)


async def test_trackers_of_webrtc_peers_are_left_out(tmp_path: Path) -> None:
    torrent = make_torrent(_big(tmp_path / "seed"), trackers=("ws://127.0.0.1:9/announce",))
    async with _engine(tmp_path / "state") as engine:
        with pytest.raises(PolicyRefused, match="scheme 'ws' is not allowed"):
            await engine.plan(torrent.magnet(), TaskOptions())


class _DhtNode(asyncio.DatagramProtocol):
    """Answers every query with one node of its choice, and remembers who asked."""

    def __init__(self, names: bytes = b"") -> None:
        self.names = names
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        query: Any = lt.bdecode(data)
        self.asked += 1
        if query.get(b"y") == b"q" and self.names:
            # BEP 5: 20 bytes of id, 4 of address, 2 of port.
            reply: Any = {b"id": b"\xab" * 20, b"nodes": b"\x11" * 20 + self.names, b"token": b"t"}
            answer: Any = {b"t": query[b"t"], b"y": b"r", b"r": reply}
            self.transport.sendto(lt.bencode(answer), address)  # type: ignore[attr-defined]


@pytest.mark.parametrize("allowed", [True, False])
async def test_dht_nodes_are_refused_by_address(allowed: bool, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    told, inner = await loop.create_datagram_endpoint(_DhtNode, ("127.0.0.2", 0))
    port = told.get_extra_info("sockname")[1]
    names = bytes([127, 0, 0, 2]) + port.to_bytes(2, "big")
    router, outer = await loop.create_datagram_endpoint(lambda: _DhtNode(names), ("127.0.0.1", 0))
    magnet = make_torrent(_big(tmp_path / "seed")).magnet()
    host = "127.0.0.1:{}".format(router.get_extra_info("sockname")[1])
    allow = ("127.0.0.0/8",) if allowed else ("127.0.0.1",)
    try:
        async with _engine(
            tmp_path / "state", allow, dht=True, dht_routers=(host,), stall_timeout=5.0
        ) as engine:
            with pytest.raises(NetworkFailed, match="the DHT found 0 peers"):
                await engine.plan(magnet, TaskOptions())
        assert outer.asked
        assert bool(inner.asked) == allowed
        assert (tmp_path / "state" / "dht").stat().st_size > 0
    finally:
        told.close()
        router.close()


# Housekeeping


async def test_worker_starts_with_the_first_job_and_ends_when_idle(
    swarm: Swarm, tmp_path: Path
) -> None:
    async with _engine(tmp_path / "state", idle=0.05) as engine:
        assert engine.worker_pid is None
        await engine.plan(swarm.magnet, TaskOptions())
        await _until(lambda: engine.worker_pid is None, "the end of the worker")
        job, _ = _job(swarm.magnet, tmp_path / "got")
        assert _same(await engine.fetch(job), job.directory)


async def test_cleanup_forgets_what_nobody_will_ask_for(swarm: Swarm, tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with _engine(state, seed_time=60.0) as engine:
        job, _ = _job(swarm.magnet, tmp_path / "got", TaskOptions(select=[1]))
        await engine.fetch(job)
        assert list(state.rglob("*.parts"))
        for path in state.rglob("*"):
            os.utime(path, (0, 0))
        # The job may still go on; only its plan can be made again.
        assert await engine.cleanup(3600) == 1
        assert (state / "job.resume").exists()
        for path in sorted(job.directory.rglob("*"), reverse=True):
            path.unlink()
        job.directory.rmdir()
        assert await engine.cleanup(3600) == 2
    assert [path.name for path in state.iterdir()] == ["parts"]


def test_which_sources_it_takes(tmp_path: Path) -> None:
    async def fetch_torrent(url: str, _: TaskOptions) -> bytes:
        return b""

    engine = TorrentEngine(EgressPolicy(), tmp_path, fetch_torrent=fetch_torrent)
    base32 = base64.b32encode(bytes(range(20))).decode()
    assert engine.accepts(f"magnet:?xt=urn:btih:{base32}") > 0
    assert hashes_of(f"magnet:?xt=urn:btih:{base32.lower()}") == [bytes(range(20)).hex()]
    assert engine.accepts("MAGNET:?dn=x&xt=urn:btih:" + "AB" * 20) > 0
    assert engine.accepts("magnet:?xt=urn:btmh:1220" + "cd" * 32) > 0
    assert engine.accepts("https://host/file.TORRENT?key=1") > 0
    for other in (
        "magnet:?xt=urn:btih:tooshort",
        "magnet:?xt=urn:sha1:" + "a" * 32,
        "https://host/file.torrent.html",
        "https://host/?file=x.torrent",
        "ftp://host/x.torrent",
        "/etc/x.torrent",
        "http://[",
    ):
        assert engine.accepts(other) == 0, other


@given(
    address=st.one_of(
        st.ip_addresses(v=4),
        st.ip_addresses(v=6),
        st.ip_addresses(v=4).map(lambda a: ip_address(f"::ffff:{a}")),
        st.ip_addresses(v=4).map(lambda a: ip_address(f"64:ff9b::{a}")),
        st.sampled_from([ip_address(text) for text in EDGES]),
    ),
    allow=st.lists(st.sampled_from(["10.0.0.0/8", "127.0.0.1", "fd00::/8", "::1"])),
)
def test_rules_are_never_wider_than_the_policy(address: Any, allow: list[str]) -> None:
    policy = EgressPolicy(allow)
    verdict = True
    for network, allowed in policy.rules():
        if address in network:
            verdict = allowed
    assert policy.allows(str(address)) or not verdict
    if isinstance(address, IPv4Address):
        assert policy.allows(str(address)) == verdict

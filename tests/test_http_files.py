"""FTP and SFTP through the HTTP engine's way of fetching."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bot.errors import (
    NetworkFailed,
    PolicyRefused,
    SourceNotFound,
    Unauthorised,
    Unsupported,
)
from tests.fetching import fetcher
from tests.servers.ftp import FtpServer
from tests.servers.routes import KIB, MIB, Generated
from tests.servers.sftp import SftpServer

FILE = Generated(3 * MIB, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What the servers of these tests serve."""
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "a file.bin").write_bytes(FILE.data())
    (root / "empty").write_bytes(b"")
    return root


def known_hosts(tmp_path: Path, server: SftpServer) -> Path:
    path = tmp_path / "known_hosts"
    path.write_text(server.known_hosts)
    return path


async def test_ftp_fetches_and_plans(root: Path, tmp_path: Path) -> None:
    with FtpServer(root) as server:
        async with fetcher(tmp_path / "job") as mine:
            url = server.url("/dir/a file.bin")
            plan = await mine.plan(url)
            assert (plan.name, plan.size, plan.resumable) == ("a file.bin", FILE.size, True)
            fetched = await mine.fetch(url)
            assert fetched.files[0].sha256 == FILE.sha256
            assert mine.files() == ["a file.bin"]
            assert (await mine.fetch(server.url("/empty"))).files[0].size == 0


async def test_ftp_with_a_login(root: Path, tmp_path: Path) -> None:
    with FtpServer(root, user="me", password="pa:ss@") as server:
        async with fetcher(tmp_path / "job") as mine:
            await mine.fetch(server.url("/dir/a file.bin", auth=True))
            await mine.fetch(server.url("/empty"), username="me", password="pa:ss@")
            with pytest.raises(Unauthorised) as caught:
                await mine.fetch(server.url("/empty"), username="me", password="wr0ng")
            assert "wr0ng" not in str(caught.value)


async def test_ftp_resumes_after_a_drop(root: Path, tmp_path: Path) -> None:
    with FtpServer(root, drop_after=MIB) as server:
        async with fetcher(tmp_path / "job") as mine:
            url = server.url("/dir/a file.bin")
            with pytest.raises(NetworkFailed):
                await mine.fetch(url)
            there = (tmp_path / "job" / "a file.bin.part").stat().st_size
            assert 0 < there < FILE.size
            assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
            assert server.tally.commanded("REST")[-1] == str(there)


async def test_a_file_that_changed_on_ftp_starts_over(root: Path, tmp_path: Path) -> None:
    other = Generated(FILE.size, "other")
    with FtpServer(root, drop_after=MIB) as server:
        async with fetcher(tmp_path / "job") as mine:
            url = server.url("/dir/a file.bin")
            with pytest.raises(NetworkFailed):
                await mine.fetch(url)
            path = root / "dir" / "a file.bin"
            path.write_bytes(other.data())
            os.utime(path, (1_500_000_000, 1_500_000_000))
            assert (await mine.fetch(url)).files[0].sha256 == other.sha256


async def test_ftp_without_rest_starts_over(root: Path, tmp_path: Path) -> None:
    with FtpServer(root, drop_after=MIB, restart=False) as server:
        async with fetcher(tmp_path / "job") as mine:
            url = server.url("/dir/a file.bin")
            with pytest.raises(NetworkFailed):
                await mine.fetch(url)
            assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256


async def test_ftp_without_size_and_time(root: Path, tmp_path: Path) -> None:
    with FtpServer(root, refuse=("SIZE", "MDTM")) as server:
        async with fetcher(tmp_path / "job") as mine:
            url = server.url("/dir/a file.bin")
            assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256


async def test_what_ftp_does_not_have(root: Path, tmp_path: Path) -> None:
    with FtpServer(root) as server:
        async with fetcher(tmp_path / "job") as mine:
            for ask in (mine.plan, mine.fetch):
                with pytest.raises(SourceNotFound):
                    await ask(server.url("/none"))
                with pytest.raises(Unsupported, match="is a directory"):
                    await ask(server.url("/dir/"))


async def test_sftp_fetches_and_plans(root: Path, tmp_path: Path) -> None:
    with SftpServer(root) as server:
        async with fetcher(tmp_path / "job", known_hosts=known_hosts(tmp_path, server)) as mine:
            url = server.url("/dir/a file.bin", auth=True)
            plan = await mine.plan(url)
            assert (plan.name, plan.size, plan.resumable) == ("a file.bin", FILE.size, True)
            assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256
            assert mine.files() == ["a file.bin"]


async def test_sftp_resumes_after_a_drop(root: Path, tmp_path: Path) -> None:
    with SftpServer(root, drop_after=MIB) as server:
        async with fetcher(tmp_path / "job", known_hosts=known_hosts(tmp_path, server)) as mine:
            url = server.url("/dir/a file.bin", auth=True)
            with pytest.raises(NetworkFailed):
                await mine.fetch(url)
            there = (tmp_path / "job" / "a file.bin.part").stat().st_size
            assert there > 256 * KIB
            assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256


async def test_an_sftp_host_that_is_not_known_is_refused(root: Path, tmp_path: Path) -> None:
    with SftpServer(root) as server, SftpServer(root) as other:
        url = server.url("/empty", auth=True)
        wrong = tmp_path / "wrong"
        wrong.write_text(other.known_hosts.replace(str(other.port), str(server.port)))
        empty = tmp_path / "empty"
        empty.write_text("")
        for hosts in (None, tmp_path / "missing", empty, wrong):
            async with fetcher(tmp_path / "job", known_hosts=hosts) as mine:
                with pytest.raises(PolicyRefused) as caught:
                    await mine.fetch(url)
                assert "ssh-keyscan" in (caught.value.hint or "")
                assert not caught.value.retryable


async def test_what_sftp_does_not_have_or_give(root: Path, tmp_path: Path) -> None:
    with SftpServer(root) as server:
        async with fetcher(tmp_path / "job", known_hosts=known_hosts(tmp_path, server)) as mine:
            with pytest.raises(SourceNotFound):
                await mine.fetch(server.url("/none", auth=True))
            with pytest.raises(Unauthorised) as caught:
                await mine.fetch(server.url("/empty"), username="me", password="wr0ng")
            assert "wr0ng" not in str(caught.value)


async def test_parts_over_ftp_and_sftp(root: Path, tmp_path: Path) -> None:
    big = Generated(12 * MIB, 9)
    (root / "big").write_bytes(big.data())
    with FtpServer(root, rate=8 * MIB) as ftp, SftpServer(root, rate=8 * MIB) as sftp:
        hosts = known_hosts(tmp_path, sftp)
        async with fetcher(tmp_path / "job", known_hosts=hosts) as mine:
            for url in (ftp.url("/big"), sftp.url("/big", auth=True)):
                mine.token = None
                fetched = await mine.fetch(url, segments=3)
                assert fetched.files[0].sha256 == big.sha256
                assert mine.files() == ["big"]


async def test_an_ftp_fetch_can_be_cancelled_and_resumed(root: Path, tmp_path: Path) -> None:
    with FtpServer(root, rate=MIB) as server:
        async with fetcher(tmp_path / "job") as mine:
            url = server.url("/dir/a file.bin")
            task = asyncio.create_task(mine.fetch(url))
            for _ in range(1000):
                if mine.tokens:
                    break
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await mine.fetch(url)).files[0].sha256 == FILE.sha256


async def test_a_stream_over_ftp(root: Path, tmp_path: Path) -> None:
    with FtpServer(root) as server:
        async with fetcher(tmp_path / "job") as mine:
            url = server.url("/dir/a file.bin")
            chunks = [chunk async for chunk in mine.engine.stream(mine.job(url))]
    assert b"".join(chunks) == FILE.data()

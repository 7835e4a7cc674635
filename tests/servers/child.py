"""The HTTP server in a process of its own, for benchmarks: it then shares no lock with the client.

def routes(server: HttpServer) -> None:      # at the top of a module, so that it can be imported
    server.content("/file.bin", GIB)

with ChildServer(routes) as server:
    fetch(server.url("/file.bin"))
    assert sum(seen.sent for seen in server.requests()) == GIB
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from tests.servers.http import HttpServer
from tests.servers.recorder import Seen

Build = Callable[[HttpServer], None]


class ChildServer:
    """Runs `build(server)` in a child and serves there."""

    def __init__(self, build: Build) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(build, theirs), daemon=True)
        self._theirs: Connection[Any, Any] = theirs
        self.port = 0

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        if not self._pipe.poll(30):
            raise TimeoutError("the child did not start")
        self.port = self._pipe.recv()
        return self

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def requests(self) -> list[Seen]:
        """What the server saw so far."""
        self._pipe.send("requests")
        seen: list[Seen] = self._pipe.recv()
        return seen

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _serve(build: Build, pipe: "Connection[Any, Any]") -> None:
    with HttpServer() as server:
        build(server)
        pipe.send(server.port)
        try:
            while pipe.recv():
                pipe.send(server.seen.requests())
        except (EOFError, OSError):
            # The parent closed its end, or is gone.
            return

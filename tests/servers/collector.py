"""An endpoint for metrics that keeps what is posted to it, answers as told, and can be down."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.servers.ports import free_port


@dataclass(frozen=True, slots=True)
class Posted:
    """A request; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What it says to one request."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Collector:
    """``answers`` are for the next requests; when there are none left, it says 200. It answers
    nothing while ``gate`` is closed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.posted: list[Posted] = []
        self.answers: deque[Answer] = deque()
        self.gate = threading.Event()
        self.gate.set()
        self._seen = 0
        self._arrived = threading.Semaphore(0)
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens, when it does."""
        return f"http://127.0.0.1:{self.port}/in"

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.down()

    def arrived(self) -> Posted:
        """Wait for the next request that was not looked at yet."""
        assert self._arrived.acquire(timeout=30), "nothing was posted"
        self._seen += 1
        return self.posted[self._seen - 1]

    def up(self) -> None:
        """Listen."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.posted.append(Posted(self.path, headers, body))
                collector._arrived.release()
                collector.gate.wait(30)
                answer = collector.answers.popleft() if collector.answers else Answer()
                self.send_response(answer.status)
                for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

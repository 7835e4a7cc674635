"""A receiver of webhooks that can be down, fail, hang, and come back on the same port."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.servers.ports import free_port


class Webhook:
    """Keeps what was posted to it. ``status`` is what it answers, ``gate`` what it waits for."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.status = 200
        self.gate: threading.Event | None = None
        self.arrived = threading.Semaphore(0)
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """As apprise wants it."""
        return f"json://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Listen."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                message = json.loads(body)
                if hook.gate is not None:
                    hook.gate.wait(30)
                kept = hook.received if hook.status < 300 else hook.refused
                kept.append(message)
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                hook.arrived.release()

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

    @property
    def bodies(self) -> list[str]:
        """Title and text of what it took."""
        return [f"{each['title']}\n{each['message']}" for each in self.received]

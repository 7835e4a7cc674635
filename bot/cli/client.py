"""The command line's way to a service: its REST interface over the unix socket in DATA_DIR."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlencode

from bot.errors import MltbError, Unavailable

_TIMEOUT = 130.0  # seconds; a long poll takes 60 at most
_IDLE = 2.0  # seconds; uvicorn closes what was idle for 5


class ServiceError(MltbError):
    """What the service answered instead of doing it."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail", "?")), hint=problem.get("hint"))
        self.problem = problem
        self.details = problem.get("details") or {}

    @property
    def name(self) -> str:
        """The stable code of the error."""
        return str(self.problem.get("code", "internal"))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Calls a service; one connection, one call at a time."""

    def __init__(self, socket_path: str, token: str) -> None:
        self._connection = _UnixConnection(socket_path)
        self._used_at = time.monotonic()
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, path: str, **query: object) -> Any:
        """GET; the decoded answer."""
        items = [(name, each) for name, value in query.items() for each in _several(value)]
        return self._call("GET", f"{path}?{urlencode(items)}" if items else path)

    def post(self, path: str, body: object = None, *, key: str | None = None) -> Any:
        """POST; the decoded answer. ``key`` is an idempotency key."""
        return self._call("POST", path, body, {"Idempotency-Key": key} if key else {})

    def patch(self, path: str, body: object) -> Any:
        """PATCH; the decoded answer."""
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> None:
        """DELETE."""
        self._call("DELETE", path)

    def _call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Any:
        payload = None if body is None else json.dumps(body)
        if time.monotonic() - self._used_at > _IDLE:
            self._connection.close()  # before the service does, while a call is on its way
        try:
            self._connection.request(
                method, f"/api/v3{path}", payload, {**self._headers, **(headers or {})}
            )
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(
                f"the service does not answer ({type(error).__name__}: {error})",
                hint="what it was given is stored; mltb serve goes on with it",
            ) from None
        self._used_at = time.monotonic()
        answer = json.loads(content) if content else None
        if response.status >= 400:
            raise ServiceError(answer if isinstance(answer, dict) else {"detail": response.reason})
        return answer


def _several(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]

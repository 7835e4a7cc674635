"""The command line's way to a service: its REST interface over the unix socket in DATA_DIR."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from bot.errors import MltbError, Unavailable

_TIMEOUT = 130.0  # seconds; a long poll takes 60 at most
_EVENTS = "text/event-stream"
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
        return self._call("GET", _with_query(path, query))

    def events(self, path: str, **query: object) -> Iterator[Any]:
        """The decoded data of the server-sent events of GET, until the service ends them."""
        response = self._sent("GET", _with_query(path, query), headers={"Accept": _EVENTS})
        if response.status >= 400:
            raise _refusal(response, response.read())
        try:
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except (OSError, http.client.HTTPException):
            return  # It was killed: there is nothing more to come.
        finally:
            self._connection.close()

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
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        response = self._sent(method, path, body, headers)
        try:
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from None
        self._used_at = time.monotonic()
        if response.status >= 400:
            raise _refusal(response, content)
        return json.loads(content) if content else None

    def _sent(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        payload = None if body is None else json.dumps(body)
        if time.monotonic() - self._used_at > _IDLE:
            self._connection.close()  # before the service does, while a call is on its way
        try:
            self._connection.request(
                method, f"/api/v3{path}", payload, {**self._headers, **(headers or {})}
            )
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> Unavailable:
        self._connection.close()
        return Unavailable(
            f"the service does not answer ({type(error).__name__}: {error})",
            hint="what it was given is stored; mltb serve goes on with it",
        )


def _refusal(response: http.client.HTTPResponse, content: bytes) -> ServiceError:
    answer = json.loads(content) if content else None
    return ServiceError(answer if isinstance(answer, dict) else {"detail": response.reason})


def _with_query(path: str, query: Mapping[str, object]) -> str:
    items = [(name, each) for name, value in query.items() for each in _several(value)]
    return f"{path}?{urlencode(items)}" if items else path


def _several(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]

"""What a plugin is written against.

Standard library and msgspec only: this is imported in the sandbox.
"""

from __future__ import annotations

import inspect
import os
from typing import Any, BinaryIO, ClassVar, Protocol

import msgspec

#: The version of this interface: a plugin that was written for another major version is refused.
API_VERSION = "1.0"


class PluginMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who a plugin is."""

    name: str
    version: str = "0.0.0"
    author: str = ""
    description: str = ""
    type: str = "custom"
    api: str = API_VERSION


class Host(Protocol):
    """What carries a plugin's wishes to the service."""

    async def ask(self, what: str, /, **arguments: Any) -> Any:
        """Ask for one thing; raises where it is refused."""


class Response(msgspec.Struct, frozen=True):
    """An HTTP answer that the host fetched. ``headers`` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class HttpClient:
    """HTTP through the host, to the hosts that the plugin was granted and to no other."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        json: Any = None,
        timeout: float = 30.0,
    ) -> Response:
        """Send a request; ``timeout`` in seconds. Redirects are answers, not followed."""
        headers = dict(headers or {})
        if json is not None:
            body = msgspec.json.encode(json)
            headers.setdefault("Content-Type", "application/json")
        found = await self._host.ask(
            "http", method=method, url=url, headers=headers, body=body, timeout=timeout
        )
        return Response(found["status"], found["headers"], bytes(found["body"]))

    async def get(self, url: str, **options: Any) -> Response:
        """GET."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> Response:
        """POST."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Response:
        """PUT."""
        return await self.request("PUT", url, **options)


class State:
    """Values that survive restarts, within the plugin's quota. Keys are text, values JSON-like."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def get(self, key: str, default: Any = None) -> Any:
        """The value, or ``default``."""
        found = await self._host.ask("state_get", key=key)
        return default if found is None else found["value"]

    async def set(self, key: str, value: Any) -> None:
        """Store a value; durable on return."""
        await self._host.ask("state_set", key=key, value=value)

    async def delete(self, key: str) -> None:
        """Forget a value."""
        await self._host.ask("state_delete", key=key)

    async def keys(self) -> list[str]:
        """Every key, in order."""
        found: list[str] = await self._host.ask("state_keys")
        return found


class TaskFile:
    """A file of a task. ``path`` is relative, ``size`` in bytes."""

    def __init__(self, host: Host, job: str, *, index: int, path: str, size: int) -> None:
        self._host = host
        self._job = job
        self.index = index
        self.path = path
        self.size = size

    async def open(self) -> BinaryIO:
        """Open it for reading."""
        return os.fdopen(await self._host.ask("step_open", job=self._job, index=self.index), "rb")


class TaskFiles(list[TaskFile]):
    """The files that a step works on, and what else it may do while it does."""

    def __init__(self, host: Host, job: str, files: list[dict[str, Any]]) -> None:
        super().__init__(TaskFile(host, job, **file) for file in files)
        self._host = host
        self._job = job

    async def create(self, path: str) -> BinaryIO:
        """A new file, opened for writing; it is there when the step is done."""
        return os.fdopen(await self._host.ask("step_create", job=self._job, path=path), "wb")

    async def report(self, done: int, total: int | None = None) -> None:
        """Show the progress, in bytes."""
        await self._host.ask("step_report", job=self._job, done=done, total=total)


class _Nobody:
    """The host of a plugin that runs outside of the service, as in its author's own tests."""

    async def ask(self, what: str, /, **arguments: Any) -> Any:
        raise RuntimeError(f"{what}: no service is there")


class BasePlugin:
    """Base of every plugin. Override what you need; every method may be ``async``."""

    type: ClassVar[str] = "custom"
    #: Of the values in ``state``. Raise it where their form changes, and bring them into the new
    #: one in ``migrate_state``; a version below that of the values is refused.
    state_version: ClassVar[int] = 1
    #: A subclass may say more than its name: author, description, version.
    metadata: PluginMetadata = PluginMetadata("plugin")

    def __init__(self, metadata: PluginMetadata | None = None, host: Host | None = None) -> None:
        if metadata is not None:
            self.metadata = metadata
        self._host: Host = host or _Nobody()
        self._config: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self.http = HttpClient(self._host)
        self.state = State(self._host)

    async def migrate_state(self, old: int) -> None:
        """Bring the values in ``state`` from version ``old`` into that of ``state_version``; called
        before ``initialize``. What it writes is stored once this version is up, or never."""

    async def initialize(self) -> bool:
        """Set up; ``False`` means that the plugin can't work."""
        return True

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the plugin is for."""
        raise NotImplementedError(f"{type(self).__name__} has no execute")

    async def shutdown(self) -> None:
        """Clean up."""

    async def health(self) -> bool:
        """Whether it can work; asked before it takes the place of an older version."""
        return True

    def get_config(self) -> dict[str, Any]:
        """The configuration: what the operator set over what ``set_config`` gave."""
        return {**self._defaults, **self._config}

    def set_config(self, config: dict[str, Any]) -> None:
        """Give defaults; what the operator has set stays."""
        self._defaults.update(config)

    def replace_config(self, config: dict[str, Any]) -> None:
        """What the operator has set, as the host hands it over."""
        self._config = dict(config)

    async def configured(self) -> None:
        """The operator has changed the configuration while it runs. Raise to refuse that: then the
        one of before holds again, and the operator is told why."""


class Archive(msgspec.Struct, frozen=True):
    """A backup archive as a plugin gets it: ``size`` in bytes, ``sha256`` in hex where known."""

    name: str
    size: int
    sha256: str | None = None


class BackupPlugin(BasePlugin):
    """Gets every backup archive: ``execute(source_path, backup_name)``.

    The archive comes through a pipe: it is read once, from its beginning to its end, by
    ``open(source_path, "rb")`` or by ``open_archive()``. ``archive`` has its size and its hash.
    """

    type = "backup"
    archive: Archive | None = None
    _archive_file: BinaryIO | None = None

    def open_archive(self) -> BinaryIO:
        """The archive that ``execute`` was called with."""
        if self._archive_file is None:
            raise RuntimeError("there is no archive but while execute is called with one")
        return self._archive_file

    async def hand_archive(self, archive: Archive, fd: int) -> Any:
        """Call ``execute`` with what comes through ``fd``; the host does this."""
        with os.fdopen(os.dup(fd), "rb") as file:
            self.archive, self._archive_file = archive, file
            try:
                taken: Any = self.execute(f"/proc/self/fd/{fd}", archive.name)
                return await taken if inspect.isawaitable(taken) else taken
            finally:
                self.archive = self._archive_file = None


class AlertPlugin(BasePlugin):
    """Gets every alert: ``execute(alert_data)``."""

    type = "alert"


class MonitorPlugin(BasePlugin):
    """Gets the readings at each tick: ``execute(metrics)``; what it returns becomes gauges."""

    type = "monitor"


class TaskPlugin(BasePlugin):
    """A step of a transfer: ``execute(files, params)``, where ``files`` are ``TaskFiles``.

    What it returns is a list of objects with the ``index`` of a file and its new ``path``, or
    ``drop`` as True; files that it does not name go on as they are.
    """

    type = "task"


class SourcePlugin(BasePlugin):
    """Turns a link into others: ``execute(link)`` gives a list of links, or None."""

    type = "source"

"""The steps that plugins do, beside those that are built in.

A plugin gets no path: it reads files through descriptors, and writes into files without a name,
which are copied when it is done. So it changes nothing of what was fetched, and nothing afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from bot.domain.ports import Step, StepJob
from bot.domain.task import FileEntry, Progress
from bot.errors import InvalidInput, PluginFailed, PolicyRefused, Unsupported
from bot.transfers.confined.names import MAX_PATH, clean, shown
from bot.transfers.steps.files import Output, Stop, in_thread, source_path
from bot.transfers.steps.guarded import Guarded

_CHUNK = 1024 * 1024
_MAX_PARAMS = 64 * 1024  # bytes of JSON
_MAX_CREATED = 64  # files; each is open while the plugin works
_NO_LIMIT = 7 * 86400.0  # seconds, where STEP_TIMEOUT is 0


class TaskPlugins(Protocol):
    """The plugins that do steps."""

    def names(self) -> Sequence[str]:
        """Those there are."""

    async def run(
        self,
        name: str,
        files: Sequence[Mapping[str, Any]],
        params: Mapping[str, Any],
        desk: _Desk,
        *,
        timeout: float,
    ) -> Any:
        """What the plugin says of the files. Raises a TransferError."""


class Steps(Mapping[str, Step]):
    """Those that are built in, and those of the plugins that are there at the moment. A plugin does
    not take the place of what is built in."""

    def __init__(self, built_in: Mapping[str, Step], plugins: TaskPlugins, timeout: float) -> None:
        self._built_in = built_in
        self._plugins = plugins
        self._timeout = timeout

    def __getitem__(self, name: str) -> Step:
        if name not in self._built_in and name in self._plugins.names():
            return Guarded(PluginStep(name, self._plugins, self._timeout), self._timeout)
        return self._built_in[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from (name for name in self._plugins.names() if name not in self._built_in)

    def __len__(self) -> int:
        return len(list(iter(self)))


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of an input: another path, or nothing."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATH)] | None = None
    drop: bool = False


class PluginStep:
    """A step that a plugin does. Parameters: whatever the plugin takes."""

    def __init__(self, name: str, plugins: TaskPlugins, timeout: float) -> None:
        self._name = name
        self._plugins = plugins
        self._timeout = timeout

    @property
    def name(self) -> str:
        """That of the plugin."""
        return self._name

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters; the plugin looks at them when it runs. Raises InvalidInput."""
        if len(msgspec.json.encode(params)) > _MAX_PARAMS:
            raise InvalidInput(f"{self._name}: at most {_MAX_PARAMS} bytes of parameters")
        return dict(params)

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """The files are handed on; what the plugin adds is not known before."""
        return size

    async def run(self, job: StepJob) -> list[FileEntry]:
        """Let the plugin do it. PluginFailed where its answer can't be."""
        desk = _Desk(self._name, job)
        files = [
            {"index": index, "path": file.path, "size": file.size}
            for index, file in enumerate(job.files)
        ]
        try:
            answer = await self._plugins.run(
                self._name, files, job.params, desk, timeout=self._timeout or _NO_LIMIT
            )
            changes = self._changes(answer, len(files))
            return await in_thread(lambda stop: desk.settle(changes, stop))
        finally:
            desk.close()

    def _changes(self, answer: Any, count: int) -> dict[int, _Change]:
        try:
            found = msgspec.convert([] if answer is None else answer, list[_Change])
        except msgspec.ValidationError as error:
            raise PluginFailed(f"plugin {self._name}: a wrong answer: {error}") from None
        changes = {change.index: change for change in found}
        if len(changes) != len(found) or any(index >= count for index in changes):
            raise PluginFailed(f"plugin {self._name}: it names a file twice, or one of no task")
        for change in found:
            if change.path is not None:
                _check_path(self._name, change.path)
        return changes


class _Desk:
    """Opens the files of one job, and keeps those that the plugin makes."""

    def __init__(self, plugin: str, job: StepJob) -> None:
        self._plugin = plugin
        self._job = job
        self._created: dict[str, int] = {}

    async def open(self, index: int) -> int:
        """A file of the job, for reading."""
        if index >= len(self._job.files):
            raise InvalidInput(f"there is no file {index}")
        path = source_path(self._job.directory, self._job.files[index])
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    async def create(self, path: str) -> int:
        """A file without a name; it becomes ``path`` when the step is done."""
        _check_path(self._plugin, path)
        if path in self._created or len(self._created) >= _MAX_CREATED:
            raise PolicyRefused(f"a step makes at most {_MAX_CREATED} files, each of them once")
        scratch = self._job.output / f".new-{len(self._created)}"
        fd = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        scratch.unlink()
        self._created[path] = fd
        return os.dup(fd)

    def report(self, done: int, total: int | None) -> None:
        """Show it as the progress of the task."""
        self._job.report(Progress(done=done, total=total))

    def settle(self, changes: Mapping[int, _Change], stop: Stop) -> list[FileEntry]:
        """Fill the output. Unsupported where nothing is left."""
        output = Output(self._job.output)
        for index, file in enumerate(self._job.files):
            change = changes.get(index)
            if change is None or not change.drop:
                output.pass_on(
                    self._job.directory, file, stop, None if change is None else change.path
                )
        for path, fd in self._created.items():
            with output.place_for(path).open("xb") as target:
                _copy(fd, target.fileno(), stop)
        found = output.entries(stop)
        if not found:
            raise Unsupported(f"{self._plugin} leaves none of {len(self._job.files)} files")
        return found

    def close(self) -> None:
        """Let go of the files that the plugin made."""
        while self._created:
            _, fd = self._created.popitem()
            os.close(fd)


def _copy(source: int, target: int, stop: Stop) -> None:
    """Copy what is there now, wherever the plugin's own reading and writing stands."""
    done, size = 0, os.fstat(source).st_size
    while done < size and (chunk := os.pread(source, min(_CHUNK, size - done), done)):
        stop.check()
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
        done += len(chunk)


def _check_path(plugin: str, path: str) -> None:
    """PolicyRefused where a path is not one that a file of a task may have."""
    parts = path.split("/")
    if len(path.encode("utf-8", "replace")) > MAX_PATH or any(
        part[:1] in {"", "."} or clean(part) != part for part in parts
    ):
        raise PolicyRefused(
            f"plugin {plugin}: {shown(path)} can't be the path of a file",
            hint="it is relative, and no part of it is empty, begins with '.' or is too long",
        )

"""What a plugin may ask for while one call lasts: files that the host opens, and a tick."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec

from bot.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Handed:
    """An answer that is an open file. The descriptor belongs to whoever sends it."""

    fd: int


def handed(answer: Any) -> tuple[Any, list[int]]:
    """An answer as it goes into a message, and the descriptors beside it."""
    return (None, [answer.fd]) if isinstance(answer, Handed) else (answer, [])


class Desk(Protocol):
    """Serves one call. The descriptors that it gives are the caller's to close."""

    async def open(self, index: int) -> int:
        """A file of the call, for reading. Raises an MltbError."""

    async def create(self, path: str) -> int:
        """A new file, for writing. Raises an MltbError."""

    def report(self, done: int, total: int | None) -> None:
        """So many bytes of ``total`` are done."""


class _Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    job: str
    index: Annotated[int, msgspec.Meta(ge=0)]


class _Create(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    job: str
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**60)]


class _Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    job: str
    done: _Bytes
    total: _Bytes | None = None


class Desks:
    """The desks that are open for one plugin."""

    def __init__(self) -> None:
        self._open: dict[str, Desk] = {}
        self.verbs: dict[str, Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]] = {
            "step_open": self._open_file,
            "step_create": self._create,
            "step_report": self._report,
        }

    @contextlib.contextmanager
    def lend(self, desk: Desk) -> Iterator[str]:
        """Serve from ``desk`` while this is entered, under the name that it gives."""
        job = secrets.token_hex(8)
        self._open[job] = desk
        try:
            yield job
        finally:
            del self._open[job]

    async def _open_file(self, arguments: dict[str, Any]) -> Handed:
        wanted = msgspec.convert(arguments, _Open)
        return Handed(await self._desk(wanted.job).open(wanted.index))

    async def _create(self, arguments: dict[str, Any]) -> Handed:
        wanted = msgspec.convert(arguments, _Create)
        return Handed(await self._desk(wanted.job).create(wanted.path))

    async def _report(self, arguments: dict[str, Any]) -> None:
        wanted = msgspec.convert(arguments, _Report)
        self._desk(wanted.job).report(wanted.done, wanted.total)

    def _desk(self, job: str) -> Desk:
        try:
            return self._open[job]
        except KeyError:
            raise InvalidInput("that call is over") from None

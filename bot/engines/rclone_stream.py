"""Bytes straight to a remote as they arrive: ``rclone rcat``, hashed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path

from bot.engines import children
from bot.engines.rclone_errors import transfer_error
from bot.engines.rclone_remote import Remote
from bot.errors import NetworkFailed, Refused, SourceNotFound

_BLOCK = 1024 * 1024
_ABORT_SECONDS = 15.0


class Sink:
    """One ``rclone rcat`` to ``target``, hashed by ``kinds`` and SHA-256. ``done`` counts the bytes
    that it took; ``secrets`` are kept out of its errors."""

    def __init__(
        self,
        binary: Path,
        config: Path | None,
        target: str,
        kinds: Sequence[str],
        secrets: Collection[str],
    ) -> None:
        self._binary = binary
        self._config = config
        self._target = target
        self._secrets = secrets
        self._digests = {k: hashlib.new(k, usedforsecurity=False) for k in {*kinds, "sha256"}}
        self._process: Process | None = None
        self._said = b""
        self.done = 0

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes of what was taken, in hex."""
        return {kind: digest.hexdigest() for kind, digest in self._digests.items()}

    async def take(self, chunks: AsyncIterator[bytes], size: int | None) -> None:
        """Upload all of ``chunks``. Whatever fails, nothing that looks whole is left.

        NetworkFailed where there were fewer or more bytes than ``size``.
        """
        command = [
            str(self._binary),
            "rcat",
            self._target,
            "--ask-password=false",
            "--log-level=ERROR",
            "--stats=0",
        ]
        if size is not None:
            command.append(f"--size={size}")
        if self._config is not None:
            command.append(f"--config={self._config}")
        process = await children.spawn(command, stdin=PIPE, stderr=PIPE)
        listening = asyncio.ensure_future(self._listen(process))
        try:
            await self._feed(process, chunks)
            if size is not None and self.done != size:
                raise NetworkFailed(f"the source gave {self.done} bytes and had promised {size}")
            assert process.stdin is not None
            process.stdin.close()
            status = await process.wait()
        except BaseException:
            await _abort(process)
            raise
        finally:
            await listening
        if status != 0:
            raise self._failure()

    async def _feed(self, process: Process, chunks: AsyncIterator[bytes]) -> None:
        pending: list[bytes] = []
        waiting = 0
        async for chunk in chunks:
            pending.append(chunk)
            waiting += len(chunk)
            if waiting >= _BLOCK:
                await self._hand_over(process, b"".join(pending))
                pending, waiting = [], 0
        await self._hand_over(process, b"".join(pending))

    async def _hand_over(self, process: Process, block: bytes) -> None:
        assert process.stdin is not None
        try:
            if process.stdin.is_closing():  # as it is once rcat has ended; uvloop raises then
                raise BrokenPipeError
            process.stdin.write(block)
            await asyncio.gather(asyncio.to_thread(self._hash, block), process.stdin.drain())
        except (BrokenPipeError, ConnectionResetError):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ABORT_SECONDS):
                    await process.wait()
            raise self._failure() from None
        self.done += len(block)

    def _hash(self, block: bytes) -> None:
        for digest in self._digests.values():
            digest.update(block)

    async def _listen(self, process: Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(65536):
            self._said = (self._said + chunk)[-4096:]

    def _failure(self) -> Exception:
        text = self._said.decode("utf-8", "replace").strip() or "it ended without a word"
        error = transfer_error(text, what=f"uploading to {self._target}", secrets=self._secrets)
        # What is not found is no source: the remote does not take uploads there.
        return Refused(error.message) if isinstance(error, SourceNotFound) else error


async def _abort(process: Process) -> None:
    """End rcat before it can take the end of our bytes for the end of the file.

    SIGTERM lets it abort a multipart upload; closing its input comes after that.
    """
    children.signal_group(process, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ABORT_SECONDS):
            await process.wait()
    await children.stop(process)


def rcat_target(place: Remote, parameters: dict[str, str]) -> str:
    """``place`` as an argument of the command line."""
    return place.root_with(parameters) + place.key

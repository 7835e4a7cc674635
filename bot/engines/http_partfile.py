"""A file that is being fetched: written in any order, hashed in order, finished under its name."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from bot.engines import http_sidecar as sidecar
from bot.engines.filenames import safe_name
from bot.engines.http_ranges import Ranges
from bot.engines.http_workers import Buffers, Strand, Workers, answer, settled
from bot.errors import Corrupt, InternalFailure, NoSpace, TransferError

PART = ".part"
POSITIONS = ".part.pos"
_DIRECT = 8
_READ = 1024 * 1024
_READ_IN_A_ROW = 16
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def part_paths(directory: Path, name: str) -> tuple[Path, Path]:
    """Where the bytes of ``name`` lie until they are all there, and where their positions do."""
    stem = safe_name(name, room=len(POSITIONS))
    return directory / f"{stem}{PART}", directory / f"{stem}{POSITIONS}"


class PartFile:
    """One file on its way. ``put`` is called by the thread that receives, the rest by the loop.

    ``ranges`` are the bytes that an earlier attempt left; the file is emptied where there are
    none. ``failed`` is called, from a worker, once the disk refuses.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        workers: Workers,
        buffers: Buffers,
        ranges: Ranges,
        failed: Callable[[], None],
        checksum: tuple[str, str] | None = None,
    ) -> None:
        self.name = name
        self.error: TransferError | None = None
        self._directory = directory
        self._part, self._positions = part_paths(directory, name)
        self._buffers = buffers
        self._writes = Strand(workers)
        self._hashes = Strand(workers)
        self._syncs = Strand(workers)
        self._failed = failed
        self._lock = threading.Lock()
        self._ranges = ranges
        self._fd = -1
        self._sidecar: sidecar.Sidecar | None = None
        self._checksum = checksum
        self._digests = {"sha256": hashlib.sha256()}
        if checksum is not None and checksum[0] not in self._digests:
            self._digests[checksum[0]] = hashlib.new(checksum[0], usedforsecurity=False)
        self._hashed = 0
        self._queued = 0
        self._following = False

    def put(self, offset: int, buffer: bytearray, count: int) -> None:
        """Write the first ``count`` bytes of ``buffer`` at ``offset`` and hand it back."""
        self._writes.put(lambda: self._write(offset, buffer, count))

    def ranges(self) -> Ranges:
        """Which bytes are written by now."""
        with self._lock:
            return Ranges(self._ranges)

    def follow(self) -> None:
        """Begin to hash what an earlier attempt left, while more arrives."""
        self._writes.put(self._start_following)

    async def sync(self) -> Ranges:
        """Which bytes survive a loss of power, after making those survive that are written."""
        return await self._syncs.run(self._sync)

    async def finish(self, size: int) -> str:
        """Everything is put: write and hash the rest, compare, rename. The SHA-256 in hex.

        Raises Corrupt where the checksum differs (the file is removed then), NoSpace.
        """
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._writes.put(lambda: self._seal(size, ended))
        return await settled(ended)

    async def close(self) -> None:
        """Stop touching the disk; what was put before is written."""
        await self._writes.run(lambda: None)
        await self._hashes.run(lambda: None)
        await self._syncs.run(self._close)

    # What follows runs in workers.

    def _open(self) -> int:
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            fresh = not len(self._ranges)
            if fresh:
                sidecar.remove(self._positions)
            self._fd = os.open(self._part, flags | (os.O_TRUNC if fresh else 0), 0o644)
        return self._fd

    def _seal(self, size: int, ended: asyncio.Future[str]) -> None:
        """All is written: let the hash come to its end."""
        if self.error is None:
            try:
                self._open()
            except OSError as error:
                self._fail(error, 0)
        self._hashes.put(lambda: self._end(size, ended))

    def _end(self, size: int, ended: asyncio.Future[str]) -> None:
        if self.error is None and self.ranges().head == size:
            try:
                if self._hash_more() < size:
                    self._hashes.put(lambda: self._end(size, ended))
                    return
            except TransferError:
                pass  # it is kept as self.error
        answer(ended, lambda: self._conclude(size))

    def _write(self, offset: int, buffer: bytearray, count: int) -> None:
        if self.error is not None:
            self._buffers.give(buffer)
            return
        try:
            self._write_out(offset, buffer, count)
        except OSError as error:
            self._fail(error, count)
            self._buffers.give(buffer)
            self._failed()
            return
        self._record(offset, buffer, count)

    def _write_out(self, offset: int, buffer: bytearray, count: int) -> None:
        fd = self._open()
        if self._sidecar is None and offset > self._ranges.head:
            self._sidecar = sidecar.Sidecar(self._positions)
            self._sidecar.write(self._ranges)
        with memoryview(buffer) as view:
            done = 0
            while done < count:
                done += os.pwrite(fd, view[done:count], offset + done)

    def _record(self, offset: int, buffer: bytearray, count: int) -> None:
        """Remember that the bytes are there, and see to it that they are hashed: from memory when
        the hash is right behind, else later from the file."""
        with self._lock:
            self._ranges.add(offset, offset + count)
            direct = offset == self._hashed and not self._following and self._queued < _DIRECT
            if direct:
                self._hashed += count
                self._queued += 1
            behind = not direct and not self._following and self._ranges.head > self._hashed
            self._following = self._following or behind
        if self._sidecar is not None:
            try:
                self._sidecar.write(self._ranges)
            except OSError as error:
                self._fail(error, 0)
                self._failed()
        if direct:
            self._hashes.put(lambda: self._hash(buffer, count))
            return
        self._buffers.give(buffer)
        if behind:
            self._hashes.put(self._hash_behind)

    def _hash(self, buffer: bytearray, count: int) -> None:
        with memoryview(buffer) as view, view[:count] as part:
            for digest in self._digests.values():
                digest.update(part)
        self._buffers.give(buffer)
        with self._lock:
            self._queued -= 1

    def _start_following(self) -> None:
        try:
            self._open()
        except OSError as error:
            self._fail(error, 0)
            self._failed()
            return
        with self._lock:
            begin = not self._following and self._ranges.head > self._hashed
            self._following = self._following or begin
        if begin:
            self._hashes.put(self._hash_behind)

    def _hash_behind(self) -> None:
        """Hash some of what is written already, and come back for the rest."""
        try:
            self._hash_more()
        except TransferError:
            self._failed()
            return
        with self._lock:
            self._following = self._ranges.head > self._hashed and self.error is None
            again = self._following
        if again:
            self._hashes.put(self._hash_behind)

    def _hash_more(self) -> int:
        """Hash up to some megabytes from the file; how far the hash is."""
        with self._lock:
            head, at = self._ranges.head, self._hashed
        scratch = bytearray(min(_READ, max(head - at, 0)))
        for _ in range(_READ_IN_A_ROW):
            if at >= head:
                break
            try:
                count = os.preadv(self._fd, [scratch], at)
            except OSError as error:
                raise self._fail(error, 0) from error
            if count == 0:
                raise self._fail(OSError(errno.EIO, "the file became shorter"), 0)
            count = min(count, head - at)
            with memoryview(scratch) as view, view[:count] as part:
                for digest in self._digests.values():
                    digest.update(part)
            at += count
        with self._lock:
            self._hashed = max(self._hashed, at)
            return self._hashed

    def _sync(self) -> Ranges:
        ranges = self.ranges()
        if self._fd >= 0:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise self._fail(error, 0) from error
        return ranges

    def _conclude(self, size: int) -> str:
        if self.error is not None:
            raise self.error
        if self._ranges.head != size or self._hashed != size:
            raise InternalFailure(f"{self.name}: bytes are missing after all were fetched")
        found = {name: digest.hexdigest() for name, digest in self._digests.items()}
        if self._checksum is not None and found[self._checksum[0]] != self._checksum[1]:
            self._close()
            self._part.unlink(missing_ok=True)
            sidecar.remove(self._positions)
            kind, wanted = self._checksum
            raise Corrupt(
                f"{self.name}: its {kind} is {found[kind]}, but {wanted} was asked for",
                hint="the source has another file, or the checksum is of another one",
                algorithm=kind,
                expected=wanted,
                found=found[kind],
            )
        try:
            os.fdatasync(self._fd)
            self._close()
            self._part.replace(self._directory / self.name)
            sidecar.remove(self._positions)
            _sync_directory(self._directory)
        except OSError as error:
            raise self._fail(error, 0) from error
        return found["sha256"]

    def _close(self) -> None:
        if self._sidecar is not None:
            self._sidecar.close()
            self._sidecar = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _fail(self, error: OSError, count: int) -> TransferError:
        self.error = self.error or disk_error(error, self._directory, self.name, count)
        return self.error


def disk_error(error: OSError, directory: Path, name: str, count: int) -> TransferError:
    """What an OSError of the disk means, met while writing ``count`` bytes of ``name``."""
    if error.errno not in _FULL:
        return InternalFailure(f"{name} can't be written: {error.strerror or error}")
    details: Mapping[str, int] = {}
    try:
        state = os.statvfs(directory)
        details = {"free": state.f_bavail * state.f_frsize, "needed": count}
    except OSError:
        pass
    figures = f": {details['free']} bytes are free" if details else ""
    return NoSpace(
        f"{name} does not fit into {directory}: {error.strerror}{figures}, {count} more were to "
        "be written",
        hint="make room, then retry: what is there is kept",
        **details,
    )


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Puts a backup in the place of the present state, or leaves all as it was.

A journal in DATA_DIR says what is about to be moved before anything is. While it says ``swapping``,
the next start moves everything back; when all is in place it says ``proving``, and stays until the
service has come up with the new state. If that fails, everything is moved back as well. Each move
is a rename, and each can be undone twice without harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from bot.domain.ports import Clock
from bot.errors import InternalFailure, MltbError, Unavailable
from bot.operations.backup_catalog import sync_all, sync_directory
from bot.operations.backup_database import Database
from bot.operations.backup_names import stamp
from bot.operations.backup_open import Opened
from bot.operations.backup_state import Part

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_JOURNAL, _OUTCOME = "restore.json", "last-restore.json"
_KEPT = "before-restore-"
_MOST_TRIES = 3

#: Called with the name of each step that is durably done.
Step = Callable[[str], None]


class Move(msgspec.Struct, frozen=True):
    """``live`` goes to ``kept`` where it ``existed``; then ``staged``, if any, to ``live``."""

    live: str
    staged: str | None
    kept: str
    existed: bool


class Journal(msgspec.Struct):
    """A restore under way; ``mark`` is that of the tables on a server which were set aside."""

    id: str
    name: str
    phase: Literal["swapping", "proving"]
    mark: str
    kept: str
    moves: list[Move]
    tries: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How the last restore ended. ``kept`` is where the state before it lies."""

    id: str
    name: str
    at: float
    state: Literal["restored", "rolled_back", "failed"]
    message: str
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A backup that was opened and checked, ready to take the place of the state. ``config``: with
    ``.env`` and ``config.py`` too."""

    id: str
    name: str
    opened: Opened
    config: bool


class Restorer:
    """Restores in one DATA_DIR, which this process has locked. ``keep`` earlier states stay."""

    def __init__(
        self,
        data_dir: Path,
        database: Database,
        parts: Sequence[Part],
        clock: Clock,
        *,
        keep: int,
    ) -> None:
        self._data = data_dir
        self._database = database
        self._parts = parts
        self._clock = clock
        self._keep = keep

    @property
    def outcome(self) -> Outcome | None:
        """How the last restore ended; None of none."""
        return _read(self._data / _OUTCOME, Outcome)

    def failed(self, restore: str, name: str, error: MltbError) -> None:
        """Note that a restore ended before anything was moved."""
        now = self._clock.now()
        self._write(_OUTCOME, Outcome(restore, name, now, "failed", str(error)))

    async def settle(self) -> Journal | None:
        """What a start does first: bring back what a crash left half moved. A journal that comes
        back is one whose state is in place, and has to prove itself."""
        path = self._data / _JOURNAL
        if not path.exists():
            return None
        journal = _read(path, Journal)
        if journal is None:
            raise InternalFailure(
                f"the journal of a restore, {path}, can't be read",
                hint=f"the state before it is under {_KEPT}* beside it; move it back, and remove"
                " the journal",
            )
        if journal.phase == "swapping":
            await self.roll_back(journal, "the process ended in the middle of it")
            return None
        if journal.tries >= _MOST_TRIES:
            await self.roll_back(journal, f"the service did not come up in {journal.tries} starts")
            return None
        journal.tries += 1
        self._write(_JOURNAL, journal)
        return journal

    async def swap(self, prepared: Prepared, step: Step = lambda _: None) -> None:
        """Put everything in its place; nothing of the service runs meanwhile. What was there comes
        back where that fails. MltbError."""
        journal = self._planned(prepared)
        self._write(_JOURNAL, journal)
        step("journal")
        log.warning("restore: %s takes the place of the present state", prepared.name)
        try:
            await self._database.set_aside(journal.mark)
            step("database set aside")
            for number, move in enumerate(journal.moves):
                _do(move, number, step)
            await self._database.load(prepared.opened.directory / self._database.copy_path)
            step("database loaded")
            self._sync(journal)
        except (OSError, MltbError) as error:
            await self.roll_back(journal, str(error))
            if isinstance(error, MltbError):
                raise
            raise Unavailable(f"the backup can't be put in place: {error}") from error
        journal.phase = "proving"
        self._write(_JOURNAL, journal)
        step("in place")

    async def confirm(self, journal: Journal) -> Outcome:
        """The service runs with the restored state: keep that."""
        now = self._clock.now()
        found = Outcome(
            journal.id,
            journal.name,
            now,
            "restored",
            f"the state is that of {journal.name}; the one before it is kept",
            journal.kept,
        )
        self._end(found)
        try:
            await asyncio.to_thread(self._prune, journal)
            await self._database.prune(self._keep)
        except (OSError, MltbError) as error:
            log.warning("restore: older states could not be removed: %s", error)
        return found

    async def roll_back(self, journal: Journal, why: str) -> Outcome:
        """Bring back the state before the restore. Raises where that is not possible now; the
        journal stays, and the next start tries again."""
        log.error("restore: back to the state before %s: %s", journal.name, why)
        undone = self._data / f"{_KEPT}undone-{journal.id}"
        for number, move in reversed(list(enumerate(journal.moves))):
            _undo(move, undone / str(number))
        await self._database.put_back(journal.mark)
        self._sync(journal)
        now = self._clock.now()
        found = Outcome(journal.id, journal.name, now, "rolled_back", why)
        self._end(found)
        await asyncio.to_thread(shutil.rmtree, undone, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path(journal.kept).rmdir()
        return found

    def _end(self, outcome: Outcome) -> None:
        self._write(_OUTCOME, outcome)
        (self._data / _JOURNAL).unlink(missing_ok=True)
        sync_directory(self._data)

    # What moves where

    def _planned(self, prepared: Prepared) -> Journal:
        at = stamp(self._clock.now())
        kept = self._data / f"{_KEPT}{at}-{prepared.id}"
        root = prepared.opened.directory
        wanted: list[tuple[Path, Path | None]] = [
            (live, root / self._database.copy_path if number == 0 else None)
            for number, live in enumerate(self._database.files)
        ]
        wanted += [
            (part.live, root / part.path)
            for part in self._parts
            if not part.is_config or (prepared.config and (root / part.path).exists())
        ]
        moves = []
        for live, staged in wanted:
            there = staged is not None and staged.exists()
            if os.path.lexists(live) or there:
                moves.append(self._move(live, staged if there else None, kept, prepared.id, at))
        mark = f"{at.lower()}_{prepared.id}"
        return Journal(prepared.id, prepared.name, "swapping", mark, str(kept), moves)

    def _move(self, live: Path, staged: Path | None, kept: Path, restore: str, at: str) -> Move:
        existed = os.path.lexists(live)
        if live.is_relative_to(self._data):
            target = kept / live.relative_to(self._data)
            return Move(str(live), None if staged is None else str(staged), str(target), existed)
        # On another filesystem, perhaps: it is made ready beside its place.
        target = live.with_name(f"{live.name}.{_KEPT}{at}")
        if staged is not None:
            beside = live.with_name(f".{live.name}.restore-{restore}")
            live.parent.mkdir(parents=True, exist_ok=True)
            _copied(staged, beside)
            staged = beside
        return Move(str(live), None if staged is None else str(staged), str(target), existed)

    def _sync(self, journal: Journal) -> None:
        places = {Path(move.live).parent for move in journal.moves}
        places |= {Path(move.kept).parent for move in journal.moves}
        sync_all(place for place in {*places, self._data} if place.is_dir())

    def _prune(self, journal: Journal) -> None:
        found = self._data.glob(f"{_KEPT}[0-9]*Z-*")
        newest_first = sorted(
            found, key=lambda path: (str(path) == journal.kept, path.name), reverse=True
        )
        for old in newest_first[self._keep :]:
            shutil.rmtree(old)
        for move in journal.moves:
            live = Path(move.live)
            if not live.is_relative_to(self._data):
                copies = sorted(live.parent.glob(f"{live.name}.{_KEPT}[0-9]*Z"), reverse=True)
                for old in copies[self._keep :]:
                    old.unlink()

    def _write(self, name: str, content: msgspec.Struct) -> None:
        """Write whole or not at all, durably."""
        path = self._data / name
        part = path.with_name(f".{name}.part")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_directory(self._data)


def _do(move: Move, number: int, step: Step) -> None:
    live, kept = Path(move.live), Path(move.kept)
    if move.existed:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        live.rename(kept)
        step(f"aside {number}")
    if move.staged is not None:
        live.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(move.staged).rename(live)
        step(f"placed {number}")


def _undo(move: Move, undone: Path) -> None:
    """What was kept goes back; before that, what took its place goes away. ``live`` is the old one
    still where it existed and nothing is kept."""
    live, kept = Path(move.live), Path(move.kept)
    back = os.path.lexists(kept)
    if (back or not move.existed) and os.path.lexists(live):
        undone.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if live.is_relative_to(undone.parents[1]):
            shutil.rmtree(undone, ignore_errors=True)
            live.rename(undone)
        else:
            live.unlink()
    if back:
        kept.rename(live)
    if move.staged is not None and not Path(move.staged).is_relative_to(undone.parents[1]):
        Path(move.staged).unlink(missing_ok=True)


def _copied(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        target.chmod(source.stat().st_mode & 0o700 | 0o600)
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None

"""The 7-Zip program: list first, unpack under a watch, pack and test.

The kind of an archive is always given to it, so that none of its many other readers is let near
hostile bytes. Passwords go through standard input: arguments can be read by every user.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.errors import (
    Corrupt,
    InternalFailure,
    NoSpace,
    PolicyRefused,
    TransferError,
    Unauthorised,
    Unsupported,
)
from bot.transfers.confined.budget import Budget
from bot.transfers.confined.names import parts_of, shown
from bot.transfers.steps.files import in_thread, occupied
from bot.transfers.steps.programs import Finished, run

_FIELD = re.compile(r"([A-Z][A-Za-z ]*) = ?(.*)")
_MODE = re.compile(r"\b([-dlbcps])[-rwxsStT]{9}\b")
_LINKS = ("Symbolic Link", "Hard Link", "Link")
_GLANCE = 0.25  # seconds between two looks at a growing output; longer where a look takes long
_QUIET = ("-bd", "-y", "-sccUTF-8")


@dataclass(slots=True)
class Listing:
    """What an archive says that it holds: files (links and devices left out), entries of any kind,
    bytes, whether any of it is encrypted, and what will be left out."""

    files: int
    entries: int
    size: int
    encrypted: bool
    skipped: list[str]


class _Reader:
    """Takes the lines of ``7zz l -slt -ba``; refuses as soon as it has seen enough."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._entry: dict[str, str] = {}
        self._paths: dict[str, bool] = {}
        self._count = 0
        self.listing = Listing(0, 0, 0, False, [])

    def line(self, text: str) -> None:
        match = _FIELD.fullmatch(text.rstrip("\r"))
        if match is None:
            return
        if match[1] == "Path":
            self.end()
        self._entry.setdefault(match[1], match[2])

    def end(self) -> None:
        """Judge the entry that was collected, if there is one."""
        entry, self._entry = self._entry, {}
        if "Path" not in entry:
            return
        listing = self.listing
        self._count += 1
        self._budget.check(listing.size, self._count)
        listing.encrypted |= entry.get("Encrypted") == "+"
        raw = entry["Path"]
        attributes = entry.get("Attributes", "")
        mode = _MODE.search(attributes)
        kind = mode[1] if mode else "-"
        if any(entry.get(name) for name in _LINKS) or kind not in "-d":
            if len(listing.skipped) < 100:
                listing.skipped.append(f"{shown(raw)} (a link or a device)")
            return
        folder = entry.get("Folder") == "+" or kind == "d" or attributes.startswith("D")
        if folder and not raw.strip("./"):
            return
        self._place("/".join(parts_of(raw)), folder)
        if not folder:
            size = entry.get("Size", "")
            listing.files += 1
            listing.size += int(size) if size.isascii() and size.isdigit() else 0
        # The directories above an entry count as well: deep paths are a bomb of their own.
        listing.entries = max(self._count, len(self._paths))
        self._budget.check(listing.size, listing.entries)

    def _place(self, path: str, folder: bool) -> None:
        """Refuse a path that is both a file and a directory."""
        known = self._paths.setdefault(path, folder)
        above = path.rpartition("/")[0]
        clash = known != folder
        while above and not clash and above not in self._paths:
            self._paths[above] = True
            above = above.rpartition("/")[0]
        if clash or (above and not self._paths[above]):
            raise Corrupt(
                f"the archive holds {shown(path)} where a file and a directory meet",
                hint="it can't be unpacked as it is",
            )


class SevenZip:
    """The program at ``program``."""

    def __init__(self, program: Path) -> None:
        self.program = program

    async def listing(
        self, archive: Path, kind: str, password: str | None, budget: Budget
    ) -> Listing:
        """What ``archive`` holds. Raises Unauthorised, Corrupt, PolicyRefused or Unsupported."""
        reader = _Reader(budget)
        end = await run(
            [str(self.program), "l", "-slt", "-ba", *_QUIET, f"-t{kind}", "--", str(archive)],
            cwd=archive.parent,
            stdin=_said(password),
            on_line=reader.line,
        )
        reader.end()
        _judge(end, archive.name, password)
        return reader.listing

    async def unpack(
        self,
        archive: Path,
        kind: str,
        password: str | None,
        target: Path,
        budget: Budget,
        on_done: Callable[[int], None],
    ) -> None:
        """Unpack into the empty directory ``target``: no links, nothing replaced by a later entry
        of the same name, never more than the budget (which is not spent)."""

        async def watch() -> None:
            await watch_growth(target, budget, on_done)

        end = await run(
            [
                *(str(self.program), "x", *_QUIET, "-aou", "-snl-", "-snh-", "-spd"),
                *(f"-t{kind}", f"-o{target}", "--", str(archive)),
            ],
            cwd=archive.parent,
            stdin=_said(password),
            file_size=budget.size + 1,
            watch=watch,
        )
        # Also when it failed: one file over the budget ends it, and that is no damage.
        budget.check(*await in_thread(lambda _: occupied(target)))
        _judge(end, archive.name, password)

    async def pack(
        self,
        staging: Path,
        archive: Path,
        options: Sequence[str],
        password: str | None,
        on_done: Callable[[int], None],
    ) -> None:
        """Pack everything in ``staging`` into the new ``archive``."""

        async def watch() -> None:
            await watch_growth(archive.parent, None, on_done)

        secret = ["-p"] if password is not None else []
        end = await run(
            [str(self.program), "a", *_QUIET, *options, *secret, "--", str(archive), "."],
            cwd=staging,
            stdin=_said(password),
            watch=watch,
        )
        if end.status == 0:
            return
        failure = _meaning(end.status, f"{end.output}\n{end.complaints}", archive.name, password)
        if isinstance(failure, Corrupt):
            raise InternalFailure(
                f"7-Zip could not write {archive.name!r}: {end.complaints[-500:]}"
            )
        raise failure

    async def test(self, archive: Path, kind: str, password: str | None) -> None:
        """Read the whole archive back; Corrupt where it is not whole."""
        end = await run(
            [str(self.program), "t", *_QUIET, f"-t{kind}", "--", str(archive)],
            cwd=archive.parent,
            stdin=_said(password),
        )
        _judge(end, archive.name, password)


async def watch_growth(target: Path, budget: Budget | None, on_done: Callable[[int], None]) -> None:
    """Look at ``target`` while it grows, until this is cancelled; PolicyRefused past the budget."""
    clock = asyncio.get_running_loop().time
    while True:
        started = clock()
        size, count = await in_thread(lambda _: occupied(target))
        if budget is not None:
            budget.check(size, count)
        on_done(size)
        await asyncio.sleep(max(_GLANCE, 10 * (clock() - started)))


def _said(password: str | None) -> bytes:
    """What the program reads when it asks: the password, and once more to be sure."""
    return b"" if password is None else f"{password}\n{password}\n".encode()


def _judge(end: Finished, name: str, password: str | None) -> None:
    """Raise what the end of the program means; 1 is a warning (say, bytes after the archive)."""
    text = f"{end.output[-8192:]}\n{end.complaints[-8192:]}"
    if end.status in {0, 1} and "ERROR" not in text:
        return
    raise _meaning(end.status, text, name, password)


def _meaning(status: int, text: str, name: str, password: str | None) -> TransferError:
    wrong_password = "Wrong password" in text or "Break signaled" in text
    if wrong_password and password is None:
        return Unauthorised(
            f"{name!r} needs a password", hint="give it as the parameter password of the step"
        )
    if wrong_password:
        return Unauthorised(
            f"the password for {name!r} is wrong",
            hint="or the archive is damaged: with encryption that can't be told apart",
        )
    if re.search("No space left|File too large|Disk quota|errno=(28|27|122)", text):
        return NoSpace("the disk is full", hint="free some room and retry the task")
    if re.search("Unsupported [Mm]ethod", text):
        return Unsupported(f"{name!r} is packed with a method that 7-Zip does not know")
    if "allocate" in text or "memory" in text:
        return PolicyRefused(f"{name!r} wants more memory than a step may have")
    said = [line for line in text.splitlines() if re.search("(?i)error|unexpected|missing", line)]
    reason = said[-1].strip()[:300] if said else f"7-Zip can't read it (status {status})"
    return Corrupt(f"the archive {name!r} is damaged: {reason}")

"""Names that came from an archive, a pattern or a peer, made safe to write."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from bot.errors import PolicyRefused

#: The longest component (as on ext4, XFS, APFS and NTFS) and the longest path, in bytes.
MAX_NAME = 255
MAX_PATH = 2048
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
#: Marks that turn the direction of text: a name with one shows another suffix than it has.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINES = frozenset("\u2028\u2029")


def clean(name: str) -> str:
    """``name`` as one safe component: no separator, control or direction mark, valid UTF-8 of at
    most 255 bytes, and its suffix kept. Never empty, ``.`` or ``..``."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = "".join(_letter(letter) for letter in text)
    text = _fitting(text)
    return "_" if text.strip() in {"", ".", ".."} else text


def _letter(letter: str) -> str:
    if letter in "/\\\ufffd" or letter in _BIDI or letter in _LINES:
        return "_"
    return "_" if unicodedata.category(letter) in {"Cc", "Cs"} else letter


def _fitting(name: str) -> str:
    """``name`` in at most 255 bytes."""
    if len(name.encode()) <= MAX_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > 32:
        stem, dot, suffix = name, "", ""
    room = MAX_NAME - len((dot + suffix).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + suffix


def parts_of(raw: str) -> tuple[str, ...]:
    r"""The safe components of the path ``raw`` that an archive gives to an entry.

    Raises PolicyRefused where the path would lead out of the directory it is unpacked to, read
    with ``/`` or with ``\`` as the separator: nobody packs such an archive by accident.
    """
    slashed = raw.replace("\\", "/")
    if slashed.startswith("/") or _DRIVE.match(raw) or ".." in slashed.split("/"):
        raise PolicyRefused(
            f"the archive holds {shown(raw)}, which leads out of its directory",
            hint="an entry has a relative path without '..'; do not trust this archive",
        )
    parts = tuple(clean(part) for part in raw.split("/") if part not in {"", "."})
    if len("/".join(parts).encode()) > MAX_PATH or not parts:
        raise PolicyRefused(
            f"the archive holds the path {shown(raw)}",
            hint=f"a path has 1 to {MAX_PATH} bytes",
        )
    return parts


def shown(raw: str) -> str:
    """``raw`` as a message quotes it: escaped, at most 80 characters."""
    text = ascii(raw[:81]) if not raw.isprintable() else repr(raw[:81])
    return text if len(raw) <= 80 else f"{text[:80]}..."


class FreeNames:
    """Finds free names: ``a.txt``, then ``a (2).txt``, ``a (3).txt``, ...

    ``taken`` says whether a path is. Remembers how far it was, so that a million equal names do not
    take a million looks each.
    """

    def __init__(self, taken: Callable[[str], bool]) -> None:
        self._taken = taken
        self._last: dict[str, int] = {}

    def free(self, path: str) -> str:
        """``path``, or the next that is free like it."""
        if path not in self._last and not self._taken(path):
            return path
        directory, slash, name = path.rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            stem, dot, suffix = name, "", ""
        number = self._last.get(path, 1)
        while True:
            number += 1
            end = f" ({number}){dot}{suffix}"
            room = MAX_NAME - len(end.encode())
            short = stem.encode()[:room].decode("utf-8", "ignore")
            candidate = f"{directory}{slash}{short}{end}"
            if not self._taken(candidate):
                self._last[path] = number
                return candidate

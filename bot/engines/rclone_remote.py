"""``remote:path``: which ones are let through, and how rclone is told about them.

Only remotes of the operator's rclone.conf, by name. Everything that would make up a remote on the
way (``:s3:bucket``, ``remote,param=value:path``) is refused, as it can name any host and, for some
backends, run commands; so is ``..``, which could leave the place that a remote was given. Source of
the syntax: rclone's documentation of remote paths and connection strings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.errors import InvalidInput, PolicyRefused

#: Names with these before ``:`` are links of other engines, whatever follows.
_SCHEMES = frozenset(
    {"http", "https", "magnet", "file", "data", "mailto", "javascript", "urn", "gopher", "dict"}
)
_NAME = re.compile(r"[\w+@.](?:[\w +@.-]*[\w+@.-])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# How rclone spells what some services can't store (its "standard encoding"): a control character
# by its picture, and a picture by itself with this mark before it.
_MARK = "\u201b"
_PICTURE = re.compile("[\u2400-\u241f\u2421\u201b]")
_MARKED = re.compile(f"{_MARK}(.)")
_LONGEST = 4096
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Remote:
    """A place on a configured remote. ``path`` has no ``.``, ``..`` or empty parts and no slash at
    its end; with a slash at its start it is absolute (which matters to sftp)."""

    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}:{self.path}"

    @property
    def root(self) -> str:
        """The whole remote, as rclone's ``fs`` parameter; one for all paths, so that rclone keeps
        its connections."""
        return f"{self.name}:/" if self.path.startswith("/") else f"{self.name}:"

    @property
    def key(self) -> str:
        """The path below ``root``."""
        return self.path.lstrip("/")

    @property
    def leaf(self) -> str:
        """The last part of the path; empty for the whole remote."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        """The folder that holds it."""
        head, slash, _ = self.path.rpartition("/")
        return Remote(self.name, head or ("/" if slash else ""))

    def join(self, relative: str) -> Remote:
        """A place below this one."""
        base = self.path.rstrip("/")
        if not base:
            return Remote(self.name, f"/{relative}" if self.path else relative)
        return Remote(self.name, f"{base}/{relative}")

    def root_with(self, parameters: Mapping[str, str]) -> str:
        """``root`` with backend parameters (values of ours: digits, letters)."""
        if not parameters:
            return self.root
        extra = "".join(f",{key}={value}" for key, value in sorted(parameters.items()))
        return f"{self.name}{extra}{self.root[len(self.name) :]}"


def looks_remote(text: str) -> bool:
    """Whether ``text`` has the shape of an rclone path: what other engines take never has it.

    True also for the shapes that ``parse`` refuses with the reason.
    """
    name, colon, path = text.partition(":")
    if not colon or path.startswith("//") or "/" in name or "\\" in name:
        return False
    if not name:
        return bool(path)
    if name.lower() in _SCHEMES:
        return False
    return "," in name or _NAME.fullmatch(name) is not None


def parse(text: str) -> Remote:
    """The place that ``text`` names. PolicyRefused or InvalidInput with the reason."""
    shown = _CONTROL.sub("?", text[:200])
    if _CONTROL.search(text):
        raise PolicyRefused(f"{shown!r} has control characters in it")
    name, colon, path = text.partition(":")
    if not colon or len(text) > _LONGEST:
        raise InvalidInput(f"{shown!r} is no remote:path", hint="such as backup:videos/2024")
    if not name or "," in name or "=" in name:
        raise PolicyRefused(
            f"{shown.split(':')[0] or ':' + path.split(':')[0]!r} describes a remote on the spot",
            hint="only remotes that rclone.conf names are allowed, without parameters",
        )
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} can't be the name of a remote")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise PolicyRefused(f"{shown!r} has '..' in it", hint="name the place itself")
    return Remote(name, ("/" if path.startswith("/") else "") + "/".join(parts))


def safe_path(path: str) -> str:
    """A relative path for the local disk, from one that a remote made up and rclone spelt: no way
    out, no control characters, no part above 255 bytes."""
    path = _PICTURE.sub(lambda found: _MARK if found[0] == _MARK else "_", _MARKED.sub(r"\1", path))
    return "/".join(_safe_part(part) for part in path.split("/") if part) or "file"


def spelt(path: str) -> str:
    """A local path as rclone spells it."""
    return _PICTURE.sub(rf"{_MARK}\g<0>", path)


def _safe_part(part: str) -> str:
    clean = _CONTROL.sub("_", part)
    if clean in {".", ".."}:
        return "_" * len(clean)
    return shorten(clean)


def shorten(name: str, longest: int = _LONGEST_NAME) -> str:
    """``name`` with at most ``longest`` bytes in UTF-8; an extension stays."""
    raw = name.encode("utf-8", "replace")
    if len(raw) <= longest:
        return raw.decode()
    stem, dot, extension = name.rpartition(".")
    tail = f".{extension}".encode() if dot and len(extension) <= 16 and stem else b""
    head = raw[: longest - len(tail)].decode("utf-8", "ignore")
    return head + tail.decode()

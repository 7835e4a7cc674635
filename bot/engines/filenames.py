"""Names of files that come from elsewhere, made safe for every filesystem.

Source of Content-Disposition: RFC 6266; of its ``filename*``: RFC 8187.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, unquote_to_bytes

_LONGEST = 255
_LONGEST_ENDING = 32
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4", ".tar.lzma")
_PARAMETER = re.compile(
    r';\s*(?P<name>[\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<plain>[^;]*))'
)


def safe_name(text: str, *, fallback: str = "file", room: int = 0) -> str:
    """``text`` as one safe path component, never empty.

    No separator, control or direction character; no leading dot; nothing that Windows reserves or
    drops; at most 255 - ``room`` bytes of UTF-8 with the extension kept. ``room`` is for an ending
    that somebody appends.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", text).rstrip("/\\"))[-1]
    kept = "".join(c for c in last if unicodedata.category(c) not in _DROPPED)
    name = _FORBIDDEN.sub("_", kept).strip().lstrip(". ").rstrip(". ")
    if not name:
        return fallback
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    return _shorten(name, _LONGEST - room)


#: Control, format (the direction overrides among them), surrogate, private, line, paragraph.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _shorten(name: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, cut before the extension and between characters."""
    if len(name.encode()) <= limit:
        return name
    stem, ending = _split(name)
    room = limit - len(ending.encode())
    cut = stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ")
    return (cut or "_") + ending


def _split(name: str) -> tuple[str, str]:
    """Stem and extension; an extension that is too long to be one is part of the stem."""
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)], name[-len(ending) :]
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem or len(ending.encode()) > _LONGEST_ENDING:
        return name, ""
    return stem, dot + ending


def from_disposition(value: str) -> str | None:
    """The file name in a Content-Disposition header; ``filename*`` comes before ``filename``.

    ``value`` has one character a byte (ISO 8859-1), as header fields have; a plain ``filename``
    whose bytes are UTF-8 is read as UTF-8, as browsers do.
    """
    found = dict(_parameters(value))
    extended = found.get("filename*")
    if extended is not None:
        name = _extended(extended)
        if name:
            return name
    plain = found.get("filename")
    if not plain:
        return None
    return unquote(_as_utf8(plain)) if "%" in plain else _as_utf8(plain)


def _parameters(value: str) -> Iterator[tuple[str, str]]:
    for match in _PARAMETER.finditer(
        f";{value}" if "=" in value.split(";", maxsplit=1)[0] else value
    ):
        quoted = match["quoted"]
        text = match["plain"].strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        yield match["name"].lower(), text


def _extended(text: str) -> str | None:
    """``charset'language'percent-encoded``; None where it is none of that."""
    charset, quote, rest = text.partition("'")
    _, second, encoded = rest.partition("'")
    if not quote or not second:
        return None
    try:
        return unquote_to_bytes(encoded).decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError, ValueError):
        return None


def _as_utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def from_path(path: str, host: str) -> str:
    """The last part of a URL's path, percent-decoded; the host where there is none."""
    last = path.split("?", maxsplit=1)[0].rstrip("/").rpartition("/")[2]
    return safe_name(unquote(last), fallback=safe_name(host))

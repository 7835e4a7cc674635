"""What a backup is called: the one pattern by which this program knows what it made."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from bot.errors import InvalidInput

#: ``mltb-20260131T235959Z-0f9a3c7e.tar.zst``, with ``.age`` behind it where it is encrypted.
PATTERN = r"mltb-\d{8}T\d{6}Z-[0-9a-f]{8}\.tar\.zst(?:\.age)?"
_NAME = re.compile(rf"({PATTERN})", re.ASCII)
_STAMP = "%Y%m%dT%H%M%SZ"
_PREFIX, _SUFFIX, _SEALED = "mltb-", ".tar.zst", ".age"


def stamp(at: float) -> str:
    """A time (UNIX seconds) as it stands in names: UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime(_STAMP)


def new_name(at: float, *, encrypted: bool) -> str:
    """The name of an archive that is made at that time (UNIX seconds)."""
    ending = _SUFFIX + (_SEALED if encrypted else "")
    return f"{_PREFIX}{stamp(at)}-{secrets.token_hex(4)}{ending}"


def is_name(text: str) -> bool:
    """Whether it is the name of a backup, of a real time."""
    if _NAME.fullmatch(text) is None:
        return False
    try:
        made_at(text)
    except ValueError:
        return False
    return True


def checked(text: str) -> str:
    """``text``, if it is a name. InvalidInput."""
    if not is_name(text):
        raise InvalidInput(
            f"{text[:100]!r} is not the name of a backup",
            hint="such as mltb-20260131T235959Z-0f9a3c7e.tar.zst; mltb backup list shows them",
        )
    return text


def made_at(name: str) -> float:
    """When the archive of that name was made (UNIX seconds)."""
    text = name[len(_PREFIX) : len(_PREFIX) + len("20260131T235959Z")]
    return datetime.strptime(text, _STAMP).replace(tzinfo=UTC).timestamp()


def is_encrypted(name: str) -> bool:
    """Whether the archive of that name is encrypted."""
    return name.endswith(_SEALED)

"""What servers say before the bytes: status, size, ranges, validators, names.

Source of the fields: RFC 9110 (semantics, ranges, conditional requests), RFC 6266 (disposition).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from bot.engines.filenames import from_disposition, from_path, safe_name
from bot.engines.urls import Target
from bot.errors import (
    InvalidInput,
    Refused,
    SourceNotFound,
    TransferError,
    Unauthorised,
    Unsupported,
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Headers of a request that say how bytes travel: a submission can't set them.
_OURS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "keep-alive"),
        *("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
        *("proxy-authorization", "proxy-connection", "range", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of a source it is: what must be equal for its bytes to fit together."""

    size: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What goes into If-Range: a strong ETag, else a date; None without any."""
        return self.etag or self.modified

    def fits(self, other: Version) -> bool:
        """Whether both can be the same version: nothing that both know differs."""
        pairs = (
            (self.size, other.size),
            (self.etag, other.etag),
            (self.modified, other.modified),
        )
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)


@dataclass(slots=True)
class Head:
    """The head of an answer, filled line by line; names of fields in lower case."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)

    def line(self, line: bytes) -> None:
        """CURLOPT_HEADERFUNCTION; the head of a later answer replaces that of an earlier one."""
        if line.startswith(b"HTTP/"):
            words = line.split(None, 2)
            self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            self.fields = {}
            return
        name, colon, value = line.decode("latin-1").partition(":")
        if colon and self.status:
            self.fields[name.strip().lower()] = value.strip()

    @property
    def redirects(self) -> bool:
        """Whether it sends us elsewhere."""
        return self.status in _REDIRECTS and bool(self.fields.get("location"))

    @property
    def span(self) -> tuple[int, int, int | None] | None:
        """First byte, end (exclusive) and whole size in Content-Range; None where it has none."""
        match = _CONTENT_RANGE.fullmatch(self.fields.get("content-range", "").strip().lower())
        if match is None or match[1] is None:
            return None
        whole = None if match[3] == "*" else int(match[3])
        return int(match[1]), int(match[2]) + 1, whole

    @property
    def empty(self) -> bool:
        """Whether it says that there is no byte of which a part could be given."""
        return self.status == 416 and self.fields.get("content-range", "").endswith("*/0")

    @property
    def size(self) -> int | None:
        """The size of the whole thing in bytes, where the head says it."""
        if self.status == 206:
            return self.span[2] if self.span else None
        length = self.fields.get("content-length", "")
        return int(length) if length.isdecimal() and len(length) < 20 else None

    @property
    def ranges(self) -> bool:
        """Whether parts may be asked for."""
        return self.status == 206 or "bytes" in self.fields.get("accept-ranges", "").lower()

    @property
    def version(self) -> Version:
        """Its size and validators; a weak one is none (RFC 9110, 8.8.1 and 13.1.5)."""
        etag = self.fields.get("etag")
        return Version(
            size=self.size,
            etag=etag if etag and etag.startswith('"') else None,
            modified=self._strong_date(),
        )

    def _strong_date(self) -> str | None:
        """Last-Modified, unless it is from the second in which the answer was made."""
        text = self.fields.get("last-modified")
        modified, now = _seconds(text), _seconds(self.fields.get("date"))
        if modified is None or (now is not None and now - modified < 1):
            return None
        return text

    @property
    def kind(self) -> str | None:
        """The media type without parameters."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower() or None

    def name(self, target: Target) -> str:
        """A safe name: what the server says, else the last part of the path, else the host."""
        given = from_disposition(self.fields.get("content-disposition", ""))
        backup = from_path(target.path, target.host)
        return safe_name(given, fallback=backup) if given else backup

    def error(self, host: str) -> TransferError | None:
        """What the status means for a transfer; None where it is a success."""
        if 200 <= self.status < 300 and self.status not in {204, 205}:
            return None
        return status_error(self.status, host, self.retry_after)

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from Retry-After."""
        text = self.fields.get("retry-after", "")
        if text.isdecimal() and len(text) < 10:
            return float(text)
        when = _seconds(text)
        return None if when is None else max(0.0, when - time.time())


def status_error(status: int, host: str, retry_after: float | None = None) -> TransferError:
    """The typed error for an HTTP status that is no success."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "?"
    said = f"{host} answered {status} {phrase}"
    details: dict[str, Any] = {"http_status": status}
    if status in {404, 410, 451, 204, 205}:
        return SourceNotFound(f"{said}: there is nothing under this link", **details)
    if status in {401, 402, 403, 407}:
        return Unauthorised(
            f"{said}: it wants other credentials or does not let us in",
            hint="give a user name and a password, or the headers that it asks for",
            **details,
        )
    if status in {408, 425, 429, 416} or status >= 500:
        return Refused(f"{said}: not now", retry_after=retry_after, **details)
    return Unsupported(f"{said}: it does not give this link to a plain download", **details)


def request_headers(headers: Mapping[str, str]) -> list[bytes]:
    """The headers of a submission as libcurl wants them; InvalidInput for a wrong one, which
    never repeats the value (it may be a secret)."""
    lines: list[bytes] = []
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidInput(f"{name!r} is not the name of a header")
        if name.lower() in _OURS:
            raise InvalidInput(
                f"the header {name} can't be set", hint="it says how the bytes travel"
            )
        if any((ord(letter) < 32 and letter != "\t") or ord(letter) == 127 for letter in value):
            raise InvalidInput(
                f"the value of the header {name} holds control characters",
                hint="line breaks and the like are not allowed in a header",
            )
        text = f"{name}: {value.strip()}" if value.strip() else f"{name};"
        lines.append(text.encode())
    return lines


def _seconds(text: str | None) -> float | None:
    """UNIX time of an HTTP date; None where it is none."""
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None

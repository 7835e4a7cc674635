"""What rclone says when something fails, as typed errors.

rclone passes on the words of some seventy services, so the kinds are told apart by what those
words have in common; the order matters (a refused connection to port 403 is no 403).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bot.errors import (
    Corrupt,
    NetworkFailed,
    NoSpace,
    Refused,
    SourceNotFound,
    TransferError,
    Unauthorised,
    Unsupported,
)

_LONGEST = 400
_USERINFO = re.compile(r"(?<=://)[^/\s@\"']*@")
_QUERY = re.compile(r"\?[^\s\"']*")
_SECRET = re.compile(
    r"(?i)\b(authorization|bearer|token|password|passwd|pass|secret|signature|key)"
    r"(\s*[=:]\s*|\s+)(?=\S*[0-9=/+])\S{8,}"
)
_NOISE = re.compile(r",? ?(?:RequestID|HostID): [^,]*(?=,|$)")

_KINDS: tuple[tuple[type[TransferError], re.Pattern[str], str | None], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE), hint)
    for kind, pattern, hint in (
        (
            Corrupt,
            (
                r"corrupted on transfer|hash(es)? differ|sizes differ|being updated|BadDigest"
                r"|upload corrupted|checksum mismatch"
            ),
            None,
        ),
        (
            NoSpace,
            (
                r"no space left|disk quota|storage ?quota|quota.{0,20}exceeded"
                r"|insufficient.?storage|out of (disk )?space|StatusCode: 507|\b507 "
                r"|not enough (free )?space|file too large|over[_ ]quota|EntityTooLarge"
            ),
            "make room there, or choose another destination",
        ),
        (
            NetworkFailed,
            (
                r"connection refused|dial tcp|dial unix|no such host|i/o timeout|connection reset"
                r"|network is unreachable|no route to host|broken pipe|TLS handshake|x509"
                r"|couldn't connect ssh|connection (was )?(lost|closed)|use of closed"
            ),
            None,
        ),
        (
            Unauthorised,
            (
                r"AccessDenied|access (is )?denied|InvalidAccessKeyId|SignatureDoesNotMatch"
                r"|StatusCode: 40[13]\b|\b40[13] \w|\b(Forbidden|Unauthori[sz]ed)\b"
                r"|permission denied"
                r"|unable to authenticate|login incorrect|\b530 |invalid_grant|expired.{0,10}token"
                r"|token.{0,20}expired|couldn't fetch token|InvalidToken|invalid credentials"
                r"|knownhosts|key mismatch|empty token"
            ),
            "check the credentials of the remote: rclone config",
        ),
        (
            SourceNotFound,
            (
                r"(directory|object|file|bucket|container|item|path) not found"
                r"|NoSuchBucket|NoSuchKey|no such file|does not exist"
                r"|StatusCode: 404|\b404 |\bNotFound\b|itemNotFound"
            ),
            None,
        ),
        (
            Refused,
            (
                r"\b429\b|too many requests|rate.?limit|SlowDown|StatusCode: 50\d|\b50[0234] "
                r"|Service ?Unavailable|InternalError|internal server error|bad gateway|too_many"
            ),
            None,
        ),
        (NetworkFailed, r"timeout|timed out|deadline exceeded|unexpected EOF|\bEOF\b", None),
        (
            Unsupported,
            (
                r"not supported|unsupported|doesn't support|does not support|not implemented"
                r"|is a file not a directory|is a directory not a file|can't (copy|move)"
                r"|MethodNotAllowed|\b405 "
            ),
            None,
        ),
    )
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` in one line without credentials: known ``secrets``, those in URLs, tokens."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _USERINFO.sub("***@", text)
    text = _QUERY.sub("?***", text)
    text = _SECRET.sub(r"\1\2***", text)
    line = " ".join(_NOISE.sub("", text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def transfer_error(text: str, *, what: str, secrets: Iterable[str] = ()) -> TransferError:
    """The typed error for rclone's ``text``; ``what`` was being done.

    Words that nobody knows are Refused: the other side answered, and another try may go better.
    """
    shown = f"{what}: {redact(text, secrets)}"
    for kind, pattern, hint in _KINDS:
        if pattern.search(text):
            return kind(shown, hint=hint)
    return Refused(shown)

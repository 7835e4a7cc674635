"""Takes what gives access out of texts: the one place that knows what a secret looks like.

``redact`` is for texts of any kind, ``redact_value`` for nested values with names. Both take time
in proportion to the length of the text, and leave one without secrets as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"

#: What a word of a name says about the value: ``api_key``, ``X-Amz-Signature``, ``torrentPass``.
_SECRET_WORDS = frozenset(
    {
        *("auth", "authorization", "authkey", "apikey", "accesskey", "bearer"),
        *("cookie", "cookies", "credential", "credentials", "jwt", "key", "passkey"),
        *("pass", "passphrase", "passwd", "password", "passwords", "pwd", "rsskey"),
        *("secret", "secrets", "sessionid", "sid", "sig", "signature", "token", "tokens"),
    }
)
#: Ends of words that were written together: ``dbpassword``, ``APIToken``, ``jsessionid``.
_SECRET_ENDS = ("password", "passwd", "secret", "token", "apikey", "sessionid")
_HARMLESS = frozenset({"", MASK, "None", "null", "True", "False", "true", "false"})
_SIGNED_URLS = ("x-amz-", "x-goog-")
_WORD = re.compile(r"[A-Z]*[a-z]+|[A-Z]+|\d+")
_DEPTH = 8
_LONGEST_NAME = 256

#: One of these is in every text that ``_HEADER`` or ``_NAME`` would find something in.
_HINTS = (
    *("auth", "bearer", "cookie", "credential", "jwt", "key", "pass", "pwd", "secret", "session"),
    *("sid", "sig", "token", *_SIGNED_URLS),
)
#: ``name=``, ``name: ``, ``"name": ``, and what a repr puts between the two of a pair; the value
#: that follows may be quoted, a table, or one word.
_NAME = re.compile(
    r"""(?<![\w.%-])([A-Za-z_][\w.%-]{0,255})["']?\s?(?:[=:]|(?<=["']),)\s*(?:b(?=["']))?"""
)
_VALUE = re.compile(
    r"""(")(?:[^"\\]|\\.)*"?|(')(?:[^'\\]|\\.)*'?|\{[^}]*\}?|(?:(?i:bearer|basic)\s+)?[^\s"'&;,)\]}]+"""
)
#: A header's value goes to the quote that closes it, or where none opens it to the end of its line.
_HEADER = re.compile(
    r"""(?i)\b((?:proxy-)?authorization|(?:set-)?cookie2?)(["']?\s*[=:,]\s*)"""
    r"""(?:b?(["'])(?:\\.|(?!\3)[^\\\r\n])*\3|[^\r\n]+)"""
)
#: The user of a URL is shown where a password stands behind it; alone it may be a token itself.
_USERINFO = re.compile(
    r"""(?<=://)(?:([^\s/?#:@"'<>]{0,999}):(?!\d{1,5}(?:[/?#]|$))[^\s"'<>]{0,999}@|[^\s/?#"'<>]{0,999}@)"""
)
#: Each kind of token with a text, in lower case, that it can't be without.
_SHAPES = tuple(
    (hint, re.compile(pattern))
    for hint, pattern in (
        ("bearer", r"(?<=(?i:\bbearer)\s)\s*(?!\*)[\w.~+/=-]{6,}"),
        ("basic", r"(?<=\bBasic\s)(?=[a-z]*[A-Z0-9+/=])[A-Za-z0-9+/]{6,}={0,2}"),
        ("mltb_", r"\bmltb_[\w-]{16,}"),
        (":", r"(?<!\d)\d{6,12}:[\w-]{30,}"),  # a Telegram bot
        ("gh", r"\bgh[opsur]_\w{20,}"),
        ("github_pat_", r"\bgithub_pat_\w{20,}"),
        ("xox", r"\bxox[a-z]-[\w-]{10,}"),  # Slack
        ("aki", r"\bAKIA[A-Z0-9]{16}\b"),  # AWS
        ("asi", r"\bASIA[A-Z0-9]{16}\b"),
        ("ya29.", r"\bya29\.[\w-]{10,}"),  # Google
        ("eyj", r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"),  # JSON web token, RFC 7519
        ("age-secret-key-1", r"\bAGE-SECRET-KEY-1[A-Z0-9]+"),
        ("/api/webhooks/", r"(?<=/api/webhooks/)\d+/[\w-]+"),  # Discord
        ("hooks.slack.com", r"(?<=hooks\.slack\.com/services/)[\w/]+"),
        (
            "private key",
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
        ),
    )
)


@lru_cache(maxsize=2048)
def names_secret(name: str) -> bool:
    """Whether a value of that name (a header, a parameter, a setting, a field) is secret."""
    name = name[-_LONGEST_NAME:]
    if name.lower().startswith(_SIGNED_URLS):
        return True
    words = (word.lower() for word in _WORD.findall(name))
    return any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDS) for word in words)


def redact(text: str) -> str:
    """``text`` without what gives access: passwords in URLs, headers, parameters, tokens."""
    if "://" in text:
        text = _USERINFO.sub(_userinfo, text)
    low = text.lower()
    if any(hint in low for hint in _HINTS):
        text = _redact_named(_HEADER.sub(rf"\1\2{MASK}", text))
    for hint, shape in _SHAPES:
        if hint in low:
            text = shape.sub(MASK, text)
    return text


def _redact_named(text: str) -> str:
    parts, at = [], 0
    for name in _NAME.finditer(text):
        if name.start() < at or not names_secret(name[1]):
            continue
        value = _VALUE.match(text, name.end())
        if value is None or value[0].strip("\"'") in _HARMLESS:
            continue
        mark = value[1] or value[2] or ""
        parts += [text[at : name.end()], mark, MASK, mark]
        at = value.end()
    return "".join([*parts, text[at:]])


def redact_value(value: Any, name: str = "", *, redact: Callable[[str], str] = redact) -> Any:
    """A value of JSON types without secrets, by the names in it and by how texts look.

    What is of another type becomes its text; what is nested more deeply than is of use, stars.
    """
    return _value(value, name, redact, _DEPTH)


def _value(value: Any, name: str, redact: Callable[[str], str], depth: int) -> Any:
    if value is None or isinstance(value, (bool, float)):
        return value
    if depth == 0 or (name and names_secret(name)):
        return MASK
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, Mapping):
        return {
            redact(str(key)): _value(each, str(key), redact, depth - 1)
            for key, each in value.items()
        }
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (str, bytes)):
        return [_value(each, "", redact, depth - 1) for each in value]
    return redact(str(value))


class Redactor:
    """``redact`` that knows some secrets by their value too, such as those of the settings."""

    #: What is shorter would take ordinary words out of the log.
    SHORTEST = 6

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for each in secrets for form in _forms(each) if len(form) >= self.SHORTEST}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def __call__(self, text: str) -> str:
        """``text`` without secrets."""
        return redact(text if self._known is None else self._known.sub(MASK, text))


def _userinfo(found: re.Match[str]) -> str:
    user = found[1]
    if user is None:  # Only the first of the two shapes has the user apart.
        user, colon, _ = found[0].partition(":")
        return f"{user}:{MASK}@" if colon else f"{MASK}@"
    return f"{user}:{MASK}@"


def _forms(secret: str) -> Iterator[str]:
    """A secret, the password in it where it is a URL, and each as it stands in a URL."""
    yield secret
    yield quote(secret, safe="")
    login = secret.partition("://")[2].rpartition("@")[0]
    password = login.partition(":")[2]
    yield password
    yield unquote(password)

"""Links as libcurl reads them.

Two readers of one URL that differ about its host are a way around every check, so there is one
reader: libcurl's own, the one that connects. It also writes ``2130706433``, ``0177.1`` and
``0x7f.1`` as the address that they are. Source of the syntax: RFC 3986, RFC 5891, libcurl-url(3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import pycurl

from bot.errors import InvalidInput, Unsupported

PORTS = {"http": 80, "https": 443, "ftp": 21, "ftps": 990, "sftp": 22}
_SHAPE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LONGEST = 8192
_MEANT = f"scheme://host/path of at most {_LONGEST} characters is meant"


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed link. ``url`` carries neither credentials nor fragment and is safe to show."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    user: str | None = None
    password: str | None = None

    @property
    def web(self) -> bool:
        """Whether it is spoken to in HTTP."""
        return self.scheme in {"http", "https"}

    def trusts(self, other: Target) -> bool:
        """Whether what was meant for this server alone may be sent to ``other``: the same origin,
        or the same host after a step up from HTTP to HTTPS."""
        mine, theirs = (self.scheme, self.port), (other.scheme, other.port)
        return self.host == other.host and (
            mine == theirs or (mine, theirs) == (("http", 80), ("https", 443))
        )

    def join(self, location: str) -> Target:
        """The link that ``location`` (of a redirect) means from here; credentials only where it
        has its own."""
        handle = pycurl.CurlUrl(self.url)
        try:
            handle.setpart(pycurl.UPART_URL, _ascii(location, "redirect"), pycurl.U_URLENCODE)
        except pycurl.error as error:
            raise Unsupported(
                f"{self.host} redirects to a link that can't be read: {_shown(location)!r}: "
                f"{error.args[-1]}"
            ) from None
        return _target(handle)

    def bare(self) -> Target:
        """The same link without credentials."""
        return replace(self, user=None, password=None)


def parse(link: str, schemes: Iterable[str] = PORTS) -> Target:
    """Read ``link``. InvalidInput, without any password in it, where it is malformed or its
    scheme is not one of ``schemes``."""
    text = link.strip()
    scheme = text.partition(":")[0].lower()
    if not _SCHEME.match(text):
        raise InvalidInput(f"{_shown(text)!r} is not a link", hint=_MEANT)
    if scheme not in schemes:
        raise InvalidInput(
            f"the scheme {scheme[:40]!r} is not known here",
            hint=f"known are {', '.join(sorted(schemes))}",
        )
    return _parsed(text)


@lru_cache(256)  # A task has its link read half a dozen times, mostly within a moment.
def _parsed(text: str) -> Target:
    shape = _SHAPE.fullmatch(text)
    if shape is None or not shape[2] or len(text) > _LONGEST:
        what = "is too long" if len(text) > _LONGEST else "names no host"
        raise InvalidInput(f"{_shown(text)!r} {what}", hint=_MEANT)
    handle = pycurl.CurlUrl()
    try:
        handle.setpart(pycurl.UPART_URL, _ascii(text, "link"), pycurl.U_URLENCODE)
    except pycurl.error as error:
        raise InvalidInput(
            f"{_shown(text)!r} is not a link: {error.args[-1]}", hint=_MEANT
        ) from None
    return _target(handle)


def _target(handle: pycurl.CurlUrl) -> Target:
    scheme = (handle.scheme or "").lower()
    host = (handle.host or "").strip("[]").lower()
    user, password = handle.user, handle.password
    handle.user = handle.password = handle.fragment = None
    if scheme not in PORTS:
        raise Unsupported(
            f"a redirect to the scheme {scheme!r} is not followed",
            hint=f"followed are {', '.join(sorted(PORTS))}",
        )
    return Target(
        url=handle.url or "",
        scheme=scheme,
        host=host,
        port=int(handle.port or PORTS[scheme]),
        path=handle.path or "/",
        user=None if user is None else unquote(user),
        password=None if password is None else unquote(password),
    )


def _ascii(text: str, what: str) -> bytes:
    """``text`` with its host as libcurl wants it, which knows no international names."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise InvalidInput(f"the {what} {_shown(text)!r} holds control characters")
    shape = _SHAPE.fullmatch(text)
    if shape is None or text.isascii():
        return text.encode("utf-8", "replace")
    userinfo, at, server = shape[2].rpartition("@")
    host, colon, port = server.partition(":") if not server.startswith("[") else (server, "", "")
    try:
        name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        raise InvalidInput(f"{host!r} is not the name of a host") from None
    rest = quote(shape[3], safe="%/?#[]@!$&'()*+,;=:-._~ ", errors="replace")
    return f"{shape[1]}://{quote(userinfo, safe='%:')}{at}{name}{colon}{port}{rest}".encode()


def _shown(text: str) -> str:
    """``text`` for a message: short, and without what may be a password."""
    _, at, behind = text.partition("://")[2].rpartition("@")
    try:
        scheme = urlsplit(text).scheme
    except ValueError:
        scheme = "?"
    return (f"{scheme}://***@{behind}" if at else text)[:120]

"""One request after the other until there is an answer: redirects by hand, one check a hop.

libcurl could follow redirects by itself, but would send a submission's own headers along to any
host. Here whatever may be a secret stays with the server that it was given for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pycurl

from bot.domain.task import TaskOptions
from bot.engines.curl import CurlLoop
from bot.engines.curl_handle import Handle
from bot.engines.http_heads import Head, Version, request_headers
from bot.engines.urls import Target
from bot.errors import (
    NetworkFailed,
    PolicyRefused,
    Refused,
    TransferError,
    Unsupported,
)

#: Headers of a submission that any server may see.
_PUBLIC = frozenset({"accept", "accept-language", "referer", "user-agent"})
_AUTH = pycurl.HTTPAUTH_BASIC | pycurl.HTTPAUTH_DIGEST
_SSH_AUTH = pycurl.SSH_AUTH_PASSWORD | pycurl.SSH_AUTH_KEYBOARD


@dataclass(frozen=True, slots=True)
class Access:
    """Where to ask and what to show there."""

    target: Target
    user: str | None = None
    password: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, target: Target, options: TaskOptions) -> Access:
        """What a submission gives; its own user name wins over the one in the link."""
        request_headers(options.headers)
        if options.username is None:
            user, password = target.user, target.password
        else:
            user, password = options.username, options.password
        return cls(target.bare(), user, password, tuple(options.headers.items()))

    def towards(self, target: Target) -> Access:
        """The same at ``target``, without secrets where that is another server."""
        if self.target.trusts(target):
            moved = replace(self, target=target.bare())
        else:
            kept = tuple(item for item in self.headers if item[0].lower() in _PUBLIC)
            moved = Access(target.bare(), headers=kept)
        if target.user is not None:
            moved = replace(moved, user=target.user, password=target.password)
        return moved


Prepare = Callable[[Handle, Head, Access], None]


class Exchange:
    """How this engine speaks to servers. Times in seconds."""

    def __init__(
        self,
        loop: CurlLoop,
        *,
        connect_timeout: float,
        stall_timeout: float,
        max_redirects: int,
        user_agent: str,
        known_hosts: Path | None,
    ) -> None:
        self.loop = loop
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._max_redirects = max_redirects
        self._user_agent = user_agent
        self._known_hosts = known_hosts

    async def follow(self, access: Access, prepare: Prepare) -> tuple[Head, Access]:
        """Ask, through redirects, until an answer comes that is none. Its body went where
        ``prepare`` (called for each hop) let it; the result says who answered.

        Raises what the network, the policy or the number of redirects give cause for; an answer
        with an error status is returned.
        """
        seen: list[str] = []
        while True:
            head = await self._once(access, prepare)
            if not head.redirects:
                return head, access
            seen.append(access.target.url)
            following = access.target.join(head.fields["location"])
            if len(seen) > self._max_redirects:
                loops = following.url in seen
                raise Unsupported(
                    f"{access.target.host} redirects "
                    + ("in a circle" if loops else f"more than {self._max_redirects} times"),
                    hint="HTTP_MAX_REDIRECTS is the limit",
                )
            access = access.towards(following)

    async def _once(self, access: Access, prepare: Prepare) -> Head:
        head = Head()
        handle = self._handle(access)
        try:
            handle.set(pycurl.HEADERFUNCTION, head.line)
            prepare(handle, head, access)
            await self.loop.perform(handle)
        finally:
            self.loop.release(handle)
        return head

    def _handle(self, access: Access) -> Handle:
        target = access.target
        if target.scheme == "sftp":
            self._check_known_hosts(target.host)
        handle = self.loop.handle(target.url)
        stall = max(1, round(self._stall_timeout))
        handle.set(pycurl.CONNECTTIMEOUT_MS, max(1, int(self._connect_timeout * 1000)))
        handle.set(pycurl.LOW_SPEED_LIMIT, 1)
        handle.set(pycurl.LOW_SPEED_TIME, stall)
        handle.set(pycurl.FTP_RESPONSE_TIMEOUT, stall)
        handle.set(pycurl.OPT_FILETIME, 1)
        if access.user is not None:
            handle.set(pycurl.USERNAME, access.user.encode())
            handle.set(pycurl.PASSWORD, (access.password or "").encode())
            handle.set(pycurl.HTTPAUTH, _AUTH)
        if target.web:
            handle.set(pycurl.USERAGENT, self._user_agent)
            handle.headers += request_headers(dict(access.headers))
        elif target.scheme == "sftp":
            handle.set(pycurl.SSH_KNOWNHOSTS, str(self._known_hosts))
            handle.set(pycurl.SSH_AUTH_TYPES, _SSH_AUTH)
        return handle

    def _check_known_hosts(self, host: str) -> None:
        if self._known_hosts is None or not self._known_hosts.is_file():
            state = "is not set" if self._known_hosts is None else "names no file"
            raise PolicyRefused(
                f"the key of {host} is not known: SFTP_KNOWN_HOSTS {state}",
                hint="let it name a known_hosts file with this host, such as one that "
                "`ssh-keyscan -p PORT HOST` made and whose fingerprint you compared",
            )

    async def examine(self, access: Access) -> tuple[Head, Access]:
        """Size, name, validators and ranges without the bytes: HEAD, or one byte where a server
        does not answer HEAD well. Raises a TransferError for an error status."""
        if not access.target.web:
            return await self._examine_file(access)
        try:
            head, found = await self.follow(access, _head_only)
            refusal: TransferError | None = head.error(found.target.host)
        except (NetworkFailed, Refused) as error:
            head, found, refusal = Head(), access, error
        if refusal is not None or head.size is None:
            head, found = await self.follow(access, _first_byte)
            if head.empty:  # an empty file has no first byte
                head.status, head.fields["content-length"] = 200, "0"
            refusal = head.error(found.target.host)
        if refusal is not None:
            raise refusal
        return head, found

    async def _examine_file(self, access: Access) -> tuple[Head, Access]:
        """FTP and SFTP: size and time of a file, in the words of HTTP."""
        if access.target.path.endswith("/"):
            raise Unsupported(
                f"{access.target.url} is a directory", hint="a link to one file is meant"
            )
        head = Head()
        handle = self._handle(access)
        try:
            handle.set(pycurl.NOBODY, 1)
            handle.set(pycurl.WRITEFUNCTION, lambda _data: None)
            await self.loop.perform(handle)
            size = int(handle.curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T))
            changed = int(handle.curl.getinfo(pycurl.INFO_FILETIME))
        finally:
            self.loop.release(handle)
        head.status = 200
        if size >= 0:
            head.fields["content-length"] = str(size)
            head.fields["accept-ranges"] = "bytes"
        if changed >= 0:
            head.fields["etag"] = f'"{changed}"'
        return head, access


def ask_range(handle: Handle, target: Target, start: int, end: int | None, known: Version) -> None:
    """Ask for ``[start, end)``, of the version that is ``known`` or else for everything."""
    if start == 0 and end is None:
        return
    handle.set(pycurl.RANGE, f"{start}-{'' if end is None else end - 1}")
    if target.web and known.validator is not None:
        handle.headers.append(f"If-Range: {known.validator}".encode())


def _head_only(handle: Handle, _head: Head, _access: Access) -> None:
    handle.set(pycurl.NOBODY, 1)


def _first_byte(handle: Handle, _head: Head, _access: Access) -> None:
    """One byte; and no more than the first piece of a body that is the whole file after all."""
    handle.set(pycurl.RANGE, "0-0")
    handle.set(pycurl.WRITEFUNCTION, lambda _data: handle.stop())

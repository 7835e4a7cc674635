"""Asks the plugins of the type ``source`` what a link stands for, before any engine sees it."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from bot.domain.links import Expansion, Link
from bot.errors import MltbError, PluginFailed
from bot.plugins.hooks import Name
from bot.plugins.supervisor import Plugin, Supervisor

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds that one submission waits for all its links together
_MOST = 1000  # links that one stands for
_LONGEST = 8192
_PORTS = {"http": 80, "https": 443}
#: What a plugin may answer with; never a path of this machine, nor a remote of the operator.
_SCHEMES = frozenset({"http", "https", "ftp", "ftps", "magnet"})

_Url = Annotated[
    str, msgspec.Meta(min_length=1, max_length=_LONGEST, pattern=r"\A[^\x00-\x20\x7f]*\Z")
]


class _Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: _Url
    name: Name | None = None


_Answer = Annotated[list[_Url | _Named], msgspec.Meta(max_length=_MOST)] | None


class SourcePlugins:
    """Satisfies ``LinkSources``. ``supervisors`` gives the plugins that were started, by name."""

    def __init__(self, supervisors: Callable[[], Iterable[Supervisor]]) -> None:
        self._supervisors = supervisors

    def wants(self, source: str) -> bool:
        """Whether a plugin that runs has named links like that one."""
        return bool(self._asked(source))

    async def expand(self, sources: Sequence[str]) -> Sequence[Expansion]:
        """What each of them stands for."""
        end = asyncio.get_running_loop().time() + _PATIENCE
        return [await self._expand(source, end) for source in sources]

    async def _expand(self, source: str, end: float) -> Expansion:
        failed: list[str] = []
        for supervisor in self._asked(source):
            try:
                async with asyncio.timeout_at(end):
                    links = await _links(supervisor, source)
            except TimeoutError:
                failed.append(f"plugin {supervisor.plugin.id}: no answer in {_PATIENCE:g} s")
            except MltbError as error:
                failed.append(error.message)
            else:
                if links is not None:
                    return Expansion(links)
        for line in failed:
            log.warning("a link goes to the engines as it is: %s", line)
        return Expansion(error="; ".join(failed) or None)

    def _asked(self, source: str) -> list[Supervisor]:
        if len(source) > _LONGEST or _authority(source) is None:
            return []
        return [
            each
            for each in self._supervisors()
            if each.plugin.type == "source"
            and any(
                fnmatch.fnmatchcase(source, glob)
                for glob in each.plugin.package.manifest.source.match
            )
        ]


async def _links(supervisor: Supervisor, source: str) -> list[Link] | None:
    plugin = supervisor.plugin
    with _lent(plugin, source):
        answer = await supervisor.call("execute", source)
    try:
        found: Any = msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise PluginFailed(f"plugin {plugin.id}: a wrong answer: {error}") from None
    if found is None:
        return None
    links = [Link(each) if isinstance(each, str) else Link(each.url, each.name) for each in found]
    for link in links:
        if link.url.partition(":")[0].lower() not in _SCHEMES:
            raise PluginFailed(
                f"plugin {plugin.id}: {link.url[:80]!r} is no link that a plugin may give"
            )
    return links


@contextlib.contextmanager
def _lent(plugin: Plugin, source: str) -> Iterator[None]:
    """While this is entered the plugin reaches the host of the link, where it has that right."""
    host = _authority(source)
    if host is None or not plugin.package.manifest.rights.link:
        yield
        return
    plugin.lent.append(host)
    try:
        yield
    finally:
        plugin.lent.remove(host)


def _authority(source: str) -> str | None:
    """``host:port`` of an http(s) link without a password in it; None of anything else."""
    try:
        parts = urlsplit(source)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    return f"{parts.hostname}:{port}"

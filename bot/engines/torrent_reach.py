"""Whom a torrent may talk to: its trackers, web seeds and peers under the egress policy.

The worker refuses addresses by itself (``EgressPolicy.rules`` become libtorrent's ``ip_filter``);
here is what an address filter can't see. Trackers that hand out WebRTC peers (``ws``, ``wss``)
are left out: libtorrent connects to such peers without asking its filter. A host that is allowed
by its name is resolved here, once per job, and its addresses are let through for the whole
session; an address that its name gets later is not.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bot.engines.egress import EgressPolicy
from bot.engines.torrent_source import Contents
from bot.errors import InvalidInput, PolicyRefused

_TRACKERS = frozenset({"http", "https", "udp"})
_WEB_SEEDS = frozenset({"http", "https"})
_MAX_TRACKERS = 200
_MAX_WEB_SEEDS = 50


@dataclass(slots=True)
class Reach:
    """What is left, what is refused (each with the reason), which addresses to let through."""

    trackers: list[str] = field(default_factory=list)
    web_seeds: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    peers: list[tuple[str, int]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nobody is left to ask."""
        return not (self.trackers or self.web_seeds or self.peers)


async def reach(policy: EgressPolicy, contents: Contents) -> Reach:
    """Sort out the trackers, web seeds and peers that a torrent names."""
    found = Reach()
    for url in dict.fromkeys(contents.trackers):
        if _passes(policy, url, _TRACKERS, found) and len(found.trackers) < _MAX_TRACKERS:
            found.trackers.append(url)
    for url in dict.fromkeys(contents.web_seeds):
        if _passes(policy, url, _WEB_SEEDS, found) and len(found.web_seeds) < _MAX_WEB_SEEDS:
            found.web_seeds.append(url)
    for address, port in contents.peers:
        if policy.allows(address):
            found.peers.append((address, port))
        else:
            found.refused.append(f"peer {address}: an address that transfers may not reach")
    hosts = {urlsplit(url).hostname for url in (*found.trackers, *found.web_seeds)}
    for host in sorted(host for host in hosts if host and policy.allows_host(host)):
        found.addresses += await _addresses(host)
    return found


def _passes(policy: EgressPolicy, url: str, schemes: frozenset[str], found: Reach) -> bool:
    try:
        policy.check_url(url, schemes)
    except (PolicyRefused, InvalidInput) as error:
        found.refused.append(f"{url[:200]}: {error.message}")
        return False
    return True


async def _addresses(host: str) -> list[str]:
    """The addresses of ``host``; none where it can't be resolved, which its tracker will report."""
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(sockaddr[0]).partition("%")[0] for *_, sockaddr in answers})

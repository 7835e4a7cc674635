"""The one egress policy: which addresses transfers may connect to.

Default: nothing but globally reachable unicast addresses. Loopback, private, link-local, multicast,
carrier-grade NAT, documentation, reserved and metadata addresses are refused, in IPv4, in IPv6 and
in the forms that carry an IPv4 address inside an IPv6 one (mapped, compatible, 6to4, Teredo,
NAT64). The check is made on the address that is connected to, never on a name: a second DNS answer
can't change it. Source of the ranges: the IANA special-purpose address registries, as the standard
library's ``ipaddress`` knows them, and RFC 6052, RFC 3056, RFC 4380 for the embedded forms.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from bot.errors import InvalidInput, PolicyRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The URL schemes that transfers may use; no ``file``, ``gopher``, ``dict`` and the like.
SCHEMES = frozenset({"http", "https", "ftp", "ftps", "sftp", "magnet", "udp", "ws", "wss"})

_NAT64 = (
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
)
_COMPATIBLE = ipaddress.IPv6Network("::/96")
#: Never let through by "globally reachable" alone: site-local, 6to4 relays, benchmarks, discard.
_REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "168.63.129.16/32",  # the metadata and DNS address of a large cloud
        "192.88.99.0/24",
        "192.0.0.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "100::/64",
        "fec0::/10",
        "5f00::/16",
    )
)

#: The policy without what the operator allows, for programs that filter by ranges: what is
#: unicast at all, and in it what is refused. IPv6 forms that carry an IPv4 address are refused but
#: for the NAT64 prefix, which stands for the IPv4 internet where there is no other way to it.
_V4_RANGES: tuple[str, ...] = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
)
_V6_UNICAST = "2000::/3"
_V6_RANGES: tuple[str, ...] = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
#: Where IPv6 addresses carry an IPv4 address in their last four bytes: mapped and NAT64.
_CARRIERS = (ipaddress.IPv6Address("::ffff:0:0"), ipaddress.IPv6Address("64:ff9b::"))


class EgressPolicy:
    """Says whether an address may be connected to.

    ``allow`` widens the policy: CIDRs and addresses (canonical text) and host names; ``*.name``
    stands for every subdomain of ``name``. An allowed host lets through whatever addresses its
    name resolves to.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        for entry in allow:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                if entry.startswith("*."):
                    self._suffixes += (entry[1:].lower(),)
                else:
                    self._hosts.add(entry.lower().rstrip("."))

    @property
    def allowed_networks(self) -> tuple[Network, ...]:
        """The networks that the operator lets through."""
        return tuple(self._networks)

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The host names (``*.name`` for subdomains) that the operator lets through."""
        return (*sorted(self._hosts), *(f"*{suffix}" for suffix in self._suffixes))

    def allows_host(self, host: str | None) -> bool:
        """Whether the operator lets this host through by its name."""
        if not host:
            return False
        name = host.lower().rstrip(".")
        return name in self._hosts or name.endswith(self._suffixes or ("\0",))

    def allows(self, address: str, host: str | None = None) -> bool:
        """Whether ``address`` (text, IPv4 or IPv6, a zone is ignored), reached under the name
        ``host``, may be connected to."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0].strip("[]"))
        except ValueError:
            return False
        if any(parsed in network for network in self._networks):
            return True
        if self.allows_host(host):
            return True
        return all(self._allows_one(form) for form in _forms(parsed))

    def _allows_one(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        if any(address in network for network in _REFUSED):
            return False
        return address.is_global and not address.is_multicast and not address.is_reserved

    def rules(self) -> list[tuple[Network, bool]]:
        """The policy for a program that filters by itself: networks, and whether each is let
        through. A later rule wins over an earlier one.

        Never wider than ``allows``; narrower for hosts that are allowed by name, which addresses
        can't express, and for some IPv6 forms that carry an IPv4 address.
        """
        v4 = [(ipaddress.IPv4Network(text), False) for text in _V4_RANGES]
        v6: list[tuple[Network, bool]] = [
            (ipaddress.IPv6Network("::/0"), False),
            (ipaddress.IPv6Network(_V6_UNICAST), True),
            (_NAT64[0], True),
            *((ipaddress.IPv6Network(text), False) for text in _V6_RANGES),
        ]
        v6 += [(form, False) for network, _ in v4 for form in _carried(network)]
        rules = [*v4, *v6, *((network, True) for network in self._networks)]
        for network in self._networks:
            if isinstance(network, ipaddress.IPv4Network):
                rules += [(form, True) for form in _carried(network)]
        return rules

    def check(self, address: str, host: str | None = None) -> None:
        """PolicyRefused unless ``allows``."""
        if not self.allows(address, host):
            raise PolicyRefused(
                f"{f'{host} is {address}, an' if host and host != address else f'{address} is an'}"
                " address that transfers may not reach",
                hint=f"the operator can let it through: EGRESS_ALLOW={address}",
                address=address,
            )

    def check_url(self, url: str, schemes: Iterable[str] = SCHEMES) -> None:
        """PolicyRefused where the scheme of ``url`` is not allowed or its host is an address that
        is not; a host name is checked later, on the address that is connected to.

        InvalidInput where ``url`` is malformed.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname
            _ = parts.port
        except ValueError as error:
            raise InvalidInput(f"{url!r} is not a URL: {error}") from None
        if parts.scheme.lower() not in schemes:
            raise PolicyRefused(
                f"the scheme {parts.scheme or '(none)'!r} is not allowed",
                hint=f"allowed are {', '.join(sorted(schemes))}",
            )
        try:
            literal = str(ipaddress.ip_address((host or "").partition("%")[0]))
        except ValueError:
            return
        self.check(literal, host)


def _carried(network: ipaddress.IPv4Network) -> Iterator[ipaddress.IPv6Network]:
    """The IPv6 networks that carry ``network``."""
    for carrier in _CARRIERS:
        base = int(carrier) | int(network.network_address)
        yield ipaddress.IPv6Network((base, 96 + network.prefixlen))


def _forms(address: Address) -> Iterator[Address]:
    """The address, and every IPv4 address that it carries inside."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    inner: list[ipaddress.IPv4Address] = []
    if address.ipv4_mapped:
        yield address.ipv4_mapped
        return
    if address.sixtofour:
        inner.append(address.sixtofour)
    if address.teredo:
        inner.extend(address.teredo)
    embeds = any(address in network for network in _NAT64)
    if embeds or address in _COMPATIBLE:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if not embeds:
        yield address
    yield from inner

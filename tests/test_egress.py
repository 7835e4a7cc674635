"""The egress policy, alone and under libcurl: what a link, a redirect or DNS may not reach."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.engines.egress import EgressPolicy
from bot.errors import InvalidInput, NetworkFailed, PolicyRefused, TransferError
from tests.fetching import fetcher
from tests.servers.dns import RebindingResolver
from tests.servers.ftp import FtpServer
from tests.servers.http import HttpServer
from tests.servers.routes import Generated, Page, Redirect, Resource

REFUSED = [
    *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "168.63.129.16", "100.64.0.1", "224.0.0.1", "255.255.255.255"),
    *("192.0.2.1", "198.18.0.1", "240.0.0.1", "192.88.99.1"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::", "2001:db8::1", "100::1"),
    *("", "localhost", "not an address", "1.2.3", "999.1.1.1"),
]
PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not EgressPolicy().allows(address)
    with pytest.raises(PolicyRefused):
        EgressPolicy().check(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    EgressPolicy().check(address)


@given(addresses)
def test_nothing_that_is_not_global_passes(address: ipaddress.IPv4Address) -> None:
    if EgressPolicy().allows(str(address)):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_every_ipv6_form_is_treated_as_the_ipv4_address_it_carries(
    address: ipaddress.IPv4Address,
) -> None:
    policy = EgressPolicy()
    number = int(address)
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | number)
    translated = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number)
    assert policy.allows(str(mapped)) == policy.allows(str(address))
    assert policy.allows(str(translated)) == policy.allows(str(address))
    if not policy.allows(str(address)):
        tunnel = ipaddress.IPv6Address(0x2002 << 112 | number << 80)
        assert not policy.allows(str(tunnel))


@given(addresses, st.integers(8, 32))
def test_an_allowed_network_lets_its_addresses_through_and_no_more(
    address: ipaddress.IPv4Address, bits: int
) -> None:
    network = ipaddress.ip_network((address, bits), strict=False)
    policy = EgressPolicy([str(network)])
    assert policy.allows(str(address))
    before = int(network.network_address) - 1
    if before >= 0:
        outside = type(address)(before)
        assert policy.allows(str(outside)) == EgressPolicy().allows(str(outside))


@given(st.text(max_size=40))
def test_any_text_gets_an_answer(text: str) -> None:
    EgressPolicy().allows(text, text)
    with contextlib.suppress(PolicyRefused, InvalidInput):
        EgressPolicy().check_url(text)


def test_an_allowed_host_is_allowed_by_its_exact_name() -> None:
    policy = EgressPolicy(["internal.example", "*.corp.example"])
    for host in ("internal.example", "INTERNAL.example.", "a.corp.example", "a.b.corp.example"):
        assert policy.allows("10.0.0.1", host)
    for host in ("internal.example.evil", "xinternal.example", "corp.example", "xcorp.example"):
        assert not policy.allows("10.0.0.1", host)
    assert not policy.allows("10.0.0.1", None)


def test_a_refusal_says_what_lets_it_through() -> None:
    with pytest.raises(PolicyRefused, match=r"EGRESS_ALLOW=10\.0\.0\.1") as caught:
        EgressPolicy().check("10.0.0.1", "files.example")
    assert "files.example is 10.0.0.1" in caught.value.message


# Under libcurl. The policy lets 127.0.0.1 through, and the targets listen elsewhere.


@pytest.fixture
def target() -> Iterator[HttpServer]:
    """What must not be reached."""
    with HttpServer(host="127.0.0.2") as server:
        server.add("/secret", Page("secret"))
        yield server
        assert server.seen.connections == 0, "a refused address was connected to"


@pytest.fixture
def target6() -> Iterator[HttpServer]:
    with HttpServer(host="::1") as server:
        server.add("/secret", Page("secret"))
        yield server
        assert server.seen.connections == 0, "a refused address was connected to"


def spellings(port: int) -> list[str]:
    """127.0.0.2, as it should not be written."""
    return [
        f"http://{host}:{port}/secret"
        for host in (
            *("127.0.0.2", "2130706434", "0x7f000002", "0177.0.0.2", "0x7f.0.0.2", "127.2"),
            *("017700000002", "127.0.0.2.", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]"),
            *("user@127.0.0.2", "127.0.0.1@127.0.0.2", "127.0.0.1:80@127.0.0.2"),
            *("%31%32%37.0.0.2", "\uff11\uff12\uff17.0.0.2", "127\u30020\u30020\u30022"),
        )
    ]


@pytest.mark.parametrize("number", range(len(spellings(0))))
async def test_no_spelling_of_a_refused_address_is_reached(
    number: int, target: HttpServer, tmp_path: Path
) -> None:
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises((PolicyRefused, InvalidInput)):
            await mine.fetch(spellings(target.port)[number])


@pytest.mark.parametrize("number", range(len(spellings(0))))
async def test_no_redirect_to_a_refused_address_is_followed(
    number: int, target: HttpServer, http_server: HttpServer, tmp_path: Path
) -> None:
    to = spellings(target.port)[number].encode("ascii", "ignore").decode()
    url = http_server.add("/go", Redirect(to))
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises((TransferError, InvalidInput)) as caught:
            await mine.fetch(url)
        assert not isinstance(caught.value, NetworkFailed) or "resolve" in str(caught.value)
        with pytest.raises((TransferError, InvalidInput)):
            await mine.plan(url)


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "gopher://127.0.0.1/x", "dict://127.0.0.1/x", "javascript:1"]
)
async def test_a_redirect_to_another_scheme_is_not_followed(
    to: str, http_server: HttpServer, tmp_path: Path
) -> None:
    url = http_server.add("/go", Redirect(to))
    async with fetcher(tmp_path / "job") as mine:
        with pytest.raises(TransferError) as caught:
            await mine.fetch(url)
        assert caught.value.code in {"unsupported", "source_not_found", "policy"}
        assert mine.files() == []


async def test_ipv6_loopback_is_refused(target6: HttpServer, tmp_path: Path) -> None:
    async with fetcher(tmp_path / "job") as mine:
        for host in ("[::1]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]"):
            with pytest.raises(PolicyRefused):
                await mine.fetch(f"http://{host}:{target6.port}/secret")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost"])
async def test_names_of_this_machine_are_refused(
    host: str, http_server: HttpServer, tmp_path: Path
) -> None:
    async with fetcher(tmp_path / "job", allow=()) as mine:
        with pytest.raises(PolicyRefused):
            await mine.fetch(f"http://{host}:{http_server.port}/secret")
    assert http_server.seen.connections == 0


async def test_a_name_that_changes_its_mind_is_refused_at_the_socket(
    target: HttpServer, http_server: HttpServer, tmp_path: Path
) -> None:
    resolver = RebindingResolver({"evil.test": [["127.0.0.1"], ["127.0.0.2"]]})
    with HttpServer(host="127.0.0.1") as server:
        server.add("/go", Redirect(f"http://evil.test:{target.port}/secret"))
        async with fetcher(tmp_path / "job", resolve=resolver) as mine:
            with pytest.raises(PolicyRefused, match=r"evil.test is 127\.0\.0\.2"):
                await mine.fetch(f"http://evil.test:{server.port}/go")
        assert server.seen.count("/go") == 1
    assert resolver.asked["evil.test"] == 2


async def test_a_name_with_a_good_and_a_bad_address_reaches_the_good_one_only(
    http_server: HttpServer, tmp_path: Path
) -> None:
    resolver = RebindingResolver({"two.test": [["127.0.0.2", "127.0.0.1"]]})
    http_server.add("/f", Resource(Generated(1000)))
    async with fetcher(tmp_path / "job", resolve=resolver) as mine:
        fetched = await mine.fetch(f"http://two.test:{http_server.port}/f")
    assert fetched.files[0].sha256 == Generated(1000).sha256


async def test_an_allowed_host_is_the_one_that_libcurl_sees(
    target: HttpServer, tmp_path: Path
) -> None:
    resolver = RebindingResolver({})
    async with fetcher(tmp_path / "job", allow=("good.test",), resolve=resolver) as mine:
        for host in ("good.test@127.0.0.2", "good.test:80@127.0.0.2", "good.test%40@127.0.0.2"):
            with pytest.raises((PolicyRefused, InvalidInput)):
                await mine.fetch(f"http://{host}:{target.port}/secret")
        for trick in ("\\@", "%00", "#@", "?@", "/@", "\t", "\r\n"):
            url = f"http://127.0.0.2:{target.port}{trick}good.test/secret"
            with pytest.raises((PolicyRefused, InvalidInput, NetworkFailed)):
                await mine.fetch(url)


async def test_an_ftp_server_on_a_refused_address_is_not_reached(tmp_path: Path) -> None:
    root = tmp_path / "ftp"
    root.mkdir()
    (root / "f").write_bytes(b"x")
    with FtpServer(root, host="127.0.0.2") as server:
        async with fetcher(tmp_path / "job") as mine:
            with pytest.raises(PolicyRefused):
                await mine.fetch(server.url("/f"))

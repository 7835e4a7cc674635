"""Certificates of an authority that exists for one test run.

authority = Authority()
with HttpServer(tls=authority.server()) as server: ...
curl.setopt(pycurl.CAINFO, str(authority.write(tmp_path)))
"""

import datetime as dt
import ssl
from pathlib import Path

import trustme

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Authority:
    """A certificate authority, and server contexts good and bad."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def write(self, directory: Path) -> Path:
        """The authority's certificate as a PEM file, for a client to trust."""
        path = directory / "authority.pem"
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def client(self) -> ssl.SSLContext:
        """A context of the standard library that trusts the authority."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    def server(self, *names: str) -> ssl.SSLContext:
        """A good certificate, for loopback or for these names."""
        return _context(self._ca.issue_cert(*(names or LOOPBACK)))

    def wrong_host(self) -> ssl.SSLContext:
        return self.server("elsewhere.test")

    def expired(self) -> ssl.SSLContext:
        past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        day = dt.timedelta(days=1)
        return _context(self._ca.issue_cert(*LOOPBACK, not_before=past - day, not_after=past))

    def untrusted(self) -> ssl.SSLContext:
        """Signed by an authority that nobody knows."""
        return _context(trustme.CA().issue_cert(*LOOPBACK))

    def files(self, directory: Path, *names: str) -> tuple[Path, Path]:
        """A good certificate as a PEM chain and a key file, for a program."""
        leaf = self._ca.issue_cert(*(names or LOOPBACK))
        chain, key = directory / "server.pem", directory / "server.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return chain, key


def _context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf.configure_cert(context)
    return context

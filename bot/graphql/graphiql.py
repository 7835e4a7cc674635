"""The page of GraphiQL, for browsers."""

from __future__ import annotations

import functools
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "web/static/graphiql.html"

#: The editor of GraphiQL writes styles as it goes; scripts come from here alone.
HEADERS = [
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
            b"img-src 'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; "
            b"form-action 'none'; frame-ancestors 'none'"
        ),
    ),
]


@functools.cache
def page() -> bytes:
    """GraphiQL, for browsers."""
    return _PAGE.read_bytes()

"""What a link can stand for, and the port to those who know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Link(msgspec.Struct, frozen=True):
    """Something that an engine can fetch; ``name`` is what it is called, where that is known."""

    url: str
    name: str | None = None


class Expansion(msgspec.Struct, frozen=True):
    """What became of a link: the links that it stands for, None where nobody says so; ``error`` is
    what went wrong meanwhile."""

    links: list[Link] | None = None
    error: str | None = None


class LinkSources(Protocol):
    """Knows what links stand for."""

    def wants(self, source: str) -> bool:
        """Whether anybody is to be asked about it. No input or output."""

    async def expand(self, sources: Sequence[str]) -> Sequence[Expansion]:
        """One for each of the sources, within a time limit for all. Never raises for them."""

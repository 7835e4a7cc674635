"""Which queries are asked most, and which of their answers are made anew before they expire."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bot.graphql.documents import Document, Operation
from bot.services import Caller

_DOCUMENTS, _ANSWERS = 1000, 500  # that are remembered, those asked last
_SHOWN = 1000  # characters of a document
_ENOUGH = 2  # times that an answer was asked for since it was made
_EARLY = 0.9  # of its life, after which it is made anew
_SHORTEST = 10.0  # seconds of life that are worth it
_LARGEST = 8192  # bytes of variables that are remembered


@dataclass(slots=True)
class Heat:
    """How often a document was asked, and how long its answers took."""

    fingerprint: str
    operation: str | None
    document: str
    count: int = 0
    hits: int = 0
    made: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    last_at: float = 0.0

    def add(self, seconds: float) -> None:
        """An answer was made in so many seconds."""
        self.made += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)


@dataclass(slots=True)
class Kept:
    """An answer that is kept, and how to make it anew."""

    document: Document
    operation: Operation
    variables: Mapping[str, Any]
    caller: Caller
    ttl: float
    made_at: float
    asked: int = 0


@dataclass(slots=True)
class HotQueries:
    """Counts since the start; bounded."""

    _heats: OrderedDict[str, Heat] = field(default_factory=OrderedDict)
    _kept: OrderedDict[str, Kept] = field(default_factory=OrderedDict)

    def asked(self, document: Document, operation: Operation, at: float) -> Heat:
        """A document was asked at that time (UNIX seconds)."""
        heat = self._heats.get(document.fingerprint)
        if heat is None:
            heat = Heat(document.fingerprint, operation.name, document.text[:_SHOWN])
            self._heats[document.fingerprint] = heat
            if len(self._heats) > _DOCUMENTS:
                self._heats.popitem(last=False)
        heat.count += 1
        heat.last_at = at
        return heat

    def made(self, document: Document, seconds: float) -> None:
        """An answer to a document was made in so many seconds."""
        heat = self._heats.get(document.fingerprint)
        if heat is not None:
            heat.add(seconds)

    def hit(self, key: str) -> None:
        """A kept answer was asked for."""
        kept = self._kept.get(key)
        if kept is not None:
            kept.asked += 1

    def keep(self, key: str, kept: Kept) -> None:
        """An answer was made and is kept."""
        if kept.ttl >= _SHORTEST and len(msgspec.json.encode(kept.variables)) <= _LARGEST:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            if len(self._kept) > _ANSWERS:
                self._kept.popitem(last=False)

    def due(self, now: float) -> list[tuple[str, Kept]]:
        """Answers that are asked often and expire soon (``now`` in seconds that never go back)."""
        found = []
        for key, kept in list(self._kept.items()):
            age = now - kept.made_at
            if age >= kept.ttl:
                del self._kept[key]
            elif age >= kept.ttl * _EARLY and kept.asked >= _ENOUGH:
                found.append((key, kept))
        return found

    def hottest(self, limit: int) -> list[Heat]:
        """The documents that are asked most often."""
        return sorted(self._heats.values(), key=lambda heat: -heat.count)[:limit]

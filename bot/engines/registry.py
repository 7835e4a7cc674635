"""Which engine takes which source and which destination."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from bot.domain.ports import Engine
from bot.domain.task import Progress
from bot.errors import InvalidInput, Unsupported

_USERINFO = re.compile(r"(?<=//)[^/\s]*@")


class Engines:
    """The engines of this service, by name."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._engines = {engine.name: engine for engine in engines}

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    def named(self, name: str) -> Engine:
        """The engine of that name; InvalidInput names those there are."""
        try:
            return self._engines[name]
        except KeyError:
            raise InvalidInput(
                f"there is no engine {name!r}",
                hint=f"there are {', '.join(sorted(self._engines))}",
            ) from None

    def for_source(self, source: str, wanted: str | None = None) -> Engine:
        """The engine that suits ``source`` best, or the ``wanted`` one; Unsupported if none."""
        if wanted is not None:
            engine = self.named(wanted)
            if not engine.capabilities.fetches:
                raise InvalidInput(f"the engine {wanted!r} does not fetch")
            return engine
        best = max(self, key=lambda engine: engine.accepts(source))
        if best.accepts(source) > 0:
            return best
        schemes = sorted({s for engine in self for s in engine.capabilities.schemes})
        raise Unsupported(
            f"no engine takes {_USERINFO.sub('***@', source)[:200]!r}",
            hint=f"a source is a link ({', '.join(schemes)}), a magnet or remote:path",
        )

    def for_destination(self, destination: str) -> Engine:
        """The engine that delivers there; Unsupported if none does."""
        for engine in self:
            if engine.capabilities.delivers and engine.delivers_to(destination):
                return engine
        raise Unsupported(
            f"no engine delivers to {destination[:200]!r}",
            hint="a destination is an absolute directory or remote:path",
        )

    def snapshot(self) -> Mapping[str, Progress]:
        """The progress of every job under way, by task id."""
        merged: dict[str, Progress] = {}
        for engine in self:
            merged.update(engine.snapshot())
        return merged

    async def close(self) -> None:
        """Close every engine."""
        for engine in self:
            await engine.close()

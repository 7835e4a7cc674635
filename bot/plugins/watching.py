"""Sees what changes in the plugins directory, and has it loaded once it is quiet again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from bot.domain.ports import Clock

log = logging.getLogger(__name__)

_QUIET, _LONGEST = 250, 2000  # ms without a change that end a burst; ms that one may last
_LOOK = 2000  # ms between two looks at whether the directory is still the same one
_ABSENT = 2.0  # seconds between two looks at a directory that is not there or can't be read


class Watch:
    """``directory`` need not exist yet. ``changed`` is called after each burst of changes, never
    twice at the same time."""

    def __init__(
        self, directory: Path, changed: Callable[[], Awaitable[None]], clock: Clock
    ) -> None:
        self._directory = directory
        self._changed = changed
        self._clock = clock
        self._complaint: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        was_there = True  # what lies there at the start is not news
        while True:
            try:
                if self._directory.is_dir():
                    await self._follow(is_new=not was_there)
                was_there = False
            except OSError as error:
                self._complain(str(error))
            await self._clock.sleep(_ABSENT)

    async def _follow(self, *, is_new: bool) -> None:
        """While the directory is the one that it was."""
        from watchfiles import awatch

        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts changes, unasked
        identity, is_first = self._identity(), True
        if is_new:
            await self._changed()
        async for changes in awatch(
            self._directory,
            debounce=_LONGEST,
            step=_QUIET,
            rust_timeout=_LOOK,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            self._complaint = None
            if changes or is_first:  # what happened before there was a watch has no event
                await self._changed()
                is_first = False
            if self._identity() != identity:
                return

    def _identity(self) -> tuple[int, int] | None:
        if not self._directory.is_dir():
            return None
        found = self._directory.stat()
        return found.st_dev, found.st_ino

    def _complain(self, reason: str) -> None:
        """Say each reason once, not every other second."""
        if reason != self._complaint:
            self._complaint = reason
            log.warning("changes in %s are not seen: %s", self._directory, reason)

"""Where the time of the running service goes: a sampling profile of the event loop's thread."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bot.domain.ports import Clock
from bot.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from pyinstrument.session import Session

#: ``speedscope`` is JSON for https://www.speedscope.app, which is a page that works offline too.
Format = Literal["text", "html", "speedscope"]

MAX_SECONDS = 60.0
_INTERVAL = 0.001  # seconds between two samples
#: Each sample is a list of frames in memory; a longer profile takes them less often.
_MAX_SAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Profile:
    """A finished profile; ``content`` is of the format that was asked for."""

    format: Format
    seconds: float
    samples: int
    content: str


class Sampler:
    """Takes one profile at a time. To be used in the thread of the event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy = False

    async def sample(self, seconds: float, kind: Format) -> Profile:
        """Look at what the event loop runs for so long, while it goes on with its work.

        Conflict while another profile is taken; InvalidInput where ``seconds`` are too many.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise InvalidInput(
                f"a profile can't take {seconds:g} seconds",
                hint=f"more than 0, and {MAX_SECONDS:g} at most",
            )
        if self._busy:
            raise Conflict("another profile is being taken", hint="wait until it is there")
        self._busy = True
        try:
            session = await self._observe(seconds)
            # Made of up to 10,000 samples: the loop has better things to do.
            content = await asyncio.to_thread(_rendered, session, kind)
        finally:
            self._busy = False
        return Profile(kind, session.duration, session.sample_count, content)

    async def _observe(self, seconds: float) -> Session:
        from pyinstrument import Profiler

        interval = max(_INTERVAL, seconds / _MAX_SAMPLES)
        # "disabled" is about the context of the caller: all tasks of the loop are to be seen.
        profiler = Profiler(interval, async_mode="disabled")
        profiler.start(target_description=f"mltb, {seconds:g} s")
        try:
            await self._clock.sleep(seconds)
        finally:
            session = profiler.stop()
        return session


def _rendered(session: Session, kind: Format) -> str:
    from pyinstrument import renderers

    renderer: renderers.Renderer
    if kind == "html":
        renderer = renderers.HTMLRenderer()
    elif kind == "speedscope":
        renderer = renderers.SpeedscopeRenderer()
    else:
        renderer = renderers.ConsoleRenderer(unicode=True, color=False)
    return str(renderer.render(session))

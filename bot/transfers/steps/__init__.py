"""The steps: what can be done with fetched files before they are delivered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from bot.domain.ports import Step
from bot.errors import Refused
from bot.transfers.steps.extract import ArchiveLimits, Extract
from bot.transfers.steps.ffmpeg import Ffmpeg
from bot.transfers.steps.guarded import Guarded
from bot.transfers.steps.media import Convert, Sample, Screenshots, Thumbnail, UsePreset
from bot.transfers.steps.pack import Join, Split, Zip
from bot.transfers.steps.programs import Programs, find_programs
from bot.transfers.steps.rename import Choose, Rename

log = logging.getLogger(__name__)

__all__ = ["Programs", "build_steps", "find_programs"]


def build_steps(
    programs: Programs,
    *,
    max_size: int,
    max_files: int,
    max_ratio: float,
    max_depth: int,
    timeout: float,
    report: Callable[[str], None] = log.warning,
) -> Mapping[str, Step]:
    """Every step by its name.

    ``programs`` are those of ``find_programs``. The limits of archives: bytes, files, ratio, depth;
    ``timeout`` is the seconds that a step may run, 0 for no limit; ``report`` gets a line about
    what an archive held that was left out.
    """
    limits = ArchiveLimits(max_size, max_files, max_ratio, max_depth)
    tool = Ffmpeg(programs.ffmpeg, max_size)
    steps: list[Step] = [
        Extract(programs.sevenzip, limits, report),
        Zip(programs.sevenzip),
        Split(),
        Join(),
        Rename(),
        Choose("exclude", keeps=False),
        Choose("include", keeps=True),
        Convert(tool),
        UsePreset(tool),
        Screenshots(tool),
        Sample(tool),
        Thumbnail(tool),
    ]
    return {step.name: Guarded(step, timeout) for step in steps}


def step_of(steps: Mapping[str, Step], name: str) -> Step:
    """The step of a task that was accepted with it. Refused, to be tried again, where it went."""
    step = steps.get(name)
    if step is None:
        raise Refused(f"the step {name} is not there at present", hint="does its plugin run?")
    return step

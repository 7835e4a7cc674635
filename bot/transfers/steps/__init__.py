"""The steps: what can be done with fetched files before they are delivered."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from bot.domain.ports import Step, StepJob
from bot.domain.task import FileEntry, Progress
from bot.errors import NoSpace, PolicyRefused
from bot.transfers.steps.extract import ArchiveLimits, Extract
from bot.transfers.steps.ffmpeg import Ffmpeg
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


class Guarded:
    """A step with a time limit, with a speed, and with a full disk told as one."""

    def __init__(self, step: Step, timeout: float) -> None:
        self._step = step
        self._timeout = timeout

    @property
    def name(self) -> str:
        """That of the step."""
        return self._step.name

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """As the step does."""
        return self._step.check(params)

    def disk(self, size: int, params: Mapping[str, Any]) -> int:
        """As the step says."""
        return self._step.disk(size, params)

    async def run(self, job: StepJob) -> list[FileEntry]:
        """As the step does; PolicyRefused when it takes too long, NoSpace when the disk is full."""
        limit = asyncio.timeout(self._timeout or None)
        job = replace(job, report=_with_speed(job.report))
        try:
            async with limit:
                return await self._step.run(job)
        except TimeoutError:
            if not limit.expired():
                raise
            raise PolicyRefused(
                f"the step {self.name} took longer than {self._timeout:g} seconds",
                hint="the limit is STEP_TIMEOUT",
            ) from None
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise NoSpace("the disk is full", hint="free some room and retry the task") from error


def _with_speed(report: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """``report`` with the speed since the start of the step, in bytes a second."""
    started = time.monotonic()

    def reporting(progress: Progress) -> None:
        seconds = time.monotonic() - started
        speed = progress.done / seconds if seconds > 0 else 0.0
        report(msgspec.structs.replace(progress, speed=speed))

    return reporting

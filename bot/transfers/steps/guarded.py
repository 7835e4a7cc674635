"""What holds for every step: a time limit, a speed, and a full disk told as one."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from bot.domain.ports import Step, StepJob
from bot.domain.task import FileEntry, Progress
from bot.errors import NoSpace, PolicyRefused


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

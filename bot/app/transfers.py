"""What moves files, built from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bot.app.parts import Base, Transfers
from bot.config import Settings
from bot.domain.advice import NO_ADVICE, Advisors
from bot.domain.bandwidth import Timetable
from bot.domain.queue import Queue, QueuePolicy
from bot.domain.retry import RetryPolicy
from bot.engines.local import LocalEngine
from bot.engines.registry import Engines
from bot.transfers.bandwidth import Governor
from bot.transfers.debris import Debris, Janitor
from bot.transfers.files import WORK
from bot.transfers.planner import Planner
from bot.transfers.runner import Runner
from bot.transfers.scheduler import Scheduler
from bot.transfers.space import DiskLedger
from bot.transfers.steps import build_steps, find_programs
from bot.transfers.steps.plugins import Steps, TaskPlugins


def build_transfers(
    base: Base, advisors: Advisors = NO_ADVICE, plugins: TaskPlugins | None = None
) -> Transfers:
    """Scheduler, runner and what they work with; nothing runs yet."""
    settings, engines, store, clock = base.settings, base.engines, base.store, base.clock
    steps = build_steps(
        find_programs(sevenzip=settings.sevenzip_path, ffmpeg=settings.ffmpeg_path),
        max_size=settings.archive_max_size,
        max_files=settings.archive_max_files,
        max_ratio=settings.archive_max_ratio,
        max_depth=settings.archive_max_depth,
        timeout=settings.step_timeout,
    )
    if plugins is not None:
        steps = Steps(steps, plugins, settings.step_timeout)
    space = DiskLedger(settings.disk_reserve, lambda: _written(engines), clock)
    planner = Planner(
        engines,
        steps,
        space,
        workspace_of=lambda destination, task: _workspace(settings, engines, destination, task),
        stream_max_size=settings.stream_max_size,
        seeds_by_default=bool(settings.torrent_seed_ratio or settings.torrent_seed_time),
        profiler=base.profiler,
    )
    runner = Runner(
        engines=engines,
        steps=steps,
        planner=planner,
        store=store,
        hub=base.hub,
        space=space,
        clock=clock,
        daily_bytes=settings.user_daily_bytes,
        profiler=base.profiler,
        advisors=advisors,
    )
    debris = Debris(
        engines, store, clock, roots=_roots(settings), keep_partial=settings.keep_partial
    )
    scheduler = Scheduler(
        queue=Queue(QueuePolicy(settings.max_active, settings.max_active_per_user)),
        runner=runner,
        store=store,
        hub=base.hub,
        clock=clock,
        retry=RetryPolicy(settings.retry_attempts, settings.retry_base, settings.retry_max),
        debris=debris,
        disk_wait=settings.disk_wait,
        advisors=advisors,
    )
    janitor = Janitor(debris, store, base.hub, clock, keep_finished=settings.keep_finished)
    timetable = Timetable.parse(settings.bandwidth_timetable, settings.bandwidth_limit)
    governor = Governor(engines, timetable, clock)
    return Transfers(planner, runner, scheduler, debris, janitor, governor)


def _written(engines: Engines) -> dict[str, int]:
    """The bytes that each running task has on the disk."""
    return {task: progress.done for task, progress in engines.snapshot().items()}


def _workspace(settings: Settings, engines: Engines, destination: str, task: str) -> Path:
    """Where the work towards ``destination`` happens: on its filesystem where it is local."""
    engine = engines.for_destination(destination)
    if isinstance(engine, LocalEngine) and (found := engine.workspace_for(destination, task)):
        return found
    return settings.download_dir / WORK / task


def _roots(settings: Settings) -> Sequence[Path]:
    return [*dict.fromkeys([*settings.local_roots, settings.download_dir])]

"""Checks of integrity and the record of starts, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.app.parts import Base
from bot.operations.data_check import DataCheck
from bot.operations.integrity import Integrity
from bot.operations.integrity_schedule import Schedule
from bot.operations.recovery import Starts
from bot.services import Recovery, Tasks
from bot.store.recovery import RecoveryStore


@asynccontextmanager
async def opened_recovery(base: Base, tasks: Tasks, *, restores: bool) -> AsyncIterator[Recovery]:
    """What checks and remembers; the last thing that it does is to say that the run ended well."""
    settings, clock = base.settings, base.clock
    store = RecoveryStore(base.store.database)
    roots = [*dict.fromkeys([*settings.local_roots, settings.download_dir])]
    integrity = Integrity(
        store=store,
        engines=base.engines,
        hub=base.hub,
        clock=clock,
        data=DataCheck(settings.data_dir, roots, base.store, base.store.database, clock),
        rate=settings.integrity_rate,
        keep=settings.integrity_history,
    )
    starts = Starts(store, base.store, base.hub, clock)
    schedule = Schedule(
        integrity,
        store,
        clock,
        interval=settings.integrity_interval,
        batch=settings.integrity_batch,
    )
    await starts.begin(await integrity.settle() if restores else [], restores=restores)
    if restores:
        schedule.start()
    try:
        yield Recovery(
            store=store,
            task_store=base.store,
            integrity=integrity,
            starts=starts,
            tasks=tasks,
            clock=clock,
            roots=settings.local_roots,
        )
    finally:
        await schedule.stop()
        await integrity.stop()
        await starts.end()

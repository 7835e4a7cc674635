"""The history of metrics, as the settings want it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.app.parts import Base
from bot.operations.history import Recorder
from bot.operations.history_query import HistoryReader
from bot.operations.readings import Readings
from bot.services import History
from bot.store.series import SeriesStore


@asynccontextmanager
async def opened_history(base: Base, readings: Readings) -> AsyncIterator[History]:
    """What is read of ``readings`` is kept, until the end."""
    settings, store = base.settings, SeriesStore(base.store.database)
    recorder = Recorder(
        readings.everything,
        store,
        base.clock,
        interval=settings.metrics_sample_interval,
        retention=settings.metrics_retention,
    )
    reader = HistoryReader(
        recorder,
        store,
        base.clock,
        max_points=settings.dashboard_thresholds.max_historical_points,
    )
    await recorder.start()
    try:
        yield History(reader, readings)
    finally:
        await recorder.stop()

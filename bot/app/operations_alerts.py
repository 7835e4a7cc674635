"""Alerts, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bot.app.parts import Base
from bot.config import Settings
from bot.domain import events
from bot.domain.alert_rules import Rule
from bot.domain.alerts import Severity
from bot.errors import ConfigError
from bot.operations.alert_channels import AppriseChannel, Route, Threads
from bot.operations.alert_delivery import Couriers
from bot.operations.alert_rules import BUILT_IN, backup_overdue, compile_rules
from bot.operations.alert_signals import SIGNALS, Expiries, Sample, Signals
from bot.operations.alerts import Alerts, Pace
from bot.operations.readings import Readings
from bot.services.alerts import Alerts as AlertsService
from bot.store.alerts import AlertStore


@asynccontextmanager
async def opened_alerts(base: Base, readings: Readings) -> AsyncIterator[AlertsService]:
    """Alerts at work over those readings; ConfigError where a rule or a channel is wrong."""
    settings, clock = base.settings, base.clock
    store = AlertStore(base.store.database)
    rules = _rules(settings, readings)
    couriers = Couriers(store, clock, give_up=settings.alert_retry_for)
    _add_channels(couriers, settings, {rule.name for rule in rules})
    signals = Signals(clock, settings.max_active)
    expiries = Expiries(base.store.list_tokens, settings.alert_certificates, clock)

    async def sample() -> list[Sample]:
        known = signals.add_to(readings.everything())
        return [*(Sample(name, value) for name, value in known.items()), *await expiries.sample()]

    async def describe(task_id: str) -> str | None:
        task = await base.store.get(task_id)
        return None if task is None else task.name

    def hear(event: events.Event) -> None:
        if isinstance(event, events.TaskEvent):
            signals.hear(event)

    engine = Alerts(
        store,
        base.hub,
        clock,
        rules,
        couriers,
        pace=Pace(
            settings.alert_interval,
            settings.alert_group_wait,
            settings.alert_group_interval,
            settings.alert_keep,
        ),
        sample=sample,
        describe=describe,
    )
    readings.provide("alerts_firing", engine.firing)
    deaf = base.hub.listen(hear)
    await engine.start()
    try:
        yield AlertsService(engine, store, clock)
    finally:
        await engine.stop()
        deaf()


def _rules(settings: Settings, readings: Readings) -> Sequence[Rule]:
    declared = [rule.model_dump(by_alias=True, exclude_none=True) for rule in settings.alert_rules]
    known = [*(reading.name for reading in readings.declared), *SIGNALS]
    built_in = list(BUILT_IN) if settings.alert_built_in else []
    if built_in and settings.backup_interval:
        built_in.append(backup_overdue(settings.backup_interval))
    return compile_rules(declared, built_in=built_in, readings=known)


def _add_channels(couriers: Couriers, settings: Settings, rules: set[str]) -> None:
    threads = Threads()
    for channel in settings.alert_channels:
        if couriers.find(channel.name) is not None:
            raise ConfigError(
                f"ALERT_CHANNELS: two channels are called {channel.name!r}",
                hint="give each a name of its own",
            )
        if unknown := sorted(set(channel.rules) - rules - {"manual"}):
            raise ConfigError(
                f"ALERT_CHANNELS: channel {channel.name!r} is for the rule {unknown[0]!r}, "
                "which there is not",
                hint=f"there are manual, {', '.join(sorted(rules))}",
            )
        route = Route(
            Severity(channel.min_severity),
            frozenset(map(Severity, channel.severities)),
            frozenset(channel.rules),
            channel.resolved,
            channel.per_minute,
        )
        url = channel.url.get_secret_value()
        couriers.add(AppriseChannel(channel.name, url, threads), route)

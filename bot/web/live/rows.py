"""Tasks, alerts and plugins as live messages show them: what a list needs, under REST's names."""

from __future__ import annotations

from typing import Any

from bot.domain.alerts import Alert
from bot.domain.task import StageState, Task
from bot.plugins.known import PluginInfo
from bot.services import TaskView
from bot.services.alerts import AlertSummary
from bot.web import render

Row = dict[str, Any]

_SOURCE = 300  # characters of a source; a task's page shows all of it
_ALERTS = 20


def task(view: TaskView) -> Row:
    """A task."""
    of = view.task
    receipt = of.receipt
    return {
        "id": of.id,
        "state": str(of.state),
        "source": _short(render.source(of.source)),
        "to": of.destination,
        "user": of.user,
        "name": of.name,
        "size": of.size,
        "engine": of.engine,
        "priority": of.priority,
        "order": of.order or of.id,
        "stage": _stage(of),
        "progress": None if view.progress is None else render.progress(view.progress),
        "error": None if of.failure is None else render.failure(of.failure),
        "note": of.note,
        "path": receipt.path if receipt else None,
        "created_at": render.moment(of.created_at),
        "updated_at": render.moment(of.updated_at),
        "start_at": render.moment(of.start_at),
        "started_at": render.moment(of.started_at),
        "finished_at": render.moment(of.finished_at),
        "version": of.version,
    }


def _stage(of: Task) -> Row | None:
    for number, stage in enumerate(of.stages, 1):
        if stage.state is not StageState.DONE:
            return {
                "kind": str(stage.kind),
                "name": stage.name,
                "attempt": stage.attempt,
                "number": number,
                "of": len(of.stages),
            }
    return None


def _short(text: str) -> str:
    return text if len(text) <= _SOURCE else text[: _SOURCE - 1] + "…"


def alerts(found: AlertSummary) -> Row:
    """How many alerts are live, and the worst that fire."""
    return {
        "firing": found.by_state["firing"],
        "severities": found.by_severity,
        "items": [_alert(each) for each in found.firing[:_ALERTS]],
    }


def _alert(of: Alert) -> Row:
    return {
        "id": of.id,
        "rule": of.rule,
        "severity": str(of.severity),
        "title": of.title,
        "message": of.message,
        "state": str(of.state),
        "started_at": render.moment(of.started_at),
    }


def plugin(of: PluginInfo) -> Row:
    """A plugin."""
    return {
        "id": of.id,
        "state": str(of.state),
        "reason": of.reason,
        "type": of.type,
        "version": of.version,
        "calls": of.calls,
        "failures": of.failures,
        "crashes": of.crashes,
    }


def changed(before: Row | None, after: Row) -> Row:
    """The fields of ``after`` that ``before`` has otherwise, and the id; all where there was
    nothing before."""
    if before is None:
        return after
    return {"id": after["id"], **{k: v for k, v in after.items() if before[k] != v}}

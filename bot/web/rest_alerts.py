"""Alerts under ``/api/v3/alerts``: each route parses, calls the service and renders."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Path, Query, Response

from bot.domain.alert_rules import ReadingRule, Rule
from bot.domain.alerts import Alert, AlertState, Severity, Silence
from bot.services.alerts import ChannelView
from bot.store.alerts import AlertQuery, Delivery
from bot.web import render
from bot.web import schemas_alerts as schemas
from bot.web.routes import ONCE, Admin, All, Operator, Viewer, new_router, reply

router = new_router("/alerts")
_TAGS: list[Any] = ["alerts"]

_Id = Annotated[str, Path(pattern="^[0-9a-z]{1,32}$", description="The id of an alert.")]
_SilenceId = Annotated[str, Path(pattern="^[0-9a-z]{1,32}$", description="The id of a silence.")]
_Name = Annotated[str, Path(max_length=100, description="The name of a channel.")]
_Rule = Annotated[
    str | None, Query(pattern="^[a-z0-9_-]{1,50}$", description="The name of a rule.")
]


@router.get("/recent", response_model=schemas.AlertPageOut, tags=_TAGS)
async def recent(
    caller: Viewer,
    services: All,
    severity: Annotated[list[Severity], Query(description="Any of these.")] = [],  # noqa: B006
    state: Annotated[list[AlertState], Query(description="Any of these.")] = [],  # noqa: B006
    rule: _Rule = None,
    since: Annotated[datetime | None, Query(description="Began then or later.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """A page of alerts, the newest first."""
    query = AlertQuery(
        severities=tuple(severity),
        states=tuple(state),
        rule=rule,
        since=None if since is None else since.timestamp(),
        limit=limit,
        cursor=cursor,
    )
    found, following = await services.alerts.recent(caller, query)
    return _list([_alert(alert) for alert in found], following)


@router.get("/summary", response_model=schemas.AlertSummaryOut, tags=_TAGS)
async def summary(caller: Viewer, services: All) -> Response:
    """How many alerts there are by state, severity and rule, and which fire now."""
    found = await services.alerts.summary(caller)
    return _one(
        {
            **msgspec.structs.asdict(found),
            "firing": [_alert(alert) for alert in found.firing],
        }
    )


@router.post(
    "/trigger", status_code=201, dependencies=ONCE, response_model=schemas.OneAlertOut, tags=_TAGS
)
async def trigger(body: schemas.TriggerIn, caller: Operator, services: All) -> Response:
    """Raise an alert by hand; the same title and labels count on the same alert."""
    found = await services.alerts.trigger(
        caller, body.title, body.message, body.severity, body.labels
    )
    return _one(_alert(found), 201)


@router.get("/silences", response_model=schemas.SilenceListOut, tags=_TAGS)
async def silences(caller: Viewer, services: All) -> Response:
    """The silences that hold now."""
    return _list([_silence(each) for each in await services.alerts.silences(caller)])


@router.post(
    "/silences",
    status_code=201,
    dependencies=ONCE,
    response_model=schemas.OneSilenceOut,
    tags=_TAGS,
)
async def silence(body: schemas.SilenceIn, caller: Operator, services: All) -> Response:
    """Keep alerts quiet until a time: they are recorded, and nobody is told."""
    found = await services.alerts.silence(
        caller,
        until=None if body.until is None else body.until.timestamp(),
        seconds=body.seconds,
        reason=body.reason,
        rule=body.rule,
        severity=body.severity,
        labels=body.labels,
    )
    return _one(_silence(found), 201)


@router.delete("/silences/{silence_id}", status_code=204, tags=_TAGS)
async def unsilence(silence_id: _SilenceId, caller: Operator, services: All) -> Response:
    """End a silence; what it kept quiet is told."""
    await services.alerts.unsilence(caller, silence_id)
    return Response(status_code=204)


@router.get("/rules", response_model=schemas.RuleListOut, tags=_TAGS)
async def rules(caller: Viewer, services: All) -> Response:
    """The rules that are in force."""
    return _list([_rule(each) for each in await services.alerts.rules(caller)])


@router.get("/channels", response_model=schemas.ChannelListOut, tags=_TAGS)
async def channels(caller: Admin, services: All) -> Response:
    """The channels and how they do."""
    return _list([_channel(each) for each in await services.alerts.channels(caller)])


@router.post("/channels/{name}/test", response_model=schemas.DoneOut, tags=_TAGS)
async def test(name: _Name, caller: Admin, services: All) -> Response:
    """Send a message through a channel at once; the answer says whether it got there."""
    await services.alerts.test(caller, name)
    return _one({})


@router.get("/notifications", response_model=schemas.NotificationListOut, tags=_TAGS)
async def notifications(
    caller: Admin,
    services: All,
    channel: Annotated[str | None, Query(pattern="^[a-z0-9_-]{1,50}$")] = None,
    state: Literal["pending", "delivered", "failed"] | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """The newest notifications, and how far each is."""
    found = await services.alerts.notifications(caller, channel, state, limit)
    return _list([_delivery(each) for each in found])


@router.get("/{alert_id}", response_model=schemas.OneAlertOut, tags=_TAGS)
async def show(alert_id: _Id, caller: Viewer, services: All) -> Response:
    """One alert."""
    return _one(_alert(await services.alerts.show(caller, alert_id)))


@router.post("/{alert_id}/acknowledge", response_model=schemas.OneAlertOut, tags=_TAGS)
async def acknowledge(
    alert_id: _Id, body: schemas.NoteIn, caller: Operator, services: All
) -> Response:
    """Say that somebody looks after it: nobody is told of it any more."""
    return _one(_alert(await services.alerts.acknowledge(caller, alert_id, body.note)))


@router.post("/{alert_id}/resolve", response_model=schemas.OneAlertOut, tags=_TAGS)
async def resolve(alert_id: _Id, body: schemas.NoteIn, caller: Operator, services: All) -> Response:
    """Say that it is over."""
    return _one(_alert(await services.alerts.resolve(caller, alert_id, body.note)))


def _one(content: dict[str, Any], status: int = 200) -> Response:
    return reply({"status": "ok", **content}, status)


def _list(items: list[dict[str, Any]], cursor: str | None = None) -> Response:
    return reply({"status": "ok", "items": items, "cursor": cursor})


def _moments(of: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**of, **{name: render.moment(of[name]) for name in names}}


def _alert(alert: Alert) -> dict[str, Any]:
    times = ("started_at", "last_at", "acknowledged_at", "resolved_at")
    return _moments(msgspec.structs.asdict(alert), *times)


def _silence(silence: Silence) -> dict[str, Any]:
    return _moments(msgspec.structs.asdict(silence), "until", "created_at")


def _rule(rule: Rule) -> dict[str, Any]:
    of_reading = isinstance(rule, ReadingRule)
    names = ("reading", "comparison", "threshold", "clear", "hold", "missing", "event", "keep")
    return {
        "name": rule.name,
        "kind": "reading" if of_reading else "event",
        "severity": rule.severity,
        "title": rule.title,
        **{name: getattr(rule, name, None) for name in names},
    }


def _channel(view: ChannelView) -> dict[str, Any]:
    route, health = view.courier.route, view.courier.health
    return {
        "name": view.courier.channel.name,
        "url": view.courier.channel.shown,
        "min_severity": route.min_severity,
        "severities": sorted(route.severities),
        "rules": sorted(route.rules),
        "resolved": route.resolved,
        "per_minute": route.per_minute,
        **{state: view.counts.get(state, 0) for state in ("pending", "delivered", "failed")},
        "failing": health.failing,
        "error": health.error,
        "last_sent": render.moment(health.last_sent),
        "last_failed": render.moment(health.last_failed),
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    told = delivery.notification
    return {
        "id": told.id,
        "channel": delivery.channel,
        "kind": told.kind,
        "severity": told.severity,
        "state": delivery.state,
        "title": told.title,
        "body": told.body,
        "alerts": told.alerts,
        "attempts": delivery.attempts,
        "tried_for": delivery.tried_for,
        "error": delivery.error,
        "created_at": render.moment(delivery.created_at),
        "finished_at": render.moment(delivery.finished_at),
    }

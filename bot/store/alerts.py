"""Alerts, silences and notifications in the store.

Whoever raises alerts holds those that are live in memory; what is here is what a restart finds, and
the history.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bot.domain.alerts import LIVE, Alert, AlertState, Notification, Severity, Silence
from bot.errors import InvalidInput
from bot.store.backend import AlreadyThere, Backend
from bot.store.schema import alert_notifications, alert_silences, alerts

_LIVE = sorted(LIVE)
_CHUNK = 500
_MAX_LIMIT = 500
#: Alerts, and notifications, that are kept at most when they are over.
MOST = 100_000
_LARGEST = 2**63

_alert = msgspec.json.Decoder(Alert)
_silence = msgspec.json.Decoder(Silence)
_notification = msgspec.json.Decoder(Notification)


class AlertQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which alerts, the newest first. ``since`` is about their beginning (UNIX seconds)."""

    severities: tuple[Severity, ...] = ()
    states: tuple[AlertState, ...] = ()
    rule: str | None = None
    since: float | None = None
    limit: int = 50
    cursor: str | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One notification and how far one channel is with it.

    ``state`` is ``pending``, ``delivered`` or ``failed``; ``tried_for`` in seconds.
    """

    seq: int
    channel: str
    state: str
    created_at: float
    finished_at: float | None
    attempts: int
    tried_for: float
    error: str | None
    notification: Notification


class AlertStore:
    """The tables of alerts. What has returned survives ``kill -9``."""

    def __init__(self, database: Backend) -> None:
        self._database = database

    # Alerts

    async def add(self, new: Sequence[Alert]) -> None:
        """Store new ones; those that are there already stay as they are."""
        if not new:
            return
        rows = [{"id": each.id, **_row(each)} for each in new]
        try:
            await self._database.insert(alerts, rows)
        except AlreadyThere:
            # The answer to an earlier try was lost on the way; its rows were stored.
            known = sa.select(alerts.c.id).where(alerts.c.id.in_([row["id"] for row in rows]))
            there = {row["id"] for row in await self._database.read(known)}
            left = [row for row in rows if row["id"] not in there]
            if left:
                await self._database.insert(alerts, left)

    async def change(
        self, changed: Iterable[Alert], notifications: Sequence[tuple[str, Notification]] = ()
    ) -> None:
        """Store what became of known alerts and, in the same transaction, what the channels (by
        name) are to tell of it."""
        statements: list[sa.UpdateBase] = [
            sa.update(alerts).where(alerts.c.id == each.id).values(_row(each)) for each in changed
        ]
        if notifications:
            rows = [_outgoing(channel, each) for channel, each in notifications]
            statements += [
                sa.insert(alert_notifications).values(rows[start : start + 50])
                for start in range(0, len(rows), 50)
            ]
        if statements:
            await self._database.write(*statements)

    async def live(self) -> list[Alert]:
        """Those that are not over, oldest first."""
        query = sa.select(alerts.c.body).where(alerts.c.state.in_(_LIVE)).order_by(alerts.c.seq)
        return [_alert.decode(row["body"]) for row in await self._database.read(query)]

    async def get(self, alert_id: str) -> Alert | None:
        """The alert, or None."""
        query = sa.select(alerts.c.body).where(alerts.c.id == alert_id)
        found = await self._database.read(query)
        return _alert.decode(found[0]["body"]) if found else None

    async def page(self, query: AlertQuery) -> tuple[list[Alert], str | None]:
        """A page, and the cursor of the next. InvalidInput where limit or cursor can't be."""
        if not 1 <= query.limit <= _MAX_LIMIT:
            raise InvalidInput(
                f"a page can't have {query.limit} alerts", hint=f"ask for 1 to {_MAX_LIMIT}"
            )
        wanted = sa.select(alerts.c.seq, alerts.c.body).where(*_conditions(query))
        found = await self._database.read(
            wanted.order_by(alerts.c.seq.desc()).limit(query.limit + 1)
        )
        items = [_alert.decode(row["body"]) for row in found[: query.limit]]
        more = len(found) > query.limit
        return items, _cursor(found[query.limit - 1]["seq"]) if more else None

    async def count(self) -> dict[tuple[str, str, str], int]:
        """How many alerts there are by rule, severity and state."""
        by = (alerts.c.rule, alerts.c.severity, alerts.c.state)
        query = sa.select(*by, sa.func.count().label("n")).group_by(*by)
        return {
            (row["rule"], row["severity"], row["state"]): row["n"]
            for row in await self._database.read(query)
        }

    async def forget(self, before: float) -> int:
        """Remove alerts that ended, silences that ended and notifications that were told (or given
        up) before that time, and the oldest of them past ``MOST``; how many."""
        over, told = alerts.c.resolved_at.is_not(None), alert_notifications.c.state != "pending"
        return await self._database.write(
            sa.delete(alerts).where(over, (alerts.c.resolved_at < before) | _past_most(alerts)),
            sa.delete(alert_silences).where(alert_silences.c.until < before),
            sa.delete(alert_notifications).where(
                told,
                (alert_notifications.c.created_at < before) | _past_most(alert_notifications),
            ),
        )

    # Silences

    async def silences(self) -> list[Silence]:
        """All of them, the one that ends first before the others."""
        query = sa.select(alert_silences.c.body).order_by(
            alert_silences.c.until, alert_silences.c.id
        )
        return [_silence.decode(row["body"]) for row in await self._database.read(query)]

    async def add_silence(self, silence: Silence) -> None:
        """Store one."""
        values = {"id": silence.id, "until": silence.until, "body": _json(silence)}
        await self._database.insert(alert_silences, [values])

    async def delete_silence(self, silence_id: str) -> bool:
        """Whether there was one to remove."""
        found = sa.delete(alert_silences).where(alert_silences.c.id == silence_id)
        return await self._database.write(found) > 0

    # Notifications

    async def pending(self, channel: str, limit: int) -> list[Delivery]:
        """What a channel has yet to tell, oldest first."""
        return await self._deliveries(
            sa.select(alert_notifications)
            .where(alert_notifications.c.channel == channel, _is("pending"))
            .order_by(alert_notifications.c.seq)
            .limit(limit)
        )

    async def deliveries(
        self, channel: str | None, state: str | None, limit: int
    ) -> list[Delivery]:
        """The newest notifications, of one channel and state or of all."""
        query = sa.select(alert_notifications).order_by(alert_notifications.c.seq.desc())
        if channel is not None:
            query = query.where(alert_notifications.c.channel == channel)
        if state is not None:
            query = query.where(_is(state))
        return await self._deliveries(query.limit(limit))

    async def _deliveries(self, query: sa.Select[Any]) -> list[Delivery]:
        return [_delivery(row) for row in await self._database.read(query)]

    async def settle(
        self, deliveries: Sequence[Delivery], *, state: str, error: str | None, at: float
    ) -> None:
        """Store the attempts of ``deliveries`` and how they ended."""
        by_effort: dict[tuple[int, float], list[int]] = {}
        for each in deliveries:
            by_effort.setdefault((each.attempts, each.tried_for), []).append(each.seq)
        finished = None if state == "pending" else at
        statements = [
            sa.update(alert_notifications)
            .where(alert_notifications.c.seq.in_(numbers[start : start + _CHUNK]))
            .values(
                state=state,
                error=error,
                attempts=attempts,
                tried_for=tried_for,
                finished_at=finished,
            )
            for (attempts, tried_for), numbers in by_effort.items()
            for start in range(0, len(numbers), _CHUNK)
        ]
        if statements:
            await self._database.write(*statements)

    async def abandon(self, known: Iterable[str], before: float, at: float) -> int:
        """Give up what channels that there are no more (none of ``known``) have had to tell since
        before a time; how many that were."""
        lost = sa.update(alert_notifications).where(
            alert_notifications.c.channel.not_in(sorted(known)),
            _is("pending"),
            alert_notifications.c.created_at < before,
        )
        gone = "there is no such channel any more"
        return await self._database.write(lost.values(state="failed", error=gone, finished_at=at))

    async def effort(self) -> dict[str, dict[str, int]]:
        """How many notifications each channel has in each state."""
        by = (alert_notifications.c.channel, alert_notifications.c.state)
        query = sa.select(*by, sa.func.count().label("n")).group_by(*by)
        found: dict[str, dict[str, int]] = {}
        for row in await self._database.read(query):
            found.setdefault(row["channel"], {})[row["state"]] = row["n"]
        return found


def _past_most(table: sa.Table) -> sa.ColumnElement[bool]:
    newest = sa.select(sa.func.max(table.c.seq)).scalar_subquery()
    return table.c.seq <= newest - MOST


def _is(state: str) -> sa.ColumnElement[bool]:
    return alert_notifications.c.state == state


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def _row(alert: Alert) -> dict[str, Any]:
    return {
        "rule": alert.rule,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "started_at": alert.started_at,
        "resolved_at": alert.resolved_at,
        "body": _json(alert),
    }


def _outgoing(channel: str, notification: Notification) -> dict[str, Any]:
    return {
        "notification": notification.id,
        "channel": channel,
        "state": "pending",
        "created_at": notification.at,
        "finished_at": None,
        "attempts": 0,
        "tried_for": 0.0,
        "error": None,
        "body": _json(notification),
    }


def _delivery(row: Mapping[str, Any]) -> Delivery:
    return Delivery(
        row["seq"],
        row["channel"],
        row["state"],
        row["created_at"],
        row["finished_at"],
        row["attempts"],
        row["tried_for"],
        row["error"],
        _notification.decode(row["body"]),
    )


def _conditions(query: AlertQuery) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if query.severities:
        found.append(alerts.c.severity.in_(sorted(query.severities)))
    if query.states:
        found.append(alerts.c.state.in_(sorted(query.states)))
    if query.rule is not None:
        found.append(alerts.c.rule == query.rule)
    if query.since is not None:
        found.append(alerts.c.started_at >= query.since)
    if query.cursor is not None:
        found.append(alerts.c.seq < _place(query.cursor))
    return found


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % seq).decode().rstrip("=")


def _place(cursor: str) -> int:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        seq = int(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise _no_cursor(cursor) from error
    if not 0 <= seq < _LARGEST:
        raise _no_cursor(cursor)
    return seq


def _no_cursor(cursor: str) -> InvalidInput:
    return InvalidInput(
        f"{cursor[:40]!r} is no cursor of this list",
        hint="send the one of the page before, or none",
    )

"""``mltb alerts``: what is wrong, and what is done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from bot.cli.common import ask, json_option, main
from bot.domain.alerts import AlertState, Severity
from bot.errors import InvalidInput

if TYPE_CHECKING:
    from bot.cli.client import Client

_SEVERITIES = [str(each) for each in Severity]
_STATES = [str(each) for each in AlertState]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_severity = click.option("--severity", type=click.Choice(_SEVERITIES), help="Of this severity.")
_label = click.option("--label", "labels", multiple=True, help="NAME=VALUE; repeatable.")


@main.group()
def alerts() -> None:
    """Show alerts, and do something about them."""


@alerts.command("list")
@click.option("--state", multiple=True, type=click.Choice(_STATES), help="Repeatable.")
@_severity
@click.option("--rule", help="Of this rule.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, help="Alerts at most.")
@json_option
def list_(*, as_json: bool, **query: Any) -> None:
    """List alerts, the newest first."""

    def work(client: Client) -> int:
        found = client.get("/alerts/recent", **query)["items"]
        head = ("id", "severity", "state", "rule", "count", "title", "message")
        _print(found, head, as_json=as_json)
        return 0

    ask(work, start=True)


@alerts.command()
@click.argument("alert_id", metavar="ALERT")
@json_option
def show(alert_id: str, *, as_json: bool) -> None:
    """Show everything about an alert."""

    def work(client: Client) -> int:
        from bot.cli import output

        found = client.get(f"/alerts/{alert_id}")
        found.pop("status")
        if as_json:
            output.line(found)
        else:
            output.say(json.dumps(found, indent=2, ensure_ascii=False))
        return 0

    ask(work, start=True)


@alerts.command()
@click.argument("alert_ids", metavar="ALERT...", nargs=-1, required=True)
@click.option("--note", help="Why, for the others.")
@click.option("--resolve", is_flag=True, help="It is over: end the alert as well.")
def ack(alert_ids: tuple[str, ...], note: str | None, *, resolve: bool) -> None:
    """Say that somebody looks after alerts: nobody is told of them any more."""

    def work(client: Client) -> int:
        from bot.cli import output

        for alert_id in alert_ids:
            verb = "resolve" if resolve else "acknowledge"
            found = client.post(f"/alerts/{alert_id}/{verb}", {"note": note})
            output.say(f"{alert_id} {found['state']}")
        return 0

    ask(work)


@alerts.command()
@click.option("--for", "lasting", help="How long, such as 30m, 2h or 7d.")
@click.option("--reason", help="Why; it is shown to others.")
@click.option("--rule", help="Alerts of this rule.")
@_severity
@_label
@click.option("--list", "show_all", is_flag=True, help="List the silences that hold.")
@click.option("--delete", "delete_id", metavar="SILENCE", help="End this silence.")
@json_option
def silence(
    *, as_json: bool, show_all: bool, delete_id: str | None, lasting: str | None, **given: Any
) -> None:
    """Keep alerts quiet for a time. All that is given of rule, severity and labels has to fit."""

    def work(client: Client) -> int:
        if delete_id is not None:
            client.delete(f"/alerts/silences/{delete_id}")
            return 0
        head = ("id", "until", "rule", "severity", "labels", "by", "reason")
        if show_all:
            _print(client.get("/alerts/silences")["items"], head, as_json=as_json)
            return 0
        body = {
            "rule": given["rule"],
            "severity": given["severity"],
            "labels": _pairs(given["labels"]),
            "seconds": _seconds(lasting),
            "reason": given["reason"] or "by the command line",
        }
        _print([client.post("/alerts/silences", body)], head, as_json=as_json)
        return 0

    ask(work)


@alerts.command()
@click.argument("title")
@click.option("--message", default="", help="More about it.")
@click.option("--severity", type=click.Choice(_SEVERITIES), default="medium", help="How bad it is.")
@_label
@json_option
def trigger(title: str, *, as_json: bool, labels: tuple[str, ...], **given: Any) -> None:
    """Raise an alert by hand."""

    def work(client: Client) -> int:
        found = client.post("/alerts/trigger", {"title": title, "labels": _pairs(labels), **given})
        _print([found], ("id", "severity", "state", "title"), as_json=as_json)
        return 0

    ask(work)


@alerts.command()
@click.argument("channel")
def test(channel: str) -> None:
    """Send a message through CHANNEL; exit status 0 only when it got there."""

    def work(client: Client) -> int:
        from bot.cli import output

        client.post(f"/alerts/channels/{channel}/test")
        output.say(f"{channel}: sent")
        return 0

    ask(work)


@alerts.command()
@json_option
def rules(*, as_json: bool) -> None:
    """List the rules that are in force."""

    def work(client: Client) -> int:
        from bot.cli import output

        found = client.get("/alerts/rules")["items"]
        if as_json:
            _print(found, (), as_json=True)
        else:
            rows = [
                [each["name"], each["severity"], _condition(each), each["title"]] for each in found
            ]
            output.table(("name", "severity", "when", "title"), rows)
        return 0

    ask(work, start=True)


@alerts.command()
@json_option
def channels(*, as_json: bool) -> None:
    """List the channels and how they do."""

    def work(client: Client) -> int:
        head = ("name", "url", "min_severity", "pending", "delivered", "failed", "error")
        _print(client.get("/alerts/channels")["items"], head, as_json=as_json)
        return 0

    ask(work, start=True)


def _condition(rule: Mapping[str, Any]) -> str:
    if rule["kind"] == "event":
        return str(rule["event"])
    lasting = f" for {rule['hold']:g} s" if rule["hold"] else ""
    return f"{rule['reading']} {rule['comparison']} {rule['threshold']:g}{lasting}"


def _print(rows: Sequence[dict[str, Any]], head: Sequence[str], *, as_json: bool) -> None:
    from bot.cli import output

    if as_json:
        for row in rows:
            row.pop("status", None)
            output.line(row)
    else:
        output.table(head, [[_cell(row[name]) for name in head] for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return "" if value is None else " ".join(str(value).split())


def _pairs(labels: Sequence[str]) -> dict[str, str]:
    found = {}
    for label in labels:
        name, mark, value = label.partition("=")
        if not mark or not name:
            raise InvalidInput(f"{label!r} is no label", hint="write NAME=VALUE")
        found[name] = value
    return found


def _seconds(text: str | None) -> float:
    number, unit = (text or "")[:-1], (text or "")[-1:]
    if unit not in _UNITS or not number.isdecimal() or int(number) == 0:
        raise InvalidInput(f"--for {text!r} is no time", hint="write 30m, 2h or 7d")
    return int(number) * float(_UNITS[unit])

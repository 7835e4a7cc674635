"""``mltb plugins``: see, run and change the plugins of the running service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from bot.cli.common import ask, json_option, main
from bot.errors import InvalidInput

if TYPE_CHECKING:
    from bot.cli.client import Client

_name = click.argument("name")


@main.group()
def plugins() -> None:
    """See, run and change the plugins of the running service."""


@plugins.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the plugins."""

    def work(client: Client) -> int:
        from bot.cli import output

        items = client.get("/plugins/list")["items"]
        for item in items if as_json else ():
            output.line(item)
        if not as_json:
            rows = [
                [
                    each["id"],
                    each["type"],
                    each["version"],
                    each["state"],
                    each["tier"] or "",
                    each["signature"] or "",
                    each["reason"] or "",
                ]
                for each in items
            ]
            output.table(
                ("plugin", "type", "version", "state", "walls", "signature", "reason"), rows
            )
        return 0

    ask(work)


@plugins.command()
@_name
@json_option
def info(name: str, *, as_json: bool) -> None:
    """Show everything about a plugin."""

    def work(client: Client) -> int:
        _show(client.get(f"/plugins/{name}"), as_json=as_json)
        return 0

    ask(work)


def _show(found: Any, *, as_json: bool) -> None:
    from bot.cli import output

    if as_json:
        output.line(found)
    else:
        output.say(json.dumps(found, indent=2, ensure_ascii=False))


def _moved(client: Client, verb: str, body: dict[str, Any], *, as_json: bool) -> int:
    """Do it, and say how the plugin is afterwards; 1 where it should run and does not."""
    from bot.cli import output

    found = client.post(f"/plugins/{verb}", body)
    reason = f": {found['reason']}" if found["reason"] else ""
    output.line(found) if as_json else output.say(f"{found['id']} {found['state']}{reason}")
    return 0 if verb == "disable" or found["state"] == "running" else 1


def _verb(verb: str, text: str) -> None:
    @plugins.command(verb, help=text)
    @_name
    @json_option
    def command(name: str, *, as_json: bool) -> None:
        def work(client: Client) -> int:
            return _moved(client, verb, {"plugin_name": name}, as_json=as_json)

        ask(work)


@plugins.command()
@_name
@click.option("--grant", is_flag=True, help="Give it the rights that it asks for.")
@click.option(
    "--repin", is_flag=True, help="Take its publisher and version as they are, whatever they were."
)
@json_option
def enable(name: str, *, grant: bool, repin: bool, as_json: bool) -> None:
    """Start a plugin, now and at every start."""

    def work(client: Client) -> int:
        body = {"plugin_name": name, "grant": grant, "repin": repin}
        return _moved(client, "enable", body, as_json=as_json)

    ask(work)


_verb("disable", "End a plugin, now and at every start.")
_verb("reload", "Run what lies in PLUGINS_DIR now.")


@plugins.command()
@_name
@click.argument("data", default="{}")
@json_option
def run(name: str, data: str, *, as_json: bool) -> None:
    """Call execute of a plugin with DATA, a JSON object of its arguments."""
    arguments = json_object(data, "DATA")

    def work(client: Client) -> int:
        answer = client.post("/plugins/execute", {"plugin_name": name, "data": arguments})
        _show(answer["result"], as_json=as_json)
        return 0

    ask(work)


@plugins.command()
@_name
@click.argument("config", metavar="[JSON]", required=False)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change one value.")
@json_option
def config(name: str, config: str | None, changes: tuple[str, ...], *, as_json: bool) -> None:
    """Show the configuration of a plugin, replace it with JSON, or change some of it.

    VALUE is JSON, or else text. Secrets are shown as stars, and stars leave them as they are.
    """
    replaced = json_object(config, "JSON") if config is not None else None
    changed = dict(_change(each) for each in changes)

    def work(client: Client) -> int:
        if replaced is not None or changed:
            base = client.get(f"/plugins/{name}/config")["config"] if replaced is None else replaced
            whole = {"plugin_name": name, "config": {**base, **changed}}
            _moved(client, "config", whole, as_json=as_json)
            return 0
        _show(client.get(f"/plugins/{name}/config"), as_json=as_json)
        return 0

    ask(work)


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"--set {text!r} has no =", hint="--set NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def json_object(text: str, name: str) -> dict[str, Any]:
    """The JSON object in ``text``; InvalidInput where it is none."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{name} is no JSON object", hint='write \'{"name": "value"}\'')
    return found


@plugins.command()
@_name
@json_option
def logs(name: str, *, as_json: bool) -> None:
    """Show the last lines that a plugin wrote."""

    def work(client: Client) -> int:
        from bot.cli import output

        for line in client.get(f"/plugins/{name}/logs")["items"]:
            output.line({"line": line}) if as_json else output.say(line)
        return 0

    ask(work)

"""``mltb plugins new`` and ``test``: for those who write plugins; no service is needed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec

from bot.cli.common import json_option, loaded_settings
from bot.cli.plugins import json_object, plugins

if TYPE_CHECKING:
    from bot.app.plugins_author import Outcome


@plugins.command()
@click.argument("name")
@click.option(
    "--type",
    "kind",
    default="custom",
    show_default=True,
    help="alert, backup, monitor, task, source or custom.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where its folder is made; the working directory by default.",
)
def new(name: str, kind: str, directory: Path) -> None:
    """Write the beginning of a plugin: a folder that works, and its test."""
    from bot.cli import output
    from bot.plugins.authoring import write_plugin

    root = write_plugin(name, kind, directory)
    output.say(f"{root}: try it with mltb plugins test {root}")


@plugins.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True), metavar="DIR")
@click.option(
    "--event",
    "recording",
    type=click.File("rb"),
    help="JSON lines of events, instead of a sample of each.",
)
@click.option("--config", default="{}", metavar="JSON", help="Its configuration.")
@click.option("--net", "reach", is_flag=True, help="Really send its HTTP requests.")
@json_option
def test(
    directory: Path,
    recording: BinaryIO | None,
    config: str,
    *,
    reach: bool,
    as_json: bool,
) -> None:
    """Run the plugin in DIR in the real sandbox, without a service.

    Shows what came of each event, what it asked for and what it logged. An event is a line such as
    {"hook": "on_task_completed", "payload": {...}} or {"hook": "execute", "args": [...]}. It is
    given the rights that it asks for; HTTP requests are answered with an empty 200 and not sent.
    """
    from bot.app.plugins_author import tried
    from bot.plugins.samples import recorded

    settings = loaded_settings().settings
    events = None if recording is None else recorded(recording.read())
    outcomes = asyncio.run(
        tried(
            settings,
            directory,
            config=json_object(config, "--config"),
            events=events,
            reach=reach,
        )
    )
    _show(outcomes, as_json=as_json)
    sys.exit(any(each.error is not None for each in outcomes))


def _show(outcomes: list[Outcome], *, as_json: bool) -> None:
    from bot.cli import output

    for each in outcomes:
        if as_json:
            output.line(msgspec.to_builtins(each))
            continue
        output.say(f"{each.event}: {each.error or 'ok'}")
        if each.result is not None:
            output.say(f"  returned {each.result!r}")
        for asked in each.asked:
            output.say(f"  asked for {asked.what} {asked.arguments!r}")
        for line in each.logged:
            output.say(f"  logged {line}")

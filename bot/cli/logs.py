"""``mltb logs``: what the service wrote, through it where one runs, else from its files."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from bot.cli.common import ask, json_option, loaded_settings, main

if TYPE_CHECKING:
    from bot.cli.client import Client
    from bot.config import Settings

_LEVELS = ["debug", "info", "warning", "error", "critical"]
_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
Show = Callable[[Iterable[Any]], None]


@main.command()
@click.option("--follow", is_flag=True, help="Go on with the lines that come.")
@click.option("--level", type=click.Choice(_LEVELS), help="This and above.")
@click.option("--logger", help="This and those below it, such as bot.web.")
@click.option("--task", help="Of this task.")
@click.option("--request", help="Of this request (X-Request-ID).")
@click.option("--text", help="In message, fields or traceback.")
@click.option("--since", type=_MOMENT, help="Not older, in local time.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, help="Lines at most.")
@json_option
def logs(
    *, follow: bool, limit: int, since: datetime | None, as_json: bool, **wanted: str | None
) -> None:
    """Show what the service wrote: the newest lines, the last one at the end."""
    from bot.lock import held

    settings = loaded_settings().settings
    query = {**wanted, "since": None if since is None else since.astimezone().isoformat()}
    show = _printer(as_json=as_json)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        if held(settings.data_dir):
            ask(lambda client: _ask(client, query, limit, show, follow=follow))
        asyncio.run(_read(settings, query, limit, show, follow=follow))
    sys.exit(0)


def _ask(
    client: Client, query: dict[str, str | None], limit: int, show: Show, *, follow: bool
) -> int:
    found = client.get("/logger/recent-logs", limit=limit, **query)
    show(reversed(found["items"]))
    if follow:
        for line in client.events("/logger/follow", after=found["end"], **query):
            show([line])
    return 0


async def _read(
    settings: Settings, query: dict[str, str | None], limit: int, show: Show, *, follow: bool
) -> None:
    from bot.app.logs import log_directory
    from bot.app.parts import SystemClock
    from bot.operations.log_lines import moment, stamp
    from bot.operations.log_reader import LogQuery, LogReader

    since = query["since"]
    wanted = LogQuery(**{**query, "since": None if since is None else stamp(moment(since))})
    reader = LogReader(log_directory(settings), SystemClock())
    found = reader.recent(wanted, limit)
    show(reversed(found.lines))
    if follow:
        async for batch in reader.follow(wanted, found.end):
            show(line for _, line in batch)


def _printer(*, as_json: bool) -> Show:
    import msgspec

    from bot.cli import output
    from bot.operations.log_lines import LogLine, told

    def show(lines: Iterable[Any]) -> None:
        for each in lines:
            line = msgspec.convert(each, LogLine, from_attributes=True)
            if as_json:
                output.line(msgspec.structs.asdict(line))
            else:
                output.say(told(line, coloured=sys.stdout.isatty()))

    return show

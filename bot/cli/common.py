"""What the commands have in common: the group, the settings, the way to a service."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bot import __version__
from bot.cli.log_setup import start_logging
from bot.config import Loaded, load
from bot.errors import ConfigError, InvalidInput, MltbError

if TYPE_CHECKING:
    from bot.cli.client import Client


class _Group(click.Group):
    """Turns the errors of the project into their words and exit statuses."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MltbError as error:
            from bot.cli import output

            output.complain(error, as_json="--json" in sys.argv)
            ctx.exit(2 if isinstance(error, (ConfigError, InvalidInput)) else 1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mltb")
def main() -> None:
    """Takes a link, fetches it, processes it and delivers it, verified."""


def loaded_settings() -> Loaded:
    """The settings, and log lines of warnings and above."""
    loaded = load()
    start_logging(loaded.settings, quiet=True)
    return loaded


def ask(work: Callable[[Client], int], *, start: bool = False) -> NoReturn:
    """Do ``work`` with the running service, or (``start``) with one of our own; then exit."""
    from bot.cli.host import with_service

    sys.exit(with_service(loaded_settings().settings, work, start=start))


json_option = click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")
task_argument = click.argument("task_id", metavar="TASK")

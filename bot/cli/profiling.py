"""How long operations take, and where the time of the running service goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bot.cli.common import ask, json_option, main

if TYPE_CHECKING:
    from bot.cli.client import Client

_HEAD = ("operation", "count", "errors", "total", "mean", "median", "p95", "p99", "max")
_SLOW_HEAD = ("operation", "seconds", "at", "detail")


@main.command()
@click.option("--operation", help="A name such as stage.fetch, or the area stage.")
@click.option("--slow", is_flag=True, help="The slowest runs instead of the figures.")
@click.option("--threshold", type=click.FloatRange(min=0), help="With --slow: seconds at least.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, help="Lines at most.")
@json_option
def profiler(
    *, operation: str | None, slow: bool, threshold: float | None, limit: int, as_json: bool
) -> None:
    """Show how long the operations of the running service take."""

    def work(client: Client) -> int:
        from bot.cli import output

        if slow:
            query = {"threshold": threshold, "limit": limit}
            items = client.get("/profiler/slow-operations", **query)["items"]
        else:
            items = client.get("/profiler/stats", operation=operation)["items"][:limit]
        if as_json:
            for item in items:
                output.line(item)
        elif slow:
            output.table(_SLOW_HEAD, [_slow_row(item) for item in items])
        else:
            output.table(_HEAD, [_row(item) for item in items])
        return 0

    ask(work)


def _row(item: dict[str, Any]) -> list[str]:
    name, count, errors, *times = (item[key] for key in _HEAD)
    return [name, str(count), str(errors), *(f"{seconds:.6f}" for seconds in times)]


def _slow_row(item: dict[str, Any]) -> list[str]:
    detail = "  ".join(f"{name}={value}" for name, value in item["detail"].items())
    return [item["operation"], f"{item['seconds']:.3f}", item["at"], detail]


@main.command()
@click.option("--seconds", type=click.FloatRange(0, 60, min_open=True), default=5.0,
              help="How long to look.")  # fmt: skip
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "html", "speedscope"]),
    default="text",
    help="What to write; speedscope is JSON for that program.",
)
def profile(*, seconds: float, kind: str) -> None:
    """Print a sampling profile of the running service."""

    def work(client: Client) -> int:
        from bot.cli import output

        found = client.post("/profiler/profile", {"seconds": seconds, "format": kind})
        output.say(found["content"])
        return 0

    ask(work)

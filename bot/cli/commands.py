"""The commands. Each parses, asks a service and prints; slow imports wait for their use."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from bot.cli import submission
from bot.cli.common import ask, json_option, loaded_settings, main, task_argument
from bot.config import load
from bot.domain.task import FINAL, TaskState
from bot.errors import MltbError

if TYPE_CHECKING:
    from bot.cli.client import Client

_STATES = [str(state) for state in TaskState]


@main.command()
@click.argument("source")
@submission.options
@click.option("--priority", type=click.IntRange(-100, 100), default=0, help="Higher goes first.")
@click.option("--again", is_flag=True, help="Also when an unfinished task does the same.")
@click.option("--detach", is_flag=True, help="Only hand it to the running service.")
@json_option
def mirror(source: str, *, as_json: bool, detach: bool, **given: Any) -> None:
    """Fetch SOURCE and deliver it.

    Through the running service if there is one, else by itself. SOURCE is a link, a magnet, a
    .torrent file or remote:path. Exit status 0 only when it was delivered and verified.
    """
    from bot.cli import output

    body = submission.body(source, given)
    body |= {"priority": given["priority"], "again": given["again"]}

    def work(client: Client) -> int:
        task = _submit(client, body)
        if detach:
            output.line(task) if as_json else output.say(task["id"])
            return 0
        task = _follow(client, task, as_json=as_json)
        if as_json:
            output.line(output.outcome(task))
        else:
            output.tell_outcome(task)
        return 0 if task["state"] == "done" else 1

    ask(work, start=not detach)


def _submit(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    """Submit; where an unfinished task does the same, go on with that one."""
    from bot.cli import output
    from bot.cli.client import ServiceError

    try:
        task: dict[str, Any] = client.post("/tasks", body)
    except ServiceError as error:
        same = error.details.get("task")
        if error.name != "duplicate" or same is None:
            raise
        output.warn(f"task {same} does the same; going on with it")
        task = client.get(f"/tasks/{same}")
        if task["state"] == "paused":
            task = client.post(f"/tasks/{same}/resume")
        else:
            # A service of our own leaves what others left alone, until it is asked for it.
            task = client.patch(f"/tasks/{same}", {"priority": task["priority"]})
    if task["note"]:
        output.warn(task["note"])
    return task


def _follow(client: Client, task: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Show the task until nothing more will happen by itself."""
    from bot.cli import output

    with output.following(as_json=as_json) as follower:
        while task["state"] not in {*FINAL, "paused", "awaiting_selection"}:
            follower.update(task)
            query = {"wait": 0.5, "version": task["version"]}
            task = client.get(f"/tasks/{task['id']}", **query)
        follower.update(task)
    return task


@main.command()
@click.argument("source")
@submission.options
@json_option
def plan(source: str, *, as_json: bool, **given: Any) -> None:
    """Say what mirroring SOURCE would do, without doing it."""
    from bot.cli import output

    body = submission.body(source, given)

    def work(client: Client) -> int:
        found = client.post("/plan", body)
        if as_json:
            output.line(found)
            return 0
        disk = found["disk"]
        guess = "about " if found["is_estimate"] else ""
        output.say(f"{found['name']}  {guess}{output.size(found['size'])}  by {found['engine']}")
        output.say(f"to {found['destination']}, {' → '.join(found['stages'])} ({found['way']})")
        fits = "fits" if disk["fits"] else "does NOT fit"
        needed, free = output.size(disk["needed"]), output.size(disk["available"])
        output.say(f"disk: needs {needed} of {free}, {fits}")
        for file in found["files"][:200]:
            output.say(f"  {file['index']:4} {output.size(file['size']):>10}  {file['path']}")
        if found["note"]:
            output.say(found["note"])
        return 0

    ask(work, start=True)


@main.command("list")
@click.option("--state", multiple=True, type=click.Choice(_STATES), help="Repeatable.")
@click.option("--text", help="In name or source.")
@click.option("--engine", help="Of this engine.")
@click.option(
    "--sort",
    type=click.Choice(["created", "updated", "size", "name", "priority"]),
    help="By what; left out, created.",
)
@click.option("--asc", is_flag=True, help="Smallest first.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, help="Tasks at most.")
@json_option
def list_(*, as_json: bool, asc: bool, **query: Any) -> None:
    """List tasks, the newest first."""

    def work(client: Client) -> int:
        from bot.cli import output

        page = client.get("/tasks", order="asc" if asc else None, **query)
        for task in page["items"] if as_json else ():
            output.line(task)
        if not as_json:
            output.table(output.TASK_HEAD, [output.task_row(task) for task in page["items"]])
        return 0

    ask(work, start=True)


@main.command()
@json_option
def status(*, as_json: bool) -> None:
    """Say what the running service does."""

    def work(client: Client) -> int:
        from bot.cli import output

        counts = client.get("/tasks/counts")
        busy = [state for state in _STATES if state not in {"queued", *FINAL}]
        tasks = client.get("/tasks", state=busy, limit=100)["items"]
        if as_json:
            output.line({"counts": counts, "tasks": tasks})
            return 0
        some = [f"{name} {count}" for name, count in counts.items() if count]
        output.say("  ".join(some) or "no tasks")
        output.table(output.TASK_HEAD, [output.task_row(task) for task in tasks])
        return 0

    ask(work, start=True)


@main.command()
@task_argument
@json_option
def show(task_id: str, *, as_json: bool) -> None:
    """Show everything about a task."""

    def work(client: Client) -> int:
        from bot.cli import output

        task = client.get(f"/tasks/{task_id}")
        if as_json:
            output.line(task)
        else:
            output.say(json.dumps(task, indent=2, ensure_ascii=False))
        return 0

    ask(work, start=True)


def _verb(name: str, text: str, *, start: bool) -> None:
    @main.command(name, help=text)
    @click.argument("task_ids", metavar="TASK...", nargs=-1, required=True)
    @json_option
    def command(task_ids: tuple[str, ...], *, as_json: bool) -> None:
        def work(client: Client) -> int:
            from bot.cli import output

            failed = 0
            for task_id in task_ids:
                try:
                    task = client.post(f"/tasks/{task_id}/{name}")
                except MltbError as error:
                    output.complain(error, as_json=as_json)
                    failed = 1
                    continue
                output.line(task) if as_json else output.say(f"{task_id} {task['state']}")
            return failed

        ask(work, start=start)


_verb("cancel", "End tasks; nothing of them is left.", start=True)
_verb("pause", "Stop tasks until they are resumed.", start=True)
_verb("resume", "Let paused tasks go on (the running service, or the next, does it).", start=True)
_verb("retry", "Try the failed stage of tasks again.", start=True)


@main.command()
@task_argument
@click.argument("files")
def select(task_id: str, files: str) -> None:
    """Choose FILES (indexes such as 0,2,5) of a task that awaits a selection."""
    wanted = submission.indexes(files)

    def work(client: Client) -> int:
        from bot.cli import output

        task = client.post(f"/tasks/{task_id}/select", {"files": wanted})
        output.say(f"{task_id} {task['state']}")
        return 0

    ask(work, start=True)


@main.command()
@task_argument
@click.argument("value", type=click.IntRange(-100, 100), required=False)
@click.option("--force", is_flag=True, help="Start at once, past the limits.")
def priority(task_id: str, value: int | None, *, force: bool) -> None:
    """Set the priority of a task (higher goes first), or force its start."""

    def work(client: Client) -> int:
        from bot.cli import output

        change = {"priority": value, "force": True if force else None}
        task = client.patch(f"/tasks/{task_id}", change)
        output.say(f"{task_id} priority {task['priority']}")
        return 0

    ask(work, start=True)


@main.command()
@click.argument("task_ids", metavar="TASK...", nargs=-1, required=True)
def delete(task_ids: tuple[str, ...]) -> None:
    """Forget finished tasks; what they delivered, and their receipts, stay."""

    def work(client: Client) -> int:
        for task_id in task_ids:
            client.delete(f"/tasks/{task_id}")
        return 0

    ask(work, start=True)


@main.command()
@click.option("--host", help="Instead of WEB_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of WEB_PORT; 0: a free one.")
def serve(host: str | None, port: int | None) -> None:
    """Run the service."""
    from bot.cli.serve import run

    given = {"web_host": host, "web_port": port}
    loaded = load(overrides={name: value for name, value in given.items() if value is not None})
    sys.exit(run(loaded))


@main.command()
@json_option
def config(*, as_json: bool) -> None:
    """Show the effective settings and where each came from; secrets are stars."""
    from bot.cli import output

    rows = load().rows()
    if as_json:
        for name, value, origin in rows:
            output.line({"name": name, "value": value, "origin": origin})
    else:
        output.table(("setting", "value", "from"), rows)


@main.group()
def token() -> None:
    """Make, list and revoke access tokens."""


@token.command("create")
@click.option(
    "--scope",
    type=click.Choice(["view", "operate", "admin"]),
    default="operate",
    help="What it may do; each may do what those before it may.",
)
@click.option("--name", default="token", help="What it is for.")
@click.option("--user", default="admin", help="Whose tasks it works on.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="How long it is valid.")
def token_create(scope: str, name: str, user: str, days: float | None) -> None:
    """Print a new token; it is shown this once."""
    from bot.cli import output
    from bot.cli.tokens import create

    output.say(create(loaded_settings().settings, name, scope, user, days))


@token.command("list")
@json_option
def token_list(*, as_json: bool) -> None:
    """List the tokens, without their secrets."""
    from bot.cli import output
    from bot.cli.tokens import listed

    rows = listed(loaded_settings().settings)
    if as_json:
        for row in rows:
            output.line(row)
    else:
        shown = [[str(row[key] or "") for key in row] for row in rows]
        output.table(list(rows[0]) if rows else (), shown)


@token.command("revoke")
@click.argument("token_id")
def token_revoke(token_id: str) -> None:
    """End a token."""
    from bot.cli.tokens import revoke

    revoke(loaded_settings().settings, token_id)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete this command: eval "$(mltb completion bash)"."""
    from click.shell_completion import get_completion_class

    from bot.cli import output

    kind = get_completion_class(shell)
    if kind is not None:
        output.say(kind(main, {}, "mltb", "_MLTB_COMPLETE").source())

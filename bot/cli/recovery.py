"""``mltb verify`` and ``mltb recovery``: whether what was delivered is still what it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli.common import ask, json_option, main
from bot.errors import InvalidInput

if TYPE_CHECKING:
    from bot.cli.client import Client

_TASK = re.compile(r"[0-9a-hjkmnp-tv-z]{16}")
_LONG_POLL = 30.0  # seconds


@main.command()
@click.argument("target", metavar="[PATH|TASK]", required=False)
@click.option("--all", "everything", is_flag=True, help="All that was delivered, newest first.")
@click.option("--data", is_flag=True, help="The data directory: database, modes, leftovers.")
@click.option("--resume", metavar="CHECK", help="Go on with a check that was cut off or limited.")
@click.option("--limit", type=click.IntRange(min=1), help="Receipts at most.")
@click.option(
    "--read-back/--no-read-back",
    default=None,
    help="Read files back from remotes that have no hash to compare.",
)
@click.option("--refetch", is_flag=True, help="Fetch again what is missing or damaged.")
@json_option
def verify(target: str | None, *, as_json: bool, refetch: bool, **given: Any) -> None:
    """Compare what was delivered with its receipts.

    PATH is a file or a directory (absolute, or remote:path), TASK the id of a task. Exit status 0
    only when nothing is wrong.
    """
    body = _body(target, given)

    def work(client: Client) -> int:
        from bot.cli import output

        check = client.post("/recovery/verify-integrity", {**body, "wait": 1})
        while check["state"] == "running":
            check = client.get(f"/recovery/checks/{check['id']}", wait=_LONG_POLL)
        for finding in _findings(client, check["id"]):
            output.line(finding) if as_json else output.say(_told(finding))
            if refetch and finding["task"] is not None:
                _refetch(client, check["id"], finding, as_json=as_json)
        if as_json:
            output.line({name: value for name, value in check.items() if name != "first_findings"})
        else:
            output.say(_outcome(check))
        return 0 if check["state"] in {"done", "partial"} and not check["wrong"] else 1

    ask(work, start=True)


def _body(target: str | None, given: dict[str, Any]) -> dict[str, Any]:
    named = [target, given["everything"] or None, given["data"] or None, given["resume"]]
    if sum(each is not None for each in named) != 1:
        raise InvalidInput("name one thing to check", hint="PATH, TASK, --all, --data or --resume")
    body = {name: given[name] for name in ("data", "resume", "limit", "read_back")}
    body |= {"all": given["everything"]}
    if target is None:
        return body
    if _TASK.fullmatch(target):
        return body | {"task": target}
    remote = ":" in target.partition("/")[0]
    return body | {"path": target if remote else str(Path(target).absolute())}


def _findings(client: Client, check: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = client.get(f"/recovery/checks/{check}/findings", limit=500, cursor=cursor)
        found += page["items"]
        cursor = page["cursor"]
    return found


def _refetch(client: Client, check: str, finding: dict[str, Any], *, as_json: bool) -> None:
    from bot.cli import output
    from bot.cli.client import ServiceError

    try:
        answer = client.post("/recovery/refetch", {"check": check, "finding": finding["number"]})
    except ServiceError as error:
        output.complain(error, as_json=as_json)
        return
    task = answer["task"]
    output.line(task) if as_json else output.say(f"  task {task['id']} fetches it again")


def _told(finding: dict[str, Any]) -> str:
    text = f"{finding['condition'].replace('_', ' ')}: {finding['path']}"
    if finding["expected"] and finding["found"]:
        return f"{text} (it is {finding['found']}, and was {finding['expected']})"
    return f"{text} ({finding['found']})" if finding["found"] else text


def _outcome(check: dict[str, Any]) -> str:
    from bot.cli import output

    text = (
        f"check {check['id']} {check['state']}: {check['files']} files, "
        f"{output.size(check['bytes'])} compared in {check['seconds']:.1f} s, "
        f"{check['wrong']} wrong, {check['undecided']} undecided"
    )
    return f"{text}; go on with --resume {check['id']}" if check["resumable"] else text


@main.command()
@click.option("--history", type=click.Choice(["checks", "starts"]), help="The newest of those.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, help="At most so many.")
@json_option
def recovery(*, as_json: bool, history: str | None, limit: int) -> None:
    """Say what the last start found and settled, and how tasks and checks fare."""

    def work(client: Client) -> int:
        from bot.cli import output

        if history is not None:
            items = client.get("/recovery/history", of=history, limit=limit)["items"]
            tell = _outcome if history == "checks" else _started
            for item in items:
                output.line(item) if as_json else output.say(tell(item))
            return 0
        found = client.get("/recovery/status")
        if as_json:
            output.line(found)
            return 0
        output.say(_started(found["start"]))
        for name, rate in {**found["tasks"], "checks": found["checks"]}.items():
            output.say(f"{name}: {rate['good']} of {rate['total']} went well")
        for name in ("last_check", "data"):
            if found[name] is not None:
                output.say(_outcome(found[name]))
        return 0

    ask(work, start=True)


def _started(start: dict[str, Any]) -> str:
    from bot.cli import output

    of = start["recovered"]
    kept = output.size(sum(each["kept"] for each in of["resumed"]))
    before = "a clean stop" if start["clean"] else "a crash"
    line = (
        f"{start['started_at']} started after {before}: {len(of['resumed'])} tasks go on with "
        f"{kept} kept, {len(of['workspaces'])} workspaces and "
        f"{sum(of['leftovers'].values())} leftovers removed, {len(of['checks'])} checks cut off"
    )
    return "\n".join([line, *(f"  not cleaned: {each}" for each in of["failed"])])

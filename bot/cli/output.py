"""Words and bars for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from bot.errors import MltbError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(value: float | None) -> str:
    """Bytes for people."""
    if value is None:
        return "?"
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return "?"


def line(content: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A sentence for a person, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """A sentence for a person, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def complain(error: MltbError, *, as_json: bool, stage: str | None = None) -> None:
    """An error, in the shape that the caller reads."""
    code = getattr(error, "name", error.code)
    if as_json:
        shaped = {"code": code, "message": error.message, "hint": error.hint, "stage": stage}
        line({"state": "failed", "error": shaped})
    else:
        warn(f"mltb: {error.message}" + (f"\n      {error.hint}" if error.hint else ""))


def outcome(task: Mapping[str, Any]) -> dict[str, Any]:
    """The last JSON line of a task: its state with what it left, or why it failed."""
    shown = {name: task[name] for name in ("id", "state", "name", "size", "sha256", "path")}
    receipt = task.get("receipt")
    if receipt is not None and len(receipt["files"]) > 1:
        shown["files"] = receipt["files"]
    if receipt is not None:
        shown["verified"] = receipt["method"]
    if task["error"] is not None and task["state"] != "done":
        shown["error"] = task["error"]
    return shown


def tell_outcome(task: Mapping[str, Any]) -> None:
    """The end of a task, for a person."""
    state, error = task["state"], task["error"]
    if state == "done":
        receipt = task["receipt"]
        say(f"{task['path']}")
        checked = {"same-inode": "moved whole", "read-back": "read back"}
        how = checked.get(receipt["method"], receipt["method"])
        if task["sha256"]:
            say(f"sha256 {task['sha256']}  {size(task['size'])}  verified: {how}")
        else:
            say(f"{len(receipt['files'])} files  {size(task['size'])}  verified: {how}")
    elif error is not None:
        warn(f"{state} in {error['stage']}: {error['message']} [{error['code']}]")
        if error["hint"]:
            warn(f"      {error['hint']}")
        warn(f"      mltb retry {task['id']} tries again from there")
    else:
        warn(f"{state}" + (f": {task['note']}" if task["note"] else ""))


class Follower(Protocol):
    """Shows how a task goes on."""

    def update(self, task: Mapping[str, Any]) -> None:
        """Show its present state."""


class JsonFollower:
    """One JSON line for each sample that differs from the one before."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def update(self, task: Mapping[str, Any]) -> None:
        """Print a line when something changed."""
        progress = task["progress"] or {}
        shown = {
            "id": task["id"],
            "state": task["state"],
            "name": task["name"],
            **{key: progress.get(key) for key in ("done", "total", "speed", "eta")},
        }
        if shown != self._last and task["state"] not in {"done", "failed", "cancelled"}:
            self._last = shown
            line(shown)


class BarFollower:
    """A progress bar on a terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._row = bar.add_task("queued", total=None, name="")

    def update(self, task: Mapping[str, Any]) -> None:
        """Move the bar."""
        progress = task["progress"] or {}
        error = task["error"]
        state = task["state"]
        if state == "retrying" and error is not None:
            state = f"retrying: {error['message']}"[:80]
        elif state == "queued" and task["note"]:
            state = task["note"][:80]
        self._bar.update(
            self._row,
            description=state,
            name=(task["name"] or "")[:40],
            total=progress.get("total") or task["size"],
            completed=progress.get("done", 0),
        )


class LineFollower:
    """One line for each change of state, where there is no terminal."""

    def __init__(self) -> None:
        self._last = ""

    def update(self, task: Mapping[str, Any]) -> None:
        """Print a line when the state changed."""
        if task["state"] != self._last:
            self._last = task["state"]
            warn(f"{task['id']} {task['state']} {task['name'] or ''}".rstrip())


@contextmanager
def following(*, as_json: bool) -> Iterator[Follower]:
    """What shows a task to this caller."""
    if as_json:
        yield JsonFollower()
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.fields[name]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield BarFollower(bar)
    else:
        yield LineFollower()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows for a person; plain columns where there is no terminal."""
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(row))
        return
    shown = Table(box=None, pad_edge=False)
    for name in head:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    Console().print(shown, markup=False)


def task_row(task: Mapping[str, Any]) -> list[str]:
    """A task in a table."""
    progress = task["progress"] or {}
    total = progress.get("total") or task["size"]
    done = progress.get("done")
    part = f"{done * 100 // total}%" if done is not None and total else ""
    why = f"{task['error']['code']}: {task['error']['message']}" if task["error"] else ""
    speed = f"{size(progress['speed'])}/s" if progress.get("speed") else ""
    state = task["state"]
    return [
        task["id"],
        state,
        part,
        speed,
        size(total),
        (task["name"] or task["source"])[:60],
        why[:80] if state in {"failed", "retrying"} else task["note"] or "",
    ]


TASK_HEAD = ("id", "state", "", "speed", "size", "name", "why")

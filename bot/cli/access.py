"""``mltb user`` and ``mltb audit``: who may log in with a password, and what everybody changed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from bot.cli.common import ask, json_option, main

if TYPE_CHECKING:
    from bot.cli.client import Client

_name = click.argument("name")
_role = click.Choice(["viewer", "operator", "admin"])


@main.group()
def user() -> None:
    """Say who may log in to the page with a password."""


@user.command("add")
@_name
@click.option("--role", type=_role, default="operator", help="What they may do.")
def user_add(name: str, role: str) -> None:
    """Let NAME log in; the password is asked for, or read from standard input."""
    password = _password()

    def work(client: Client) -> int:
        client.post("/users", {"name": name, "role": role, "password": password})
        return 0

    ask(work, start=True)


@user.command("password")
@_name
def user_password(name: str) -> None:
    """Give NAME a new password, which is asked for or read from standard input; it ends every
    session."""
    _change(name, {"password": _password()})


@user.command("role")
@_name
@click.argument("role", type=_role)
def user_role(name: str, role: str) -> None:
    """Give NAME another role."""
    _change(name, {"role": role})


@user.command("list")
@json_option
def user_list(*, as_json: bool) -> None:
    """List everybody who has an account or tokens."""
    from bot.cli import output

    def work(client: Client) -> int:
        rows = client.get("/users")["items"]
        if as_json:
            for row in rows:
                output.line(row)
        else:
            shown = [[row["name"], row["role"] or "", str(len(row["tokens"]))] for row in rows]
            output.table(("name", "role", "tokens"), shown)
        return 0

    ask(work, start=True)


@user.command("remove")
@_name
def user_remove(name: str) -> None:
    """Remove the account of NAME and end its sessions; their tokens stay."""

    def work(client: Client) -> int:
        client.delete(f"/users/{quote(name, safe='')}")
        return 0

    ask(work, start=True)


@main.command()
@click.option("--user", help="Of this user.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, help="How many at most.")
@json_option
def audit(*, user: str | None, limit: int, as_json: bool) -> None:
    """List what was changed: who, what, from where, and how it ended; the newest first."""
    from bot.cli import output

    def work(client: Client) -> int:
        rows = client.get("/audit", user=user, limit=limit)["items"]
        if as_json:
            for row in rows:
                output.line(row)
        else:
            names = ("at", "user", "action", "target", "outcome", "address")
            output.table(names, [[str(row[name] or "") for name in names] for row in rows])
        return 0

    ask(work, start=True)


def _change(name: str, body: dict[str, Any]) -> None:
    def work(client: Client) -> int:
        client.patch(f"/users/{quote(name, safe='')}", body)
        return 0

    ask(work, start=True)


def _password() -> str:
    if sys.stdin.isatty():
        given: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return given
    return sys.stdin.readline().rstrip("\n")

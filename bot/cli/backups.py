"""``mltb backup``: with the running service, or without one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bot.cli.common import json_option, loaded_settings, main
from bot.errors import InvalidInput

if TYPE_CHECKING:
    from bot.cli.backup_doors import Door

_HEAD = ("name", "state", "size", "tasks", "where", "verified")


@main.group()
def backup() -> None:
    """Make, list, verify and restore backups of the state."""


def _keys(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that opens an archive."""
    identity = click.option(
        "--identity",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File of age identities, instead of BACKUP_AGE_IDENTITY.",
    )
    passphrase = click.option(
        "--ask-passphrase", is_flag=True, help="Ask for one, instead of BACKUP_PASSPHRASE."
    )
    return identity(passphrase(command))


def _given(identity: Path | None, *, ask_passphrase: bool) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if identity is not None:
        try:
            keys["identity"] = identity.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{str(identity)!r} can't be read: {error}") from None
    if ask_passphrase:
        keys["passphrase"] = click.prompt("Passphrase", hide_input=True, err=True)
    return keys


def _work(work: Callable[[Door], int]) -> NoReturn:
    from bot.cli.backup_doors import with_backups

    sys.exit(with_backups(loaded_settings().settings, work))


class _Progress:
    """Tells on standard error, of a terminal alone, how far it is."""

    def __init__(self, *, as_json: bool) -> None:
        self._on = not as_json and sys.stderr.isatty()

    def __call__(self, step: str, done: int, total: int) -> None:
        part = f" {done * 100 // total}%" if total else ""
        if self._on:
            sys.stderr.write(f"\r\033[K{step}{part}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._on:
            sys.stderr.write("\r\033[K")


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    from bot.cli import output

    if as_json:
        output.line(found)
        return
    output.say(f"{found['name']}  {output.size(found['size'])}  {found['state']}")
    verification = found["verification"] or {"passed": [], "unchecked": [], "counts": {}}
    for check in verification["passed"]:
        output.say(f"  passed: {check}")
    for check in verification["unchecked"]:
        output.say(f"  NOT checked: {check}")
    rows = [f"{count} {name}" for name, count in verification["counts"].items()]
    if rows:
        output.say(f"  holds {', '.join(rows)}")
    for copy in found["copies"]:
        output.say(f"  {'at' if copy['done'] else 'NOT at'} {copy['destination']}")


@backup.command("create")
@json_option
def backup_create(*, as_json: bool) -> None:
    """Make a backup, verify it, and copy it to BACKUP_DESTINATIONS."""
    progress = _Progress(as_json=as_json)

    def work(door: Door) -> int:
        found = door.create(progress)
        progress.end()
        _tell(found, as_json=as_json)
        return 0 if all(copy["done"] for copy in found["copies"]) else 1

    _work(work)


@backup.command("list")
@click.option("--remotes", is_flag=True, help="Ask BACKUP_DESTINATIONS, too, what they hold.")
@json_option
def backup_list(*, remotes: bool, as_json: bool) -> None:
    """List the backups, newest first."""

    def work(door: Door) -> int:
        from bot.cli import output

        items = door.list(remotes=remotes)["items"]
        for item in items if as_json else ():
            output.line(item)
        if not as_json:
            output.table(_HEAD, [_row(item) for item in items])
        return 0

    _work(work)


def _row(item: dict[str, Any]) -> list[str]:
    from bot.cli import output

    verification = item["verification"] or {}
    where = ["here"] if item["local"] else []
    where += [copy["destination"] for copy in item["copies"] if copy["done"]]
    return [
        item["name"],
        item["state"],
        output.size(item["size"]),
        str(verification.get("counts", {}).get("tasks", "?")),
        " ".join(where),
        verification.get("at", "never")[:19],
    ]


@backup.command("verify")
@click.argument("name")
@_keys
@json_option
def backup_verify(name: str, *, identity: Path | None, ask_passphrase: bool, as_json: bool) -> None:
    """Restore the backup NAME into a scratch place and open it."""
    keys = _given(identity, ask_passphrase=ask_passphrase)
    progress = _Progress(as_json=as_json)

    def work(door: Door) -> int:
        found = door.verify(name, keys, progress)
        progress.end()
        _tell(found, as_json=as_json)
        return 0

    _work(work)


@backup.command("restore")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--config", is_flag=True, help="Put back .env and config.py, too.")
@_keys
@json_option
def backup_restore(name: str, *, yes: bool, config: bool, as_json: bool, **given: Any) -> None:
    """Put the backup NAME in the place of the present state.

    It is verified first. The state before it is kept in DATA_DIR, and comes back by itself where
    the service does not start with the restored one. A running service is restarted.
    """
    if not yes:
        click.confirm(f"Replace the present state by {name}?", abort=True, err=True)
    keys = _given(given["identity"], ask_passphrase=given["ask_passphrase"])
    progress = _Progress(as_json=as_json)

    def work(door: Door) -> int:
        from bot.cli import output

        found = door.restore(name, keys, config=config, show=progress)
        progress.end()
        if as_json:
            output.line(found)
        else:
            output.say(f"{found['name']} {found['state']}: {found['message']}")
            if found["kept"]:
                output.say(f"  the state before it: {found['kept']}")
        return 0 if found["state"] == "restored" else 1

    _work(work)


@backup.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def backup_delete(names: tuple[str, ...]) -> None:
    """Remove backups, here and at BACKUP_DESTINATIONS."""

    def work(door: Door) -> int:
        for name in names:
            door.delete(name)
        return 0

    _work(work)

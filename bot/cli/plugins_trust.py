"""``mltb plugins``: who made a plugin, and whether that is enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bot.cli.common import ask, json_option
from bot.cli.plugins import plugins

if TYPE_CHECKING:
    from bot.cli.client import Client

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_file = click.Path(path_type=Path, dir_okay=False)


@plugins.command()
@click.argument("file", type=_file)
def keygen(file: Path) -> None:
    """Make a key to sign plugins with: FILE gets the private half, the public one is printed."""
    from bot.cli import output
    from bot.plugins.keys import write_new_key

    output.say(write_new_key(file))


@plugins.command()
@_folder
@click.option("--key", type=_file, required=True, help="The file with the publisher's key.")
@click.option(
    "--also",
    type=_file,
    multiple=True,
    help="Sign with this key, too, such as the one before it; repeatable.",
)
def sign(folder: Path, key: Path, also: tuple[Path, ...]) -> None:
    """Sign the plugin in the folder DIR: plugin.files and plugin.sig are written into it."""
    from bot.cli import output
    from bot.plugins.folders import sign_folder
    from bot.plugins.keys import read_key

    publisher = sign_folder(folder, [read_key(file) for file in (key, *also)])
    output.say(f"{folder.resolve().name} signed by {publisher}")


@plugins.command()
@_folder
@click.option("--key", multiple=True, help="A public key that counts; repeatable. Left out: any.")
@json_option
def verify(folder: Path, *, key: tuple[str, ...], as_json: bool) -> None:
    """Say who signed the plugin in the folder DIR. Exit status 1 where it is unsigned, untrusted
    (none of the keys), truncated (a part is missing) or tampered (not what was signed)."""
    from bot.cli import output
    from bot.domain.plugins import Signature
    from bot.plugins.folders import examine_folder

    name, verdict = examine_folder(folder, key or None)
    if as_json:
        output.line(
            {
                "id": name,
                "signature": verdict.signature,
                "signers": verdict.signers,
                "reason": verdict.reason,
            }
        )
    elif verdict.signature is Signature.SIGNED:
        output.say(f"{name} signed by {' and '.join(verdict.signers)}")
    else:
        output.say(f"{name} {verdict.signature}: {verdict.reason}")
    raise SystemExit(0 if verdict.signature is Signature.SIGNED else 1)


@plugins.command()
@json_option
def keys(*, as_json: bool) -> None:
    """List the keys that are trusted or revoked."""

    def work(client: Client) -> int:
        from bot.cli import output

        items = client.get("/plugins/keys")["items"]
        for item in items if as_json else ():
            output.line(item)
        if not as_json:
            rows = [
                [each["key"], each["name"], "revoked" if each["revoked"] else "trusted", each["at"]]
                for each in items
            ]
            output.table(("key", "name", "state", "since"), rows)
        return 0

    ask(work)


@plugins.command()
@click.argument("key")
@click.option("--name", default="", help="Whose it is.")
@json_option
def trust(key: str, name: str, *, as_json: bool) -> None:
    """Trust what KEY signs, from now on."""
    from bot.cli import output

    def work(client: Client) -> int:
        kept = client.post("/plugins/keys/trust", {"key": _public(key), "name": name})
        output.line(kept) if as_json else output.say(f"{key} trusted")
        return 0

    ask(work)


@plugins.command()
@click.argument("key")
@json_option
def revoke(key: str, *, as_json: bool) -> None:
    """Run nothing any more that KEY signed as its publisher; what runs of it ends at once."""
    from bot.cli import output

    def work(client: Client) -> int:
        kept = client.post("/plugins/keys/revoke", {"key": _public(key)})
        if as_json:
            output.line(kept)
        else:
            ended = f"; ended: {', '.join(kept['ended'])}" if kept["ended"] else ""
            output.say(f"{key} revoked{ended}")
        return 0

    ask(work)


def _public(key: str) -> str:
    from bot.plugins.signing import key_bytes

    key_bytes(key)
    return key

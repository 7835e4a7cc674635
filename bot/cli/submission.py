"""What a submission may say on the command line, and how it becomes the body of a request."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.errors import InvalidInput

if TYPE_CHECKING:
    from pydantic import ByteSize


def _pairs(values: tuple[str, ...], separator: str, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, sign, content = value.partition(separator)
        if not sign or not name.strip():
            raise InvalidInput(f"{value!r} is not a {what}", hint=f"write NAME{separator}VALUE")
        found[name.strip()] = content.strip()
    return found


def _step(text: str) -> dict[str, Any]:
    """``name`` or ``name:key=value,key=value``; numbers and true/false are read as such."""
    name, _, rest = text.partition(":")
    params: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, sign, value = part.partition("=")
        if not sign:
            raise InvalidInput(f"{part!r} in the step {text!r} is not KEY=VALUE")
        params[key.strip()] = _value(value)
    return {"name": name, "params": params}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that takes a submission."""
    for option in reversed(
        (
            click.option("--to", help="Directory or remote:path; left out, DOWNLOAD_DIR."),
            click.option("--name", help="Another name."),
            click.option("--header", multiple=True, help="'Name: value', for HTTP; repeatable."),
            click.option("--user", "username", help="User name at the source."),
            click.option("--password", help="Password at the source."),
            click.option("--checksum", help="What the file must have: sha256:HEX, md5:HEX, ..."),
            click.option("--limit", help="Bytes a second, such as 5M."),
            click.option("--segments", type=click.IntRange(1, 64), help="Connections."),
            click.option("--select", help="Indexes of wanted files: 0,2,5."),
            click.option("--quality", help="best, 1080p, audio, ... (video pages)."),
            click.option("--playlist", is_flag=True, help="The whole playlist."),
            click.option("--engine", help="This engine and no other."),
            click.option("--option", "engine_options", multiple=True, help="KEY=VALUE of it."),
            click.option("--step", "steps", multiple=True, help="extract, zip:password=x, ..."),
            click.option("--extract", "-e", is_flag=True, help="Short for --step extract."),
            click.option("--zip", "-z", "zip_", is_flag=True, help="Short for --step zip."),
            click.option("--stream/--no-stream", default=None, help="Pass the disk by, or not."),
            click.option(
                "--overwrite",
                type=click.Choice(["rename", "replace", "refuse"]),
                default="rename",
                help="Where the name is taken.",
            ),
            click.option("--seed-ratio", type=float, help="Seed to this ratio."),
            click.option("--seed-time", type=float, help="Seed for these seconds."),
        )
    ):
        command = option(command)
    return command


def body(source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a submission from the options of the command line."""
    if source.endswith(".torrent") and (":" not in source or Path(source).is_file()):
        source = _torrent_file(Path(source))
    to = given["to"]
    if to is not None and _is_path(to):
        to = str(Path(to).expanduser().absolute())
    names = [text for name, text in (("extract", "extract"), ("zip_", "zip")) if given[name]]
    select = given["select"]
    wishes = {
        "name": given["name"],
        "headers": _pairs(given["header"], ":", "header"),
        "username": given["username"],
        "password": given["password"],
        "checksum": given["checksum"],
        "limit": None if given["limit"] is None else _limit(given["limit"]),
        "segments": given["segments"],
        "select": indexes(select) if select else None,
        "quality": given["quality"],
        "playlist": given["playlist"],
        "engine": given["engine"],
        "engine_options": {
            key: _value(value)
            for key, value in _pairs(given["engine_options"], "=", "engine option").items()
        },
        "stream": given["stream"],
        "overwrite": given["overwrite"],
        "seed_ratio": given["seed_ratio"],
        "seed_seconds": given["seed_time"],
    }
    steps = [_step(text) for text in [*names, *given["steps"]]]
    return {"source": source, "to": to, "options": wishes, "steps": steps}


def indexes(text: str) -> list[int]:
    """The indexes of files in ``0,2,5``. InvalidInput."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidInput(
            f"{text!r} is no list of indexes", hint="such as 0,2,5; mltb plan SOURCE shows them"
        )
    return [int(part) for part in parts]


def _limit(text: str) -> int | None:
    from pydantic import TypeAdapter, ValidationError

    from bot.config import Rate

    try:
        limit: ByteSize | None = TypeAdapter(Rate).validate_python(text)
    except ValidationError:
        raise InvalidInput(
            f"{text!r} is no speed", hint="bytes a second, such as 500K, 5M or 1.5M"
        ) from None
    return limit


def _is_path(destination: str) -> bool:
    """Whether it means a directory, and not ``remote:path``."""
    before, colon, _ = destination.partition(":")
    known = not colon or "/" in before or Path(destination).is_dir()
    return known or destination.startswith((".", "~"))


def _torrent_file(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{str(path)!r} can't be read: {error.strerror}", hint="a torrent file, or a link"
        ) from None
    return "torrent:base64," + base64.b64encode(content).decode()

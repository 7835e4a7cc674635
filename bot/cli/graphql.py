"""``mltb graphql``: the schema, and the documents that are trusted."""

from __future__ import annotations

from pathlib import Path

import click

from bot.cli.common import main
from bot.errors import InvalidInput


@main.group()
def graphql() -> None:
    """Print the schema, and trust documents."""


@graphql.command()
def schema() -> None:
    """Print the schema in the schema definition language."""
    from bot.cli import output
    from bot.graphql.schema import sdl

    output.say(sdl().rstrip("\n"))


@graphql.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def trust(source: Path, directory: Path) -> None:
    """Check the documents of SOURCE (*.graphql) against the schema and copy them into DIRECTORY.

    The service takes those of GRAPHQL_TRUSTED_DOCUMENTS and no other; a client sends a document, or
    its SHA-256 as documentId. It reads them at its start.
    """
    from bot.cli import output
    from bot.graphql.trusting import trusted

    files = sorted(source.rglob("*.graphql")) if source.is_dir() else [source]
    if not files:
        raise InvalidInput(f"{source} has no documents", hint="they are called *.graphql")
    found = {path: trusted(path) for path in files}
    directory.mkdir(parents=True, exist_ok=True)
    for path, (digest, text) in found.items():
        (directory / f"{digest}.graphql").write_text(text, "utf-8")
        output.say(f"{digest}  {path}")

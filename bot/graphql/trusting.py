"""Documents that are trusted: the only ones that a closed service takes."""

from __future__ import annotations

from pathlib import Path

from graphql import GraphQLError, parse, validate

from bot.errors import InvalidInput
from bot.graphql.documents import fingerprint_of
from bot.graphql.schema import core


def trusted(path: Path) -> tuple[str, str]:
    """The SHA-256 and the text of a document that fits the schema. InvalidInput."""
    try:
        text = path.read_text("utf-8")
        errors = validate(core(), parse(text))
    except (OSError, UnicodeDecodeError, GraphQLError, RecursionError) as error:
        raise InvalidInput(f"{path}: {error}") from None
    if errors:
        raise InvalidInput(f"{path}: {errors[0].message}")
    return fingerprint_of(text), text

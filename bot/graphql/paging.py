"""Arguments that lists have in common."""

from __future__ import annotations

from typing import Annotated

from bot.errors import InvalidInput
from bot.graphql.declaring import argument

First = Annotated[int, argument("How many at most, from 1 to 500.")]
After = Annotated[str | None, argument("The cursor of the page before.")]


def page_size(first: int) -> int:
    """A wished size of a page, from 1 to 500. InvalidInput."""
    if not 1 <= first <= 500:
        raise InvalidInput(f"first is {first}", hint="ask for 1 to 500")
    return first

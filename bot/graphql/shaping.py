"""Errors in the shape of GraphQL, and nothing of a fault but where the log has it."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError

from bot.errors import MltbError
from bot.graphql.guards import Refused

log = logging.getLogger(__name__)

Shaped = dict[str, Any]


def shaped(error: GraphQLError) -> Shaped:
    """An error of an answer, with its code."""
    found: Shaped = dict(error.formatted)
    found.pop("extensions", None)
    original = error.original_error
    while isinstance(original, GraphQLError):  # what a scalar says of a variable
        original = original.original_error
    if original is None:
        code = "syntax" if isinstance(error, GraphQLSyntaxError) else "invalid_query"
        found["extensions"] = {"code": code}
    elif isinstance(original, Refused):
        found |= {"message": str(original), "extensions": {"code": original.code}}
    elif isinstance(original, MltbError) and not _is_fault(original):
        found |= plain(original)
    else:
        found |= _fault(original, found.get("path"))
    return found


def plain(error: MltbError) -> Shaped:
    """An error of the tree."""
    extensions = {"code": error.code, "hint": error.hint, **error.details}
    return {
        "message": error.message,
        "extensions": {name: value for name, value in extensions.items() if value is not None},
    }


def refused(error: Refused) -> Shaped:
    """What a guard says."""
    return {"message": str(error), "extensions": {"code": error.code}}


def _is_fault(error: MltbError) -> bool:
    return error.status >= 500 and error.code == "internal"


def _fault(error: BaseException, path: object) -> Shaped:
    """A fault of the program: the caller gets an id that finds the log line, and no more."""
    reference = secrets.token_hex(6)
    log.error("fault %s in GraphQL at %s", reference, path, exc_info=error)
    return {
        "message": "a fault of the service",
        "extensions": {
            "code": "internal",
            "id": reference,
            "hint": f"the log has it under {reference}",
        },
    }

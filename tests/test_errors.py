"""The error tree: its public shape, which programs and doors rely on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import bot
from bot import errors
from bot.errors import MltbError, NetworkFailed, Refused, TransferError

#: Name, code, status, whether the stage is tried again, name of the base. Changing a line changes
#: what clients see.
TREE = """
ConfigError       config_invalid   500  -    MltbError
RequestError      bad_request      400  -    MltbError
InvalidInput      invalid_input    422  -    RequestError
Unauthenticated   unauthenticated  401  -    RequestError
Forbidden         forbidden        403  -    RequestError
Forged            csrf             403  -    Forbidden
NotFound          not_found        404  -    RequestError
Conflict          conflict         409  -    RequestError
IllegalMove       illegal_move     409  -    Conflict
Duplicate         duplicate        409  -    Conflict
BodyTooLarge      body_too_large   413  -    RequestError
TooMany           too_many         429  -    RequestError
Unavailable       unavailable      503  -    MltbError
TransferError     internal         502  no   MltbError
NetworkFailed     network          502  yes  TransferError
Refused           refused          502  yes  TransferError
SourceNotFound    source_not_found 502  no   TransferError
Unauthorised      unauthorised     502  no   TransferError
NoSpace           no_space         507  no   TransferError
QuotaReached      quota            429  no   TransferError
Corrupt           corrupt          502  no   TransferError
Unsupported       unsupported      422  no   TransferError
PolicyRefused     policy           403  no   TransferError
PluginFailed      plugin           502  no   TransferError
InternalFailure   internal         500  no   TransferError
"""


def declared() -> list[type[MltbError]]:
    """Every error of the tree but its root, in order."""
    kinds: list[type[object]] = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    return [kind for kind in kinds if issubclass(kind, MltbError) and kind is not MltbError]


def test_the_public_tree_is_as_it_was() -> None:
    retried = {True: "yes", False: "no"}
    found = [
        (
            kind.__name__,
            kind.code,
            str(kind.status),
            retried[kind.retryable] if issubclass(kind, TransferError) else "-",
            kind.__base__.__name__,  # type: ignore[union-attr]
        )
        for kind in declared()
    ]
    assert found == [tuple(line.split()) for line in TREE.strip().splitlines()]


def test_the_tree_is_drawn_in_one_place() -> None:
    # What the service answered to the command line comes from this tree already.
    for module in pkgutil.walk_packages(bot.__path__, "bot."):
        if module.name != "bot.__main__":
            importlib.import_module(module.name)
    elsewhere = {f"{kind.__module__}.{kind.__name__}" for kind in _below(MltbError)}
    assert {name for name in elsewhere if not name.startswith("bot.errors.")} <= {
        "bot.cli.client.ServiceError"
    }


def _below(kind: type[MltbError]) -> Iterator[type[MltbError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def test_a_code_means_one_thing() -> None:
    codes = [kind.code for kind in declared() if kind.code != "internal"]
    assert len(codes) == len(set(codes))
    every: list[type[MltbError]] = [MltbError, *declared()]
    internal = {kind for kind in every if kind.code == "internal"}
    assert internal == {MltbError, TransferError, errors.InternalFailure}


@pytest.mark.parametrize("kind", declared())
def test_every_error_says_what_it_is_and_has_a_status(kind: type[MltbError]) -> None:
    assert kind.__doc__
    assert 400 <= kind.status < 600
    assert kind.code == kind.code.lower()
    assert kind.code.replace("_", "").isalpha()
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", declared())
def test_every_error_keeps_message_hint_and_details(kind: type[MltbError]) -> None:
    error = kind("it broke", hint="mend it", size=5)
    assert (error.message, error.hint, error.details) == ("it broke", "mend it", {"size": 5})
    assert str(error) == "it broke (mend it)"
    assert str(kind("it broke")) == "it broke"
    assert error.args == ("it broke",)


def test_what_the_other_side_asked_for_is_no_detail() -> None:
    error = Refused("later", retry_after=30.0, status=429)
    assert (error.retry_after, error.details) == (30.0, {"status": 429})
    assert NetworkFailed("gone").retry_after is None

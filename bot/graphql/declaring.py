"""How types are declared: with a description of everything, in as few words as possible."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NewType, TypeVar, dataclass_transform

import strawberry
from graphql import GraphQLError
from strawberry.types import Info

from bot.errors import InvalidInput
from bot.graphql.context import Context

T = TypeVar("T")


def said(text: str, **more: Any) -> Any:
    """A field with its description."""
    return strawberry.field(description=text, **more)


@dataclass_transform(field_specifiers=(said, strawberry.field))
def described(kind: type[T]) -> type[T]:
    """An object type; its docstring is its description."""
    return strawberry.type(kind, description=inspect.getdoc(kind))


@dataclass_transform(field_specifiers=(said, strawberry.field))
def given(kind: type[T]) -> type[T]:
    """An input type; its docstring is its description."""
    return strawberry.input(kind, description=inspect.getdoc(kind))


@dataclass_transform(field_specifiers=(said, strawberry.field))
def shape(kind: type[T]) -> type[T]:
    """An interface; its docstring is its description."""
    return strawberry.interface(kind, description=inspect.getdoc(kind))


def resolver(function: Callable[..., Any]) -> Any:
    """A field that is worked out; its docstring is its description."""
    return strawberry.field(function, description=inspect.getdoc(function))


def followed(function: Callable[..., Any]) -> Any:
    """A field that can be followed; its docstring is its description."""
    return strawberry.subscription(function, description=inspect.getdoc(function))


def choice(kind: type[T], name: str | None = None) -> type[T]:
    """An enumeration of the domain as one of the schema."""
    found: type[T] = strawberry.enum(kind, name=name, description=inspect.getdoc(kind))  # type: ignore[call-overload]
    return found


def argument(text: str, **more: Any) -> Any:
    """What an argument is about, for ``Annotated``."""
    return strawberry.argument(description=text, **more)


if typing.TYPE_CHECKING:
    BigInt = int
    Json = Any
else:
    BigInt = NewType("BigInt", int)
    Json = NewType("Json", object)

#: A scalar and how the schema knows it.
Scalars = dict[object, Any]


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise GraphQLError("a whole number of 64 bits is needed")
    return value


def scalars() -> Scalars:
    """Those that the schema has besides the usual ones."""
    same: Callable[[Any], Any] = lambda value: value  # noqa: E731
    return {
        BigInt: strawberry.scalar(
            name="BigInt",
            description="A whole number of 64 bits, written as a JSON number.",
            serialize=same,
            parse_value=_whole,
        ),
        Json: strawberry.scalar(
            name="JSON", description="Any JSON value.", serialize=same, parse_value=same
        ),
    }


def moment(at: float | None) -> datetime | None:
    """UNIX seconds as the schema has them."""
    return None if at is None else datetime.fromtimestamp(at, UTC)


def seconds(at: datetime | None) -> float | None:
    """A time that was given as UNIX seconds. InvalidInput where there are none for it."""
    try:
        return None if at is None else at.timestamp()
    except (OverflowError, ValueError):
        raise InvalidInput(f"{at} is out of range", hint="from 1970 on") from None


def instant(at: float) -> datetime:
    """UNIX seconds that are there, as the schema has them."""
    return datetime.fromtimestamp(at, UTC)


#: What a resolver gets: the caller, the services and the loaders of this request.
Asked = Info[Context, None]

"""The schema, built on its first use."""

from __future__ import annotations

import functools

import strawberry
from graphql import GraphQLSchema
from strawberry.schema.config import StrawberryConfig

from bot.graphql.declaring import scalars
from bot.graphql.mutations import Mutation
from bot.graphql.problems import PROBLEMS
from bot.graphql.queries import Query
from bot.graphql.subscriptions import Subscription
from bot.graphql.timing import time_roots


@functools.cache
def build() -> strawberry.Schema:
    """The one of this program."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=list(PROBLEMS),
        config=StrawberryConfig(scalar_map=scalars()),
    )


@functools.cache
def core() -> GraphQLSchema:
    """It as the library below knows it, with root fields that are timed."""
    found: GraphQLSchema = build()._schema
    time_roots(found)
    return found


def sdl() -> str:
    """It in the schema definition language."""
    return build().as_str() + "\n"
